"""A file from the machine where the browser runs: chosen or dropped, sent in parts, of any size.

ipywidgets' own upload sends a file as one message, and Jupyter's server drops the connection at one of 10 MiB. Here the browser writes
each part into a field that is not shown, and sends the next when another field says that it has arrived.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import secrets
from pathlib import Path
from typing import Any

import traitlets

from workbench.display.html import tag
from workbench.errors import InputError, WorkbenchError, writing
from workbench.models.describe import size
from workbench.panel import view, widgets

PART_BYTES = 3 * 2**19  # a message of 2 MiB
STOP = "stop"
LONGEST_NAME = 120  # characters
SEND = """
const box=this.closest('.wb-upload-box'),part=box.querySelector('.wb-sent input'),took=box.querySelector('.wb-took input'),
said=box.querySelector('.wb-sending'),id=String(Date.now()),
read=blob=>new Promise(done=>{const reader=new FileReader();reader.onload=()=>done(reader.result.split(',')[1]||'');
reader.readAsDataURL(blob)}),
heard=at=>new Promise(done=>{const look=()=>{const [whose,place]=took.value.split(' ');
if(whose===id&&(place==='stop'||Number(place)>=at))done(place!=='stop');else setTimeout(look,20)};look()}),
send=async file=>{if(!file)return;let at=0;do{const end=Math.min(file.size,at+PART);
part.value=JSON.stringify({id,name:file.name,size:file.size,at,data:await read(file.slice(at,end))});
part.dispatchEvent(new Event('change',{bubbles:true}));
said.textContent=`${file.name}: ${(end/1048576).toFixed(1)} of ${(file.size/1048576).toFixed(1)} MiB`;
if(!await heard(end))break;at=end}while(at<file.size);said.textContent=''};
""".replace("PART", str(PART_BYTES)).replace("\n", "")
CHOSEN = SEND + "send(this.files[0]);this.value=''"
DROPPED = "event.preventDefault();this.classList.remove('wb-over');" + SEND + "send(event.dataTransfer.files[0])"
OVER, LEFT = "event.preventDefault();this.classList.add('wb-over')", "this.classList.remove('wb-over')"


class _Sent(widgets.Text):  # type: ignore[misc]
    value = traitlets.Unicode("").tag(sync=True, echo_update=False)  # a part is not sent back


class Upload(widgets.VBox):  # type: ignore[misc]
    """``value`` is the path of the last file that has arrived whole, below ``folder``, under the digest of its content."""

    value = traitlets.Unicode("")
    disabled = traitlets.Bool(False)

    def __init__(self, folder: Path, suffixes: tuple[str, ...]) -> None:
        self._folder, self._suffixes = folder, suffixes
        self._id, self._size, self._at, self._draft = "", 0, 0, folder / ".part"
        self._digest = hashlib.sha256()
        self.sent, self.took = _Sent(css="wb-sent"), widgets.Text(css="wb-took")
        self.said, self.zone = widgets.HTML(), widgets.HTML()
        super().__init__([self.zone, self.sent, self.took, self.said])
        self.add_class("wb-upload-box")
        self.sent.observe(lambda change: self.receive(change["new"]), "value")
        self.observe(lambda _: self._draw(), "disabled")
        self._draw()

    def _draw(self) -> None:
        off = bool(self.disabled)
        kinds = " or ".join(self._suffixes)
        chosen = tag(
            "input", type="file", accept=",".join(self._suffixes), onchange=CHOSEN, disabled=off, aria_label="File"
        )
        text = tag("span", f"Choose a file ({kinds}), or drop it here")
        events = {} if off else {"ondrop": DROPPED, "ondragover": OVER, "ondragleave": LEFT}
        zone = tag("label", chosen, text, class_=f"wb-upload{' wb-off' if off else ''}", **events)
        self.zone.value = zone + tag("div", class_="wb-sending wb-hint", role="status")

    def receive(self, text: str) -> None:
        """Take in a part, as JSON with ``id``, ``name``, ``size`` in bytes, ``at`` (the place of the part), and ``data`` in base64."""
        if not text:
            return
        self.sent.value = ""
        name = ""
        try:
            part = json.loads(text)
            name = str(part["id"])
            self._take(part, base64.b64decode(part["data"], validate=True))
        except WorkbenchError as error:
            self._end(name, error.message)
        except (ValueError, KeyError, TypeError, binascii.Error):
            self._end(name, "The file did not arrive completely. Choose it again.")

    def _take(self, part: dict[str, Any], content: bytes) -> None:
        name = safe_name(str(part["name"]), self._suffixes)
        if part["at"] == 0:
            self._draft = self._folder / f".{secrets.token_hex(8)}.part"
            self._id, self._size, self._at, self._digest = str(part["id"]), int(part["size"]), 0, hashlib.sha256()
        if part["id"] != self._id or part["at"] != self._at or self._at + len(content) > self._size:
            raise InputError("Parts of several files arrived at once. Choose one file, and wait until it has arrived.")
        with writing(self._draft):
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._draft.open("ab" if self._at else "wb") as file:
                file.write(content)
        self._digest.update(content)
        self._at += len(content)
        if self._at == self._size:
            path = self._folder / self._digest.hexdigest()[:16] / name
            with writing(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                self._draft.replace(path)
            self.said.value = view.hint(f"Uploaded: {name}, {size(self._size)}.")
            self.value = ""  # the same file again is news too
            self.value = str(path)
        self.took.value = f"{self._id} {self._at}"

    def _end(self, name: str, message: str) -> None:
        self._id = ""
        self.said.value = view.message(message)
        self.took.value = f"{name} {STOP}"
        with contextlib.suppress(OSError):
            self._draft.unlink()


def safe_name(given: str, suffixes: tuple[str, ...]) -> str:
    """The name of a file without what could lead elsewhere.

    Raises:
        InputError: it ends in none of ``suffixes``.
    """
    name = "".join(char if char.isalnum() or char in "-_." else "-" for char in Path(given).name)[-LONGEST_NAME:]
    if not name.endswith(suffixes):
        raise InputError(f"The uploaded file is '{name}'. Choose a file that ends in {' or '.join(suffixes)}.")
    return name

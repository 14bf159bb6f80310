"""A notebook run without a person, and what it came to as one HTML file that needs nothing else."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import tempfile
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from workbench.errors import KINDS, InputError, RunError, StoreError, WorkbenchError, brief
from workbench.outputs import check_output
from workbench.printable import lines
from workbench.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

KERNEL = "python3"
MARK = "inference_workbench"
"""In the metadata of a notebook: :func:`execute` wrote it, and may write over it."""
MARKS = (
    rb'<meta\b(?=[^>]*\bname="generator")(?=[^>]*\bcontent="Inference Workbench")[^>]*>',
    # of earlier versions
    rb"<meta\b(?=[^>]*\bhttp-equiv=\"Content-Security-Policy\")(?=[^>]*\bcontent=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\")[^>]*>",
)
"""Patterns of what a page begins with that this module wrote; the attributes stand in the order that Beautiful Soup gives them."""
TEMPLATE = Path(__file__).resolve().parent / "template"
SHOWN = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]

DROPPED = {"script", "iframe", "object", "embed", "link", "meta", "base", "template", "noscript", "svg", "head"}
PLAIN = (
    "a abbr b blockquote br caption cite code col colgroup dd del details div dl dt em figcaption figure h1 h2 h3 h4 h5 "
    "h6 hr i img ins kbd li mark ol p pre q s samp section small span strong style sub summary sup table tbody td tfoot "
    "th thead time tr u ul var"
)
KEPT = set(PLAIN.split())
PLAIN_ATTRIBUTES = (
    "alt class colspan dir height href id lang open role rowspan scope span src start style tabindex title"
)
ATTRIBUTES = {*PLAIN_ATTRIBUTES.split(), "width"}
REMOTE_STYLE = re.compile(r"url\s*\(|image-set|@import|expression|\\|<", re.IGNORECASE)
INLINE_IMAGE = re.compile(r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]*")


def execute(
    notebook: Path, output: Path, parameters: dict[str, Any], progress: Callable[[str], None] | None = None
) -> None:
    """Run ``notebook`` with ``parameters`` in a kernel of this very interpreter; write it as it goes to ``output``.

    The working folder stays the caller's. ``progress`` gets every line that a cell prints.

    Raises:
        WorkbenchError: of the same kind and message where a cell ended in one.
        InputError: there is no such notebook, or ``output`` is a file that no report wrote.
        StoreError: ``output`` cannot be written.
        RunError: a cell ended in any other error, or the kernel died.
    """
    if not notebook.is_file():
        raise InputError(f"There is no notebook {notebook}. Give the path of an .ipynb file.")
    import papermill
    from papermill.exceptions import PapermillExecutionError

    spare(output)
    with _writing(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        output.touch()
        messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        profile = tempfile.mkdtemp(prefix="workbench-")
    for name in ("asyncio", "papermill"):
        logging.getLogger(name).addFilter(_not_of_the_left_behind)
    try:
        papermill.execute_notebook(
            *(str(path).replace("{", "{{").replace("}", "}}") for path in (notebook, output)),  # it formats its paths
            parameters=parameters,
            kernel_name=KERNEL,
            engine_name=_marking(),
            progress_bar=False,
            kernel_manager_class=_this_interpreter(messages, _kernel_env(profile, parameters)),
            stdout_file=_Lines(progress or (lambda _: None)),
        )
    except PapermillExecutionError as cause:
        if cause.ename in KINDS:
            raise KINDS[cause.ename](cause.evalue) from None
        found = brief(Exception(f"{cause.ename}: {cause.evalue}"))
        raise RunError(f"A cell of {notebook.name} failed: {found}. The notebook as far as it got: {output}") from None
    except WorkbenchError:  # from ``progress``, which may ask for the work to stop
        raise
    except Exception as cause:
        messages.seek(0)
        told = messages.read().decode(errors="replace")[-2000:]
        raise RunError(
            f"The notebook {notebook.name} did not run to its end: {brief(cause)}. As far as it got: {output}", log=told
        ) from cause
    finally:
        messages.close()
        shutil.rmtree(profile, ignore_errors=True)


def _kernel_env(profile: str, parameters: dict[str, Any]) -> dict[str, str]:
    """Environment of the kernel: nothing is written to the home folder, and no start-up file of the user runs."""
    return Store(parameters.get("store") or None).cache_env | {"IPYTHONDIR": profile}


def check_page(html: Path, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse to write a report over anything but an earlier report; see :func:`workbench.outputs.check_output`.

    Raises:
        InputError: ``html`` has another ending, is one of the ``inputs``, or was not written by the workbench.
    """
    check_output(
        html,
        option="--output",
        endings=(".html", ".htm"),
        written_here=lambda start: any(re.search(mark, start) for mark in MARKS),
        inputs=inputs,
    )


def spare(output: Path) -> None:
    """Nothing but the notebook of an earlier report is written over.

    Raises:
        InputError: ``output`` is there, and is something else.
    """
    if not output.exists() or (output.is_file() and not output.stat().st_size):
        return
    try:
        if MARK in json.loads(output.read_text(encoding="utf-8"))["metadata"]:
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no notebook, or none that can be read
    raise InputError(
        f"The notebook of this report would replace '{output}', which no report wrote. Choose another name for the report "
        "(option --output), or move that file away."
    )


def _marking() -> str:
    """The name of papermill's usual engine with our mark on what it writes, from its first write on."""
    from papermill.engines import NBClientEngine, papermill_engines

    class Marking(NBClientEngine):  # type: ignore[misc]
        @classmethod
        def execute_notebook(cls, nb: Any, *given: Any, **options: Any) -> Any:
            nb.metadata[MARK] = {"written_by": _product()}
            return super().execute_notebook(nb, *given, **options)

    papermill_engines.register(MARK, Marking)
    return MARK


def _not_of_the_left_behind(record: logging.LogRecord) -> bool:
    """Ctrl-C leaves nbclient's own waits for the kernel behind, whose ends would be printed, as tracebacks.

    Nothing is lost: a kernel that dies without Ctrl-C ends :func:`execute` with the same error.
    """
    said = record.getMessage()
    return "coro=<NotebookClient." not in said and not said.startswith("Kernel died")


class _Lines:
    """Where papermill writes what cells print: hands on whole lines."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.tell = tell
        self.rest = ""

    def write(self, text: str) -> None:
        *whole, self.rest = (self.rest + text).split("\n")
        for line in whole:
            if shown := lines(line.rpartition("\r")[2].rstrip()):
                self.tell(shown)

    def flush(self) -> None:
        """Nothing to do: a line that is not whole yet waits for its end."""


def _this_interpreter(messages: BinaryIO, env: dict[str, str]) -> Any:
    """A kernel manager that starts ``sys.executable``, whatever else is installed under the name python3.

    What the kernel says outside of cells goes to ``messages``: on a terminal it would be noise, above all at Ctrl-C.
    """
    import zmq
    from ipykernel.kernelspec import get_kernel_dict
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class ThisInterpreter(AsyncKernelManager):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            # older versions of jupyter_client do not know it; without it the kernel warns about plain TCP
            if self.has_trait("transport_encryption") and zmq.has("curve"):
                self.transport_encryption = "auto"

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            options["env"] = {**(options.get("env") or os.environ), **env}
            await super().start_kernel(stdout=messages, stderr=messages, **options)

        @property
        def kernel_spec(self) -> Any:
            return KernelSpec(**get_kernel_dict())

    return ThisInterpreter


def tagged_text(executed: Path, tag: str) -> list[str]:
    """What the cells tagged ``tag`` printed or displayed, as plain text, in order."""
    texts = []
    for cell in _read(executed).cells:
        if cell.cell_type == "code" and tag in cell.metadata.get("tags", []):
            for output in cell.outputs:
                text = output.get("text", "") if output.get("name") != "stderr" else ""
                texts.append(text or output.get("data", {}).get("text/plain", ""))
    return [text.rstrip() for text in texts if text.strip()]


def html_from_notebook(executed: Path, html: Path) -> None:
    """Write ``executed`` as one HTML file: no script, and nothing that a browser would fetch from anywhere.

    Code is folded. Whatever a cell displayed is cleaned to plain elements, so a file name or a model's name that
    reached a cell's HTML cannot act. Addresses of links are printed as text.

    Raises:
        InputError: ``executed`` is not a notebook, or ``html`` is a file that no report wrote.
        StoreError: ``html`` cannot be written.
    """
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    check_page(html)

    notebook = _read(executed)
    config: Any = Config({"CoalesceStreamsPreprocessor": {"enabled": True}})  # one print, one block
    exporter: Any = cast("Any", HTMLExporter)(
        config=config,
        template_name=TEMPLATE.name,
        extra_template_basedirs=[str(TEMPLATE.parent)],
        exclude_anchor_links=True,
    )
    run = notebook.metadata.get("papermill", {})
    report = {
        "title": next((found for cell in notebook.cells if (found := _heading(cell))), executed.stem),
        "made": f"Made on {_day(run.get('end_time'))} from {executed.name} by {_product()}.",
        "parameters": [(name, _value(value)) for name, value in run.get("parameters", {}).items()],
        "shown": SHOWN,
    }
    exporter.register_filter("plain", _plain)
    text, _ = exporter.from_notebook_node(notebook, resources={"report": report})
    text = lines(text)
    with _writing(html):
        html.parent.mkdir(parents=True, exist_ok=True)
        draft = html.with_name(f".{html.name}.{os.getpid()}.part")
        try:
            draft.write_text(text, encoding="utf-8")
            draft.replace(html)
        finally:
            draft.unlink(missing_ok=True)


def _read(path: Path) -> Any:
    import nbformat

    try:
        return cast("Any", nbformat.read)(path, as_version=4)
    except Exception as cause:
        raise InputError(f"{path} cannot be read as a notebook: {brief(cause)}. Give an .ipynb file.") from cause


def _heading(cell: Any) -> str:
    """The first heading of a prose cell, without its marks."""
    if cell.cell_type != "markdown":
        return ""
    found = re.search(r"^#{1,6}\s+(.+?)\s*#*$", cell.source, re.MULTILINE)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"[*`]", "", found[1])) if found else ""


def _day(moment: str | None) -> str:
    when = datetime.fromisoformat(moment) if moment else datetime.now(UTC)
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _product() -> str:
    from importlib.metadata import PackageNotFoundError, version

    with suppress(PackageNotFoundError):  # run from a folder that is on the path but not installed
        return f"Inference Workbench {version('inference-workbench')}"
    return "Inference Workbench"


def _value(value: Any) -> str:
    return "(empty)" if value == "" else str(value)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        found = cause.strerror or brief(cause)
        raise StoreError(f"Could not write {path}: {found}. Choose another place for the report.") from cause


def _plain(html: str) -> str:
    """One piece of a page with nothing in it but plain, closed elements: an allow-list, so what is unknown is off.

    Pieces are cleaned one by one, before they are put together: then none can end the element it stands in.
    """
    from bs4 import BeautifulSoup
    from bs4.element import PreformattedString

    piece = BeautifulSoup(html, "html.parser")
    for comment in piece.find_all(string=lambda text: isinstance(text, PreformattedString)):
        comment.extract()
    for element in piece.find_all(True):
        if element.decomposed:
            continue
        if element.name in DROPPED or (element.name == "style" and REMOTE_STYLE.search(element.get_text())):
            element.decompose()
        elif element.name not in KEPT:
            element.unwrap()
        else:
            _clean_element(piece, element)
    for table in piece.find_all("table"):
        table.wrap(piece.new_tag("div", attrs={"class": "scroll", "tabindex": "0"}))
    return str(piece)


def _clean_element(page: Any, element: Any) -> None:
    for name in list(element.attrs):
        if name not in ATTRIBUTES:
            del element[name]
    if REMOTE_STYLE.search(element.get("style", "")):
        del element["style"]
    address, source = element.attrs.get("href", ""), element.attrs.get("src", "")
    if element.name == "img" and not INLINE_IMAGE.fullmatch(source):
        element.replace_with(f"[picture left out: {element.get('alt') or 'it is not part of this file'}]")
    elif element.name != "img" and source:
        del element["src"]
    if element.name == "a" and not address.startswith("#"):
        if address.startswith(("https://", "http://", "mailto:")) and element.get_text(strip=True) != address:
            note = page.new_tag("span", attrs={"class": "address"})
            note.string = f" ({address})"
            element.insert_after(note)
        element.unwrap()
    elif element.name != "a" and address:
        del element["href"]

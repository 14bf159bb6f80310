"""Run a notebook without interaction, and write its outputs as one self-contained HTML file."""

from __future__ import annotations

import html as html_text
import json
import logging
import os
import re
import tempfile
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, cast

from workbench.errors import KINDS, TOO_MANY_FILES, InputError, RunError, WorkbenchError, brief, out_of_files, writing
from workbench.errors.printable import lines
from workbench.locks.scratch import Scratch, remove_left_behind
from workbench.report import event_file
from workbench.report.fit import fit
from workbench.report.sanitize import plain
from workbench.settings.output_files import check_output, replace_text
from workbench.store import Store
from workbench.system import logs
from workbench.workers.worker import QUIET_ENV

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from workbench.records import Event

MARK = "inference_workbench"
"""In the metadata of a notebook: :func:`execute` wrote it, and may write over it."""
MARKS = (
    rb'<meta\b(?=[^>]*\bname="generator")(?=[^>]*\bcontent="Inference Workbench")[^>]*>',
    # of earlier versions
    rb"<meta\b(?=[^>]*\bhttp-equiv=\"Content-Security-Policy\")(?=[^>]*\bcontent=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\")[^>]*>",
)
"""Patterns of what a page begins with that this module wrote; the attributes stand in the order that Beautiful Soup gives them."""
CONNECTION = "kernel.json"
END_S = 10  # that a killed kernel may take to end
TEMPLATE = Path(__file__).resolve().parent / "template"
SHOWN = ["text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/plain"]


def execute(
    notebook: Path,
    output: Path,
    parameters: dict[str, Any],
    progress: Callable[[str], None] | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> dict[str, Any] | None:
    """Run ``notebook`` with ``parameters`` in a kernel of this very interpreter; write it as it goes to ``output``.

    The working folder stays the caller's. ``progress`` gets every line that a cell prints, ``on_event`` the events of a run, from
    a thread. Returns the :func:`workbench.report.document.document` of the run that the notebook did; ``None`` where it did none.

    Raises:
        WorkbenchError: of the same kind and message where a cell ended in one.
        InputError: there is no such notebook, or ``output`` is a file that no report wrote.
        StoreError: ``output`` cannot be written.
        RunError: a cell ended in any other error, or the kernel died.
    """
    if not notebook.is_file():
        raise InputError(f"There is no notebook {notebook}. Give the path of an .ipynb file.")
    import papermill

    check_notebook(output)
    with writing(output, "option --output"):
        output.parent.mkdir(parents=True, exist_ok=True)
        output.touch()
        messages = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        remove_left_behind()
        scratch = Scratch()
    for name in ("asyncio", "papermill"):
        logging.getLogger(name).addFilter(_not_of_the_left_behind)
    follower = event_file.Follower(scratch.path / "events.jsonl", on_event)
    env = _kernel_env(scratch.path, parameters) | {event_file.VARIABLE: str(follower.path)}
    paths = [str(each).replace("{", "{{").replace("}", "}}") for each in (notebook, output)]  # papermill formats them
    try:
        with follower, _errors_of(notebook, output, messages):
            papermill.execute_notebook(
                *paths,
                parameters=parameters,
                kernel_name="python3",
                engine_name=_marking(),
                progress_bar=False,
                kernel_manager_class=_this_interpreter(messages, env, scratch.path),
                stdout_file=_Lines(progress or (lambda _: None)),
            )
        return follower.results
    finally:
        messages.close()
        _clean(scratch)


def _clean(scratch: Scratch) -> None:
    """Remove the temporary folders of an execution and of its kernel, which is ended where an interrupt left it running.

    A kernel that was killed leaves the folders of its workers, which may not have noticed yet that it has ended.
    """
    import psutil

    kernels = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # it has just ended
            if any(str(scratch.path / CONNECTION) in word for word in child.cmdline()):
                child.kill()
                kernels.append(child)
    psutil.wait_procs(kernels, timeout=END_S)
    scratch.remove()
    remove_left_behind()


@contextmanager
def _errors_of(notebook: Path, output: Path, messages: IO[bytes]) -> Iterator[None]:
    """Convert what ends the execution of a notebook to a :class:`WorkbenchError`; ``messages`` holds the output of the kernel."""
    from papermill.exceptions import PapermillExecutionError

    try:
        yield
    except PapermillExecutionError as cause:
        if cause.ename in KINDS:
            raise KINDS[cause.ename](cause.evalue) from None
        if out_of_files(f"{cause.ename}: {cause.evalue}"):
            raise RunError(f"{TOO_MANY_FILES}. The notebook as far as it got: {output}") from None
        found = brief(Exception(f"{cause.ename}: {cause.evalue}"))
        raise RunError(f"A cell of {notebook.name} failed: {found}. The notebook as far as it got: {output}") from None
    except WorkbenchError:  # from ``progress``, which may ask for the work to stop
        raise
    except Exception as cause:
        messages.seek(0)
        output_end = messages.read().decode(errors="replace")[-2000:]
        if out_of_files(cause) or out_of_files(output_end):
            raise RunError(f"{TOO_MANY_FILES}. The notebook as far as it got: {output}", log=output_end) from cause
        raise RunError(
            f"The notebook {notebook.name} did not run to its end: {brief(cause)}. As far as it got: {output}",
            log=output_end,
        ) from cause


def _kernel_env(scratch: Path, parameters: dict[str, Any]) -> dict[str, str]:
    """Environment of the kernel: nothing is written to the home folder, no start-up file of the user runs, and nothing is imported
    from the current folder.
    """
    # ipykernel_launcher removes the first entry of the path where it is the current folder, as a checkout's own folder may be
    path = os.pathsep.join([str(scratch / "absent"), QUIET_ENV["PYTHONPATH"]])
    own = {"IPYTHONDIR": str(scratch), "PYTHONSAFEPATH": "1", "PYTHONPATH": path}
    return Store(parameters.get("store") or None).cache_env | logs.environment() | own


def check_page(html: Path, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse to write a report over anything but an earlier report; see :func:`workbench.settings.output_files.check_output`.

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


def check_notebook(output: Path) -> None:
    """Refuse to write a notebook over anything but the notebook of an earlier report.

    Raises:
        InputError: ``output`` exists and is something else.
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
            nb.metadata[MARK] = {"written_by": product()}
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


def _this_interpreter(messages: BinaryIO, env: dict[str, str], scratch: Path) -> Any:
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
            self.connection_file = str(scratch / CONNECTION)  # holds the key of the connection
            # older versions of jupyter_client do not know it; without it the kernel warns about plain TCP
            if self.has_trait("transport_encryption") and zmq.has("curve"):
                self.transport_encryption = "auto"

        async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]
            options["env"] = {**(options.get("env") or os.environ), **env}
            await super().start_kernel(stdout=messages, stderr=messages, **options)

        @property
        def kernel_spec(self) -> Any:
            return KernelSpec(**get_kernel_dict(["--InteractiveShellApp.ignore_cwd=True"]))

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
    reached a cell's HTML cannot act. Addresses of links are printed as text. A report of the workbench stays below
    :data:`workbench.report.fit.MOST_BYTES`.

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
    tidy = any("log" in cell.metadata.get("tags", ()) for cell in notebook.cells)
    if tidy:
        fit(notebook, SHOWN, executed.name)
    report = {
        "title": next((found for cell in notebook.cells if (found := _title(cell) or _heading(cell))), executed.stem),
        "tidy": tidy,
        "made": f"Made on {_day(run.get('end_time'))} from {executed.name} by {product()}.",
        "parameters": [
            (name, "(empty)" if value == "" else str(value)) for name, value in run.get("parameters", {}).items()
        ],
        "shown": SHOWN,
    }
    exporter.register_filter("plain", plain)
    text, _ = exporter.from_notebook_node(notebook, resources={"report": report})
    text = lines(text)
    with writing(html, "option --output"):
        replace_text(html, text)


def _read(path: Path) -> Any:
    import nbformat

    try:
        return cast("Any", nbformat.read)(path, as_version=4)
    except Exception as cause:
        raise InputError(f"{path} cannot be read as a notebook: {brief(cause)}. Give an .ipynb file.") from cause


def _title(cell: Any) -> str:
    """The first heading of the first rank that a cell displayed."""
    for output in cell.get("outputs", ()):
        if found := re.search(r"<h1[^>]*>(.*?)</h1>", output.get("data", {}).get("text/html", ""), re.DOTALL):
            return html_text.unescape(re.sub(r"<[^>]*>", "", found[1]))
    return ""


def _heading(cell: Any) -> str:
    """The first heading of a prose cell, without its marks."""
    if cell.cell_type != "markdown" or "live" in cell.metadata.get("tags", ()):
        return ""
    found = re.search(r"^#{1,6}\s+(.+?)\s*#*$", cell.source, re.MULTILINE)
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"[*`]", "", found[1])) if found else ""


def _day(moment: str | None) -> str:
    when = datetime.fromisoformat(moment) if moment else datetime.now(UTC)
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def product() -> str:
    """The name and the version of what wrote a report."""
    from importlib.metadata import PackageNotFoundError, version

    with suppress(PackageNotFoundError):  # run from a folder that is on the path but not installed
        return f"Inference Workbench {version('inference-workbench')}"
    return "Inference Workbench"

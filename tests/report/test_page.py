from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import psutil
import pytest
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import ensure_event_loop
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from workbench.errors import Cancelled, InputError, PrecisionError, RunError, StoreError
from workbench.locks.scratch import Scratch
from workbench.report import page as report

HOSTILE = "<img src=x onerror=alert(1)>"
TESTS = Path(__file__).parents[1]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def write(path: Path, *cells, **metadata) -> Path:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=list(cells), metadata={"kernelspec": kernel, **metadata}), path)
    return path


def shown(data, metadata=None):
    return new_code_cell("show()", outputs=[new_output("display_data", data=data, metadata=metadata or {})])


def page(tmp_path: Path, *cells, **metadata) -> str:
    executed = write(tmp_path / "executed.ipynb", *cells, **metadata)
    report.html_from_notebook(executed, tmp_path / "page.html")
    return (tmp_path / "page.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """What a browser would fetch or run, and the text that a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.text: list[str] = []
        self.tags: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.found += [f"<{tag}>"] * (
            tag in {"script", "iframe", "object", "embed", "link", "base", "svg", "form", "video"}
        )
        for name, value in [(name, (value or "").strip()) for name, value in attrs]:
            if name.startswith("on"):
                self.found.append(f"{name}={value}")
            if name in {"src", "href", "srcset", "data", "action", "poster", "background", "xlink:href", "formaction"}:
                self.found += [f"{name}={value}"] * (not value.startswith(("data:image/", "#")))
            if name == "style":
                self.check_style(value)
            if name == "http-equiv" and value.lower() == "refresh":
                self.found.append("refresh")

    handle_startendtag = handle_starttag

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "style":
            self.check_style(data)
        self.text.append(data)

    def handle_comment(self, data):
        self.found.append(f"<!--{data}-->")  # old browsers read conditions in comments

    def check_style(self, css: str) -> None:
        self.found += re.findall(r"\\|@import[^;]*|image-set\([^)]*\)|url\(\s*['\"]?(?!data:)[^)]*\)", css)


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """A real run of a small notebook that shows the table and the figures of a model with a hostile name."""
    rogue = tmp_path / "jupyter" / "kernels" / "python3"
    rogue.mkdir(parents=True)
    (rogue / "kernel.json").write_text(
        json.dumps({"argv": ["false"], "display_name": "not this", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.chdir(tmp_path)
    notebook = write(
        tmp_path / "in.ipynb",
        new_markdown_cell("# A *report*\n\nIt stands in `code`."),
        new_code_cell("runs: int = 1\nname: str = ''", metadata={"tags": ["parameters"]}),
        new_code_cell(
            "import os, sys\nprint(sys.executable)\nprint(os.getcwd())\nprint('runs', runs)",
            metadata={"tags": ["summary"]},
        ),
        new_markdown_cell("## Rows"),
        new_code_cell(
            f"sys.path.insert(0, {str(TESTS)!r})\nimport dataclasses, recorded\nimport workbench\n"
            "spec = dataclasses.replace(recorded.spec('a fp32'), backend=name)\n"
            "rows = [recorded.measured('tensorflow fp32'), recorded.measured('a fp32', spec=spec)]\n"
            "results = recorded.results(rows, name=name)\ndisplay(results.table())\n"
            "for figure in results.figures().values(): display(figure)"
        ),
    )
    said: list[str] = []
    output = tmp_path / "new {folder}" / "out.ipynb"
    report.execute(notebook, output, {"runs": 7, "name": HOSTILE}, progress=said.append)
    return output, said


def test_a_run_from_notebook_to_page(ran, tmp_path):
    output, said = ran
    assert said == [sys.executable, str(tmp_path), "runs 7"]
    assert report.tagged_text(output, "summary") == [f"{sys.executable}\n{tmp_path}\nruns 7"]
    report.html_from_notebook(output, tmp_path / "page.html")
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    read = Page(html)
    assert read.found == []
    assert read.tags.count("img") == 6
    assert HOSTILE not in html
    assert sum(HOSTILE in text for text in read.text) >= 2  # in the table, and among the parameters
    assert "<title>A report</title>" in html
    assert html.count("<summary>show code</summary>") == 4  # papermill adds the cell of injected parameters
    assert re.search(r"Made on 20\d\d-\d\d-\d\d \d\d:\d\d UTC from out.ipynb by Inference Workbench", html)
    assert re.search(r"<th scope=.row.>runs</th><td>7</td>", html)
    assert html.count('alt="Latency · &lt;img') == 1


def test_a_cell_that_ends_in_our_error_raises_that_error(tmp_path):
    notebook = write(
        tmp_path / "in.ipynb",
        new_code_cell(
            "from workbench.errors import PrecisionError\nraise PrecisionError('Asked for int8; found fp32.')"
        ),
        new_code_cell("print('not reached')"),
    )
    said: list[str] = []
    with pytest.raises(PrecisionError) as caught:
        report.execute(notebook, tmp_path / "out.ipynb", {}, progress=said.append)
    assert type(caught.value) is PrecisionError
    assert str(caught.value) == "Asked for int8; found fp32."
    assert caught.value.__suppress_context__
    assert said == []


def test_any_other_failure_is_brief_and_says_where_the_notebook_is(tmp_path):
    notebook = write(tmp_path / "in.ipynb", new_code_cell("print('before')\n1 / 0"))
    with pytest.raises(RunError) as caught:
        report.execute(notebook, tmp_path / "out.ipynb", {})
    assert str(caught.value) == (
        "A cell of in.ipynb failed: ZeroDivisionError: division by zero. "
        f"The notebook as far as it got: {tmp_path / 'out.ipynb'}"
    )
    assert "before" in (tmp_path / "out.ipynb").read_text()
    report.html_from_notebook(tmp_path / "out.ipynb", tmp_path / "page.html")
    assert Page((tmp_path / "page.html").read_text()).found == []


def test_a_kernel_that_dies_is_a_run_error_and_its_last_words_are_kept(tmp_path):
    (tmp_path / "out.log").write_text("another user's")
    notebook = write(tmp_path / "in.ipynb", new_code_cell("import os\nos.write(2, b'last words')\nos._exit(3)"))
    with pytest.raises(RunError, match=r"The notebook in\.ipynb did not run to its end: Kernel died") as caught:
        report.execute(notebook, tmp_path / "out.ipynb", {})
    assert "last words" in caught.value.log
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.ipynb", "out.ipynb", "out.log"]
    assert (tmp_path / "out.log").read_text() == "another user's"
    report.check_notebook(tmp_path / "out.ipynb")  # one that did not get far may be replaced too


@pytest.mark.parametrize(
    "held", ['{"my": "notebook"}', "not json", "[]", '{"metadata": {"papermill": {}}, "cells": []}']
)
def test_what_no_report_wrote_is_not_written_over(tmp_path, held):
    notebook, output = write(tmp_path / "in.ipynb", new_code_cell("1")), tmp_path / "out.ipynb"
    output.write_text(held)
    with pytest.raises(InputError, match=r"would replace '.*out\.ipynb', which no report wrote\. Choose another name"):
        report.execute(notebook, output, {})
    assert output.read_text() == held


def test_progress_may_stop_the_run(tmp_path):
    def stop(line: str) -> None:
        raise Cancelled(f"Stopped at {line}.")

    notebook = write(tmp_path / "in.ipynb", new_code_cell("print('Here')"))
    with pytest.raises(Cancelled, match=r"^Stopped at Here\.$"):
        report.execute(notebook, tmp_path / "out.ipynb", {}, progress=stop)


@pytest.mark.long
@pytest.mark.parametrize(("during", "after"), [(1.5, 0), (0, 1.5)])
def test_an_interrupt_leaves_no_message_of_the_dying_kernel_behind(tmp_path, monkeypatch, caplog, during, after):
    async def late(self, *given, **options):
        await asyncio.sleep(during)  # nbclient looks once a second whether the kernel lives
        await AsyncKernelManager._async_cleanup_resources(self, *given, **options)

    monkeypatch.setattr(AsyncKernelManager, "cleanup_resources", late)
    notebook = write(tmp_path / "in.ipynb", new_code_cell("import time\nprint('Here', flush=True)\ntime.sleep(60)"))
    with pytest.raises(KeyboardInterrupt):
        report.execute(
            notebook,
            tmp_path / "out.ipynb",
            {},
            progress=lambda _: threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start(),
        )
    ensure_event_loop().run_until_complete(asyncio.sleep(after))
    gc.collect()
    assert caplog.messages == []


HOLDS = """
import sys, time
from workbench.locks.scratch import Scratch
kept = Scratch()
print(kept.path, flush=True)
time.sleep(600)
"""


def test_a_kernel_that_an_interrupt_left_running_is_ended_and_its_folders_are_removed():
    scratch = Scratch()
    command = [sys.executable, "-c", HOLDS, f"--f={scratch.path / report.CONNECTION}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as kernel:
        assert kernel.stdout is not None
        held = Path(kernel.stdout.readline().strip())
        assert held.is_dir()
        report._clean(scratch)
        ended = not psutil.pid_exists(kernel.pid)
        kernel.kill()
    assert ended
    assert not held.exists()
    assert not scratch.path.exists()


def test_wrong_paths_are_reported_in_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"There is no notebook .*none\.ipynb\. Give the path of an \.ipynb file\."):
        report.execute(tmp_path / "none.ipynb", tmp_path / "out.ipynb", {})
    (tmp_path / "text.ipynb").write_text("not json")
    with pytest.raises(InputError, match=r"text\.ipynb cannot be read as a notebook"):
        report.html_from_notebook(tmp_path / "text.ipynb", tmp_path / "page.html")
    notebook = write(tmp_path / "in.ipynb", new_code_cell("1"))
    with pytest.raises(
        StoreError,
        match=r"Could not write to .*: a part of the path is a file, not a folder\. Choose another folder \(option --output\)",
    ):
        report.execute(notebook, notebook / "sub" / "out.ipynb", {})


def test_a_page_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    executed = write(tmp_path / "executed.ipynb", new_markdown_cell("# new"))
    target = tmp_path / "page.html"
    old = '<meta name="generator" content="Inference Workbench">'  # what a report begins with
    target.write_text(old)

    def full(self, text, **_):
        with self.open("w") as file:
            file.write(text[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(StoreError, match=r"page\.html: the disk is full\."):
            report.html_from_notebook(executed, target)
    assert target.read_text() == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["executed.ipynb", "page.html"]

    real = Path.write_text
    with monkeypatch.context() as patch:
        patch.setattr(
            Path, "write_text", lambda self, *a, **k: full(self, "") if self == target else real(self, *a, **k)
        )
        report.html_from_notebook(executed, target)
    assert "<title>new</title>" in target.read_text()


ATTACKS = [
    "<script src='https://example.org/a.js'></script><script>alert(1)</script>",
    HOSTILE,
    "<img src='https://example.org/a.png' alt='a plot'>",
    "<img src='data:text/html;base64,AAAA'>",
    "<img srcset='https://example.org/a.png 2x' src='#'>",
    "<link rel=stylesheet href=https://example.org/a.css><base href=https://example.org>",
    "<style>@import 'https://example.org/a.css'; p { color: red }</style>",
    "<style>p { background: URL( https://example.org/a.png ) }</style>",
    r"<style>p { background: u\72l(https://example.org/a.png) }</style>",
    "<p style='background: url(//example.org/a.png)'>x</p>",
    "<iframe srcdoc='x'></iframe><object data=https://example.org></object><embed src=https://example.org>",
    "<svg><image xlink:href='https://example.org/a.png'/><script>alert(1)</script></svg>",
    "<form action=https://example.org><button formaction=https://example.org>go</button></form>",
    "<a href='javascript:alert(1)' onclick='alert(1)'>x</a>",
    "<video poster=https://example.org/a.png src=https://example.org/a.mp4></video>",
    "<meta http-equiv=refresh content='0;url=https://example.org'>",
    "<details open ontoggle=alert(1)>x</details><div onmouseover=alert(1)>x</div>",
    "<!--[if IE]><script src=https://example.org/a.js></script><![endif]-->",
    "</main></body><script>alert(1)</script>",
    "<input type=image src=https://example.org/a.png><input name=secret><input type=radio onchange=alert(1)>",
    "<label for=x onclick=alert(1)>x</label><math><mi xlink:href=https://example.org>x</mi></math>",
    "<table><style>p { background: url(https://example.org/a.png) }</style><tr><td>x</table>",
]


def test_buttons_that_sort_without_scripts_stay_and_other_controls_go(tmp_path):
    piece = "<input type=radio name=n id=a checked><label for=a>by time</label><input type=text name=q><input id=z>"
    html = page(tmp_path, shown({"text/html": piece}))
    assert '<input checked="" id="a" name="n" type="radio"/><label for="a">by time</label></div>' in html
    assert html.count("<input") == 1


WAYS = {
    "html": lambda attack: shown({"text/html": f"<b>kept</b> {attack}"}),
    "markdown": lambda attack: shown({"text/markdown": f"kept {attack}"}),
    "prose": lambda attack: new_markdown_cell(f"kept {attack}"),
    "plain": lambda attack: shown({"text/plain": f"kept {attack}"}),
    "stream": lambda attack: new_code_cell("1", outputs=[new_output("stream", name="stderr", text=f"kept {attack}")]),
    "alt": lambda attack: shown({"image/png": PIXEL}, {"image/png": {"alt": f"kept {attack}", "width": attack}}),
    "title": lambda attack: new_markdown_cell(f"# kept {attack}"),
    "source": lambda attack: new_code_cell(f"kept = {attack!r}"),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_on_the_page_is_fetched_or_run(tmp_path, way):
    html = page(tmp_path, *(WAYS[way](attack) for attack in ATTACKS))
    assert Page(html).found == []
    assert html.count("kept") >= len(ATTACKS)
    assert html.count("</main>") == html.count("</html>") == 1


def test_what_is_harmless_stays(tmp_path):
    table = "<style>#T_1 td.col0 { text-align: left; }</style><table id='T_1'><tr><td class='col0'>1</td></tr></table>"
    html = page(
        tmp_path,
        new_markdown_cell(
            "# One\n\nSee [the paper](https://example.org/paper) and [below](#rows).\n\n| a |\n|---|\n| 2 |"
        ),
        shown({"text/html": table, "text/plain": "Styler"}),
        shown({"image/png": PIXEL, "text/plain": "Figure"}, {"image/png": {"alt": "a plot", "width": 640}}),
        shown({"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": "Button()"}),
        new_code_cell(
            "for n in range(3):\n    print(n)  # why",
            outputs=[new_output("stream", name="stdout", text=f"{n}\n") for n in range(3)],
        ),
    )
    assert "text-align: left" in html
    assert '<div class="scroll" tabindex="0"><table id="T_1">' in html
    assert html.count('<div class="scroll"') == 2
    assert 'the paper<span class="address"> (https://example.org/paper)</span>' in html
    assert '<a href="#rows">below</a>' in html
    assert re.search(rf'<img alt="a plot" src="data:image/png;base64,{re.escape(PIXEL)}" width="640"/>', html)
    assert "An interactive control" in html
    assert "Button()" not in html
    assert "Styler" not in html
    assert html.count("<summary>show code</summary>") == 4
    assert re.search(r"<pre [^>]*>0\n1\n2\n</pre>", html)
    assert "default-src 'none'" in html


def test_a_notebook_without_heading_or_parameters_has_a_page(tmp_path):
    html = page(tmp_path, new_code_cell("1"))
    assert "<title>executed</title>" in html
    assert "Parameters" not in html


def test_a_report_is_written_over_an_earlier_one(tmp_path):
    """Beautiful Soup sorts attributes, so that the workbench did not know its own pages again."""
    first = page(tmp_path, new_code_cell("1"))
    assert page(tmp_path, new_code_cell("2")) != first


def test_the_first_entry_of_a_kernels_path_is_never_the_current_folder(tmp_path):
    """ipykernel_launcher removes it if it is, and the package with it where a report is made in the folder of a checkout."""
    from workbench.report.page import _kernel_env

    first, package, *_ = _kernel_env(tmp_path, {"store": str(tmp_path / "store")})["PYTHONPATH"].split(os.pathsep)
    assert not Path(first).exists()
    assert (Path(package) / "workbench" / "__init__.py").is_file()

"""Recorded outputs of the lessons: what ``scripts/record_lessons.py`` wrote to ``docs/recorded``, and how the site and the teacher's page show it.

A record belongs to the code that it was made with: ``code`` is a digest of the code cells, and a test compares it with the lesson.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parent.parent
LESSONS = ROOT / "notebooks" / "lessons"
RECORDS = ROOT / "docs" / "recorded"
TEACHING = ROOT / "docs" / "teaching.md"
BEGIN, END = "<!-- times, by scripts/record_lessons.py -->\n", "<!-- end of times -->\n"
LABELS = {
    "": ("Recorded on one machine, {date}", "Output recorded on {date}"),
    ".zh": ("在一台机器上记录，{date}", "{date} 记录的输出"),
}
"""Title of the note at the top and label of each output, by the notebook's language."""
NOTES = {
    "": "The outputs below were recorded once, with the parameters as they are, on: {machine}; Python {python}, {packages}. The lesson took "
    "{seconds:.0f} s; other programs used at most {others:.1f} of {cores} cores. Another machine gives other numbers. No prediction was entered.",
    ".zh": "下面的输出只记录过一次，参数与所示相同，机器为：{machine}；Python {python}，{packages}。本课用时 {seconds:.0f} 秒，其他程序最多占用 {cores} 个核中的 {others:.1f} 个。"
    "换一台机器，数字就会不同。记录时没有填写预测。",
}
TABLE_HEAD = "| lesson | recorded | time | other programs used |\n|---|---|---|---|\n"


def english(path: Path) -> Path:
    """The English notebook of a lesson, whose outputs are recorded: the Chinese one has the same code."""
    return path.with_name(path.name.replace(".zh.ipynb", ".ipynb"))


def record_file(path: Path) -> Path:
    """The record of a lesson in either language."""
    return RECORDS / f"{english(path).stem}.json"


def digest(path: Path) -> str:
    """SHA-256 of the code cells of a lesson and, if it opens the recorded run, of that."""
    from workbench.lessons.recorded import RUN

    cells = [[cell.id, cell.source] for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    parts = [json.dumps(cells).encode()]
    if any("recorded_run(" in source for _, source in cells):
        parts.append((LESSONS.parent / RUN).read_bytes())
    return hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def read(path: Path) -> dict[str, Any]:
    """The record of a lesson."""
    found: dict[str, Any] = json.loads(record_file(path).read_text(encoding="utf-8"))
    return found


def note(path: Path) -> tuple[str, str]:
    """Title and text of the note on a lesson's page that says where its outputs come from."""
    record, language = read(path), path.suffixes[0].removesuffix(".ipynb")
    packages = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    text = NOTES[language].format(**record | {"packages": packages})
    return LABELS[language][0].format(**record), text


def shown(path: Path, cell: str) -> str:
    """The recorded output of a cell of the lesson as Markdown; empty if there is none. Pictures have addresses as seen from the notebook."""
    record, language = read(path), path.suffixes[0].removesuffix(".ipynb")
    parts = [_markdown(each) for each in record["outputs"].get(cell, [])]
    if not parts:
        return ""
    label = LABELS[language][1].format(**record)
    return "\n\n".join(['<div class="recorded" markdown>', f'<p class="recorded-label">{label}</p>', *parts, "</div>"])


def _markdown(output: dict[str, str]) -> str:
    if "picture" in output:
        return f"![{output['alt']}](../../docs/recorded/{output['picture']})"
    if "html" in output:
        return f'<div class="recorded-table">\n{output["html"]}\n</div>'
    return f"```text\n{output['text']}\n```"


def times() -> str:
    """The table of the lessons' times for the teacher's page, from the records."""
    rows = []
    for path in sorted(LESSONS.glob("[0-9]*[a-z0-9].ipynb")):
        if english(path) == path and record_file(path).exists():
            record = read(path)
            minutes, seconds = divmod(round(record["seconds"]), 60)
            used = f"at most {record['others']:.1f} of {record['cores']} cores"
            rows.append(f"| {int(path.name[:2])} | {record['date']} | {minutes} min {seconds:02} s | {used} |\n")
    machines = sorted({read(path)["machine"] for path in LESSONS.glob("[0-9]*.ipynb") if record_file(path).exists()})
    return f"{TABLE_HEAD}{''.join(rows)}\nMachine: {'; '.join(machines)}.\n"


def teaching(page: str) -> str:
    """The teacher's page with the present table of times."""
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + times() + END + rest.partition(END)[2]

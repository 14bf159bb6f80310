"""Hooks of MkDocs: pages of the site that are kept elsewhere in the repository, links between them and docs, and the lists of lessons and
decisions.

``mkdocs.yml`` names this file. The page of a lesson has its text, its code and the outputs that ``scripts/record_lessons.py`` recorded: a build
executes nothing. A link to a file of the repository that is not a page becomes its path as text.
"""

from __future__ import annotations

import os.path
import re
from pathlib import Path
from typing import Any

import lesson_outputs
import nbformat
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks" / "lessons").glob("[0-9]*.ipynb"), key=lambda path: (path.suffixes, path.stem))
"""The lessons in English, and after these the Chinese ones (``.zh.ipynb``)."""
NOTES = {
    "": "This page is a notebook. `{command}` writes a copy to run.",
    ".zh": "本页是一个 notebook。`{command}` 会写出一份可以运行的副本。",
}
"""The note on the page of a lesson, by the notebook's language."""
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CODE_OF_CONDUCT.md": "code_of_conduct.md",
    "benchmarks/RESULTS.md": "results.md",
} | {f"notebooks/lessons/{path.name}": f"lessons/{path.stem}.md" for path in LESSONS}
"""Pages of the site by the files of the repository that they are made of, where these are not at the same place below docs."""
_CODE_OR_LINK = re.compile(r"^```.*?^```|`[^`\n]+`|(!?)\[([^\]]*)\]\(([^)\s]+)\)", re.MULTILINE | re.DOTALL)


def on_config(config: Any) -> Any:
    """List in the navigation the lessons, the decisions with their overview first, and, at the end of the reference, pages that it does not
    name.
    """
    docs = ROOT / "docs"
    decisions = ["README.md", *sorted(path.name for path in (docs / "decisions").glob("[0-9]*.md"))]
    lists = [[pages] if isinstance(pages, str) else pages for part in config.nav for pages in part.values()]
    others = sorted({path.name for path in docs.glob("*.md")}.difference(*lists))
    lessons = [f"lessons/{path.stem}.md" for path in LESSONS]
    further = {"Tutorials": lessons, "Decisions": [f"decisions/{name}" for name in decisions], "Reference": others}
    config.nav = [
        {title: [*pages, *further[title]] if title in further else pages for title, pages in part.items()}
        for part in config.nav
    ]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages."""
    for source, page in PAGES.items():
        if files.get_file_from_path(page) is None:
            path = ROOT / source
            content = lesson(path) if path in LESSONS else path.read_text(encoding="utf-8")
            files.append(File.generated(config, page, content=content))
    return files


def lesson(path: Path) -> str:
    """The page of a lesson: notes on how to run it and on its outputs, below its title, and then text, code and recorded outputs as Markdown."""
    notebook = nbformat.read(path, as_version=4)
    cells = []
    for cell in notebook.cells:
        cells.append(cell)
        if cell.cell_type == "code" and (output := lesson_outputs.shown(path, cell.id)):
            cells.append(nbformat.v4.new_markdown_cell(output))
    notebook.cells = cells
    markdown: str = MarkdownExporter().from_notebook_node(notebook)[0]
    title, _, rest = markdown.strip().partition("\n")
    command = f"workbench notebook {path.name} --page lessons/{path.name}"
    note = NOTES[path.suffixes[0].removesuffix(".ipynb")].format(command=command)
    label, origin = lesson_outputs.note(path)
    return f'{title}\n\n!!! note\n    {note}\n\n!!! info "{label}"\n    {origin}\n\n{rest.strip()}\n'


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with links that lead to pages of the site; code is left as it is."""
    place = page.file.src_uri
    source = next((file for file, name in PAGES.items() if name == place), f"docs/{place}")
    return _CODE_OR_LINK.sub(lambda found: found[0] if found[3] is None else _link(found, source, place), markdown)


def _link(found: re.Match[str], source: str, place: str) -> str:
    """A link of the file ``source``, as it is written on the page ``place``."""
    picture, text, address = found.groups()
    target, mark, anchor = address.partition("#")
    if not target or "://" in target or target.startswith("mailto:"):
        return found[0]
    file = os.path.normpath(Path(source).parent / target)
    page = PAGES.get(file, file.removeprefix("docs/"))
    if page != file or file in PAGES:
        return f"{picture}[{text}]({os.path.relpath(page, Path(place).parent)}{mark}{anchor})"
    if not (ROOT / file).exists():
        return found[0]  # MkDocs reports it
    return f"{text} (`{file}`)" if text.strip("`") != file else f"`{file}`"

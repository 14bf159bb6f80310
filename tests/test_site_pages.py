"""Pages of the documentation's site that are made from other files of the repository."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
LESSONS = sorted((ROOT / "notebooks" / "lessons").glob("*.ipynb"))


@pytest.fixture(scope="module")
def site_pages():
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "scripts" / "site_pages.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_page_of_a_lesson_has_all_its_text_and_code_below_its_title(site_pages, path):
    page = site_pages.lesson(path)
    first, *cells = [cell.source for cell in nbformat.read(path, as_version=4).cells]
    title, _, begin = first.partition("\n")
    assert page.startswith(f"{title}\n")
    assert all(text.strip() in page for text in (begin, *cells))
    assert f"--page lessons/{path.name}" in page


def test_every_lesson_is_a_page(site_pages):
    pages = [page for page in site_pages.PAGES.values() if page.startswith("lessons/")]
    assert sorted(pages) == sorted(f"lessons/{path.stem}.md" for path in LESSONS)


def test_links_lead_to_pages_and_code_is_left_as_it_is(site_pages):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="tutorials.md"))
    markdown = "[`one`](../notebooks/lessons/01_train.ipynb), `a[0](b)`, [two](../README.md#use) and [`x`](../notebooks/app.ipynb)"
    assert site_pages.on_page_markdown(markdown, page) == (
        "[`one`](lessons/01_train.md), `a[0](b)`, [two](index.md#use) and `x` (`notebooks/app.ipynb`)"
    )

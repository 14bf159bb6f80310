"""A notebook written from an experiment says what the experiment says."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from workbench.errors import InputError
from workbench.panel.saved_notebook import save_notebook
from workbench.settings.experiment import PARAMETERS, Experiment
from workbench.store import Store

HOSTILE = 'it\'s "<img src=x onerror=alert(1)>" \\ # no comment.keras'


def parameters(path: Path) -> str:
    (cell,) = (
        cell for cell in nbformat.read(path, as_version=4).cells if "parameters" in cell.metadata.get("tags", ())
    )
    return str(cell.source)


@pytest.mark.parametrize(
    "asked",
    [
        Experiment(),
        Experiment(model=HOSTILE, batches=(2, 4), precisions=("int8",), measure_s=0.5, tf32=False, baseline="a # b"),
    ],
)
def test_its_parameters_are_those_of_the_experiment(asked: Experiment, store: Store, tmp_path: Path) -> None:
    path = save_notebook(asked, tmp_path / "mine" / "x.ipynb", store)
    listed: dict[str, object] = {}
    exec(parameters(path), {}, listed)  # as a kernel would; papermill's own reader stops at any #
    assert listed.pop("store") == str(store.root)
    assert listed.pop("remeasure") is False
    assert Path(listed["model"]).name == Path(asked.model).name
    again = Experiment(**{name: listed[name] for name in PARAMETERS})
    assert again.changes() | {"model": ""} == asked.changes() | {"model": ""}
    if asked.model != "demo":
        assert Path(listed["model"]).is_absolute()


def test_no_file_is_overwritten_and_a_wrong_name_is_refused(store: Store, tmp_path: Path) -> None:
    path = save_notebook(Experiment(), tmp_path / "x.ipynb", store)
    before = path.read_bytes()
    with pytest.raises(InputError, match="already"):
        save_notebook(Experiment(threads=2), path, store)
    assert path.read_bytes() == before
    with pytest.raises(InputError, match=r"ends in \.ipynb"):
        save_notebook(Experiment(), tmp_path / "x.py", store)

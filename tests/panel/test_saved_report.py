"""The report of a run is written from the page Export, and no other file is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.panel.saved_report import SavedReport
from workbench.runs.pipeline import run
from workbench.settings.experiment import Experiment
from workbench.store import Store

PATIENCE_S = 300.0


@pytest.mark.long
def test_a_run_becomes_a_page_to_send(
    experiment: Experiment, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_SOFTWARE", "voila/1")
    part = SavedReport(store)
    assert part.save.disabled
    results = run(experiment, store=store)
    part.show(results)
    mine = tmp_path / "mine.html"
    mine.write_text("not a report")
    for path, said in ((mine, "could not be written"), (tmp_path / "report.html", "Saved as ")):
        part.name.value = str(path)
        part.save.click()
        assert part.save.disabled
        part.work.wait(PATIENCE_S)
        assert said in part.saved.value
        assert not part.save.disabled
    assert mine.read_text() == "not a report"
    assert "wb-headlines" in (tmp_path / "report.html").read_text()
    assert 'download="report.html"' in part.saved.value

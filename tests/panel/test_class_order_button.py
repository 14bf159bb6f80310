"""The button that takes over the order of the classes that the last run has found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from panels import control

from workbench.panel.panel import Panel
from workbench.settings.experiment import Experiment
from workbench.store import Store


def test_the_order_is_taken_over_and_only_the_scores_are_made_again(experiment: Experiment, store: Store, tmp_path):
    x = np.eye(4, dtype=np.float32)[np.arange(120) % 3] * 3
    np.savez(tmp_path / "data.npz", x=x, y=np.array([2, 0, 1])[x.argmax(1)])
    panel = Panel(replace(experiment, data=str(tmp_path / "data.npz")), store=store)
    panel.benchmark()
    panel.wait(60)
    assert "in the order 2, 0, 1" in panel._run._warned.value
    assert panel._out.order.layout.display != "none"
    panel._out.again.value = True
    panel._out.order.button.click()
    panel.wait(60)
    assert control(panel, "class_order").value == "2,0,1"
    assert {row.accuracy.value for row in panel.results.rows} == {1.0}
    assert (panel.results.tally.measured, panel.results.tally.built) == (0, 0)
    assert panel._out.order.layout.display == "none"
    assert panel._run._warned.value == ""

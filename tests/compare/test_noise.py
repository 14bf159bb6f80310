from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recorded import block, measured, results, timing

from workbench.display.tables import disturbances
from workbench.records import Surroundings


def test_what_the_system_counted_is_added_over_the_blocks():
    calm = Surroundings(2, 0.0, 0.0, 0.001, 5, 0, 9, 1, 2500.0, 0)
    busy = Surroundings(2, 0.15, 0.0, 0.004, 7, 0, 9, 8, 2400.0, 0)
    blocks = [block(number, [10.0] * 10) for number in range(4)]  # of 0.1 s
    around = [calm, busy, calm, None]
    seen = tuple(replace(each, around=one) for each, one in zip(blocks, around, strict=True))
    seen = (*seen[:2], replace(seen[2], quiet=False), seen[3])
    row = replace(measured("onnxruntime fp32"), timing=replace(timing(1.0, rounds=1), blocks=seen))
    (line,) = disturbances(results([row])).records()
    assert (line["blocks"], line["disturbed"], line["spoiled"], line["by"]) == (4, 1, 1, "other programs 1")
    assert line["others' cores"] == pytest.approx(0.5)  # 0.15 s over the 0.3 s that were watched
    assert line["waited %"] == pytest.approx(2.0)
    assert (line["stolen %"], line["minor faults"], line["major faults"], line["switches"]) == (0, 17, 0, 10)
    assert line["MHz"] == "2,400 to 2,500"
    html = disturbances(results([row])).html()
    assert "other programs 1" in html
    assert "0.500" in html


def test_what_was_not_given_is_missing():
    frame = disturbances(results([measured("onnxruntime fp32")])).frame()
    assert np.isnan(frame["waited %"].astype("float64")[0])
    assert "waited %" not in disturbances(results([measured("onnxruntime fp32")])).text()

"""What a variant cost, by hand."""

from __future__ import annotations

from dataclasses import replace

import peaked
import pytest
from recorded import measured, on_gpu, results

from workbench.compare.cost_table import block_joules, cpu_s, joules
from workbench.display.tables import COSTS
from workbench.records import Energy, Region

RAPL = "RAPL package-0"
BOARD = "NVML, the whole board"


def metered(row, *energies: Energy):
    """The row with these counters in each of its blocks."""
    blocks = tuple(replace(block, energy=energies) for block in row.timing.blocks)
    return replace(row, timing=replace(row.timing, blocks=blocks))


def block_s(row) -> float:
    return row.timing.blocks[0].wall_s


def test_memory_and_cpu_time_are_of_one_call():
    row = measured("onnxruntime fp32", 8, median_ms=2.0)
    (line,) = results([row]).costs().frame().to_dict("records")
    assert (line["peak MiB"], line["engine MiB"]) == (310, 190)
    assert line["CPU ms"] == pytest.approx(2.0, rel=0.1)
    assert cpu_s(row.timing) * sum(map(row.timing.calls_in, row.timing.blocks)) == pytest.approx(
        sum(b.cpu_s for b in row.timing.blocks)
    )
    assert line["cores used"] == pytest.approx(1.0)
    assert tuple(line) == tuple(each.name for each in COSTS)


def test_energy_is_divided_among_the_calls_by_time():
    row = measured("onnxruntime fp32", timing_rounds=1, timing_calls=100)
    window_s = 2 * block_s(row)  # half of it went to the untimed calls
    found = joules(metered(row, Energy(RAPL, 10.0, window_s, 0.001)).timing)
    assert found == {RAPL: pytest.approx(0.05)}


def test_runs_in_a_sample_are_those_of_the_process_that_made_the_block():
    """Each process chooses how many short runs of a GPU make a sample; the facts of the device are those of the last process."""
    row = on_gpu("onnxruntime:cuda fp32")
    timing = row.timing
    blocks = tuple(replace(block, runs=11 + place % 2) for place, block in enumerate(timing.blocks))
    timing = replace(timing, device=replace(timing.device, runs=12), blocks=blocks, region=Region.DEVICE)
    calls = sum(len(block.samples_ns) * block.runs for block in blocks)
    assert sum(map(timing.calls_in, blocks)) == calls
    assert cpu_s(timing) == pytest.approx(sum(block.cpu_s for block in blocks) / calls)
    wall_s = sum(block.wall_s for block in timing.counted)
    assert timing.queries_per_s == pytest.approx(sum(map(timing.calls_in, timing.counted)) / wall_s)
    metered_once = replace(blocks[0], energy=(Energy(BOARD, 1.0, 2.0, 0.1),), wall_s=2.0)
    assert block_joules(metered_once, timing) == {BOARD: pytest.approx(1 / (11 * len(blocks[0].samples_ns)))}
    assert timing.not_single == "each time is the mean over 12 runs"


def test_packages_add_up_and_say_whose_they_are():
    row = measured("onnxruntime fp32", timing_calls=100)
    pair = [Energy(f"RAPL package-{number}", 1.0, block_s(row), 0.001) for number in (0, 1)]
    table = results([metered(row, *pair)]).costs().frame()
    (line,) = table.to_dict("records")
    assert line["energy of"] == "RAPL package-0 + RAPL package-1"
    assert line["mJ"] == pytest.approx(20, rel=0.1)
    assert "other programs and idle power are included" in table.attrs["notes"][0]


def test_a_window_too_short_for_its_counter_gives_no_energy_and_says_how_long_it_must_be():
    row = on_gpu("onnxruntime:cuda fp32")
    table = results([metered(row, Energy(BOARD, 1.0, 1.999, 0.1))]).costs().frame()
    assert table["mJ"].isna().all()
    (note,) = [text for text in table.attrs["notes"] if "NVML" in text]
    assert note == (
        "No energy from NVML, the whole board: a block must last 2 s for its counter, and lasts 0.08 s. Measure each row for 24 s ('measure_s')."
    )
    enough = results([metered(row, Energy(BOARD, 1.0, 2.0, 0.1))]).costs().frame()
    assert enough["energy of"].tolist() == [BOARD]


def test_a_block_without_a_reading_leaves_no_mean_of_the_others():
    row = measured("onnxruntime fp32", timing_rounds=3)
    full = metered(row, Energy(RAPL, 1.0, 1.0, 0.001))
    holed = replace(full.timing, blocks=(*full.timing.blocks[:2], replace(full.timing.blocks[2], energy=())))
    assert joules(full.timing)
    assert joules(holed) == {}


def test_a_board_and_a_package_are_not_one_number():
    both = (Energy(RAPL, 1.0, 5.0, 0.001), Energy(BOARD, 9.0, 5.0, 0.1))
    assert set(joules(metered(on_gpu("onnxruntime:cuda fp32"), *both).timing)) == {BOARD}
    assert set(joules(metered(measured("onnxruntime fp32"), *both).timing)) == {RAPL}


def test_why_there_is_no_energy_is_what_the_worker_said():
    row = measured("onnxruntime fp32", timing_in_effect=peaked.reported(energy="this machine offers no RAPL counters"))
    assert results([row]).costs().frame().attrs["notes"][0] == "No energy: this machine offers no RAPL counters."


def test_the_share_of_the_limit_stands_in_the_table_and_too_much_is_said():
    rows = [measured("onnxruntime fp32", 64, median_ms=1.28), measured("onnxruntime int8", 64, median_ms=0.05)]
    table = peaked.results(*rows).costs().frame()
    assert table["limited by"].tolist() == ["fp32 compute", "int8 compute"]
    assert table["% of limit"][0] == pytest.approx(50, rel=0.05)
    assert table["limit GFLOP/s"].tolist() == pytest.approx([100, 400])
    (over,) = [text for text in table.attrs["notes"] if text.startswith("Above 100 %")]
    assert over.startswith("Above 100 %: onnxruntime int8 @64. The measured peak is too low")


def test_a_thread_that_waited_for_its_core_is_named():
    row = measured("onnxruntime fp32")
    blocks = tuple(replace(block, cpu_s=0.5 * block.wall_s) for block in row.timing.blocks)
    slow = replace(row, timing=replace(row.timing, blocks=blocks))
    notes = results([slow, measured("openvino fp32")]).costs().frame().attrs["notes"]
    assert next(text for text in notes if "had to wait" in text).startswith("onnxruntime fp32 had to wait for a core")


def test_gpu_memory_is_reported_where_nvml_does():
    table = results([on_gpu("onnxruntime:cuda fp32"), measured("onnxruntime fp32")]).costs().frame()
    assert table["GPU MiB"].tolist()[0] == 606
    assert table["GPU MiB"].isna().tolist() == [False, True]

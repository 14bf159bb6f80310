"""LoadGen itself drives made-up engines: real runs, a fraction of a second each.

LoadGen makes as many queries as it needs for its shortest time at the speed that was tried before. Where the machine was busy while it was tried, and
no more in the run, they are too few, and the run is not valid. So where a valid run is expected the queries that are asked for take longer than
that time, however fast the machine is: no call is over before two milliseconds.
"""

import time
from pathlib import Path

import numpy as np
import pytest

from workbench.data.samples import Samples, save_samples
from workbench.errors import RunError
from workbench.protocols import Caller, Callers
from workbench.records import LoadPlan
from workbench.timing import loadgen

SUMMARY = """================================================
MLPerf Results Summary
================================================
SUT name : PySUT
Scenario : Server
Completed samples per second    : 473.19
Result is : INVALID
  Performance constraints satisfied : NO
  Min duration satisfied : Yes
Recommendations:
 * Reduce target QPS to improve latency.
 * The test exited early, before enough queries were issued.
   See the detailed log for why this may have occurred.
Early Stopping Result:
 * Run unsuccessful.
99.00 percentile latency (ns)   : 621750821
target_qps : 3000
"""


@pytest.fixture
def samples(tmp_path):
    x = np.arange(20, dtype=np.float32).reshape(20, 1)
    save_samples(Samples("numbers", {"x": x}), tmp_path / "samples.npz")
    return str(tmp_path / "samples.npz")


class Engine:
    """Answers after two milliseconds, and keeps what it was asked."""

    def __init__(self, *, breaks_after=10**9):
        self.asked, self.breaks_after = [], breaks_after

    def run(self, feeds):
        self.asked.append(feeds["x"][:, 0].tolist())
        if len(self.asked) > self.breaks_after:
            raise ValueError("no more memory")
        time.sleep(0.002)
        return {}

    def callers(self, count):
        return Callers((Caller(self.run, lambda feeds: lambda: feeds),) * count, "made up")


def ask(engine, samples, scenario, batch=1, rate=0.0, **more):
    plan = LoadPlan(scenario=scenario, **{"callers": 2, "loadgen_s": 0.2, "loadgen_queries": 70} | more)
    return loadgen.run(engine.callers, Path(samples), batch, plan, rate)


def test_single_stream_is_answered_one_by_one_with_its_samples(samples):
    engine = Engine()
    found = ask(engine, samples, "SingleStream", loadgen_s=0.1)  # 70 calls take 0.14 s
    assert found.valid is True
    assert found.figures["Scenario"] == "SingleStream"
    assert found.percentile_s(90) > 0.002
    assert found.samples_per_s < 500
    assert "1 at once" in found.how
    assert found.settings == "at least 0.1 s and 70 queries; shortened: MLPerf's rules require 600 s and 100 queries"
    assert "MLPerf Results Summary" in found.summary
    assert found.version.startswith("6.")
    assert len({tuple(asked) for asked in engine.asked}) > 10  # not the same one again and again


def test_offline_comes_in_full_batches(samples):
    engine = Engine()
    found = ask(
        engine, samples, "Offline", batch=8, loadgen_s=0.1, loadgen_queries=1000
    )  # 125 calls of two callers take 0.126 s
    assert found.valid is True
    assert {len(asked) for asked in engine.asked} == {8}
    assert len(engine.asked) >= 125
    assert 0 < found.samples_per_s < 8 * 2 * 500  # two callers of 500 batches a second at most
    assert found.percentile_s(50) is None


def test_server_gets_rate_and_limit_and_takes_what_waits_as_one_batch(samples):
    engine = Engine()
    found = ask(engine, samples, "Server", batch=4, rate=1500.0, limit_s=0.05, percent=90.0)
    assert "1500 queries/s within 50 ms at p90" in found.settings
    assert found.figures["target_qps"] == "1500"
    assert found.figure("target_latency (ns)") == 50_000_000
    assert {len(asked) for asked in engine.asked} == {4}
    assert len({tuple(asked) for asked in engine.asked}) > 10


def test_an_overloaded_server_ends_early_with_loadgens_own_reason(samples):
    began = time.monotonic()
    found = ask(Engine(), samples, "Server", rate=4000.0, limit_s=0.01, loadgen_s=20, callers=1)
    assert time.monotonic() - began < 10
    assert found.valid is False
    assert any("Too many outstanding queries" in reason for reason in found.reasons)
    assert "Reduce target QPS to improve latency." in found.reasons


@pytest.mark.parametrize("scenario", ["SingleStream", "Offline", "Server"])
def test_an_engine_that_fails_ends_the_run_with_its_reason(samples, scenario):
    with pytest.raises(RunError) as caught:
        ask(Engine(breaks_after=400), samples, scenario, loadgen_s=1, loadgen_queries=1000, rate=500.0)
    assert str(caught.value) == "The engine failed under LoadGen: no more memory"


def test_a_summary_is_read_as_it_stands():
    figures, valid, reasons = loadgen.read_summary(SUMMARY)
    assert not valid
    assert figures["Completed samples per second"] == "473.19"
    assert figures["99.00 percentile latency (ns)"] == "621750821"
    assert "Run unsuccessful." not in figures
    assert reasons == (
        "Performance constraints satisfied: no",
        "Reduce target QPS to improve latency.",
        "The test exited early, before enough queries were issued. See the detailed log for why this may have occurred.",
        "Run unsuccessful.",
    )
    _, valid, reasons = loadgen.read_summary(SUMMARY.replace("INVALID", "VALID").replace(" NO", " Yes"))
    assert valid
    assert "Run unsuccessful." not in reasons


def test_only_runs_as_long_as_the_rules_ask_for_are_not_called_short():
    assert loadgen.shortened("SingleStream", 600, 100) == "as long as MLPerf's rules require"
    assert loadgen.shortened("Offline", 600, 100).endswith("600 s and 24,576 queries")
    assert loadgen.refusal("SingleStream", 8)
    assert not loadgen.refusal("Offline", 8)

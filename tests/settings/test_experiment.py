import shlex
from dataclasses import replace
from pathlib import Path

import pytest

import workbench
from workbench.cli import report
from workbench.errors import InputError
from workbench.records import Calibration, Region, Wait
from workbench.records.methods import METHODS
from workbench.settings.commands import papermill_command, python_call, report_command
from workbench.settings.experiment import PARAMETERS, Experiment
from workbench.settings.measuring import PROTOCOLS
from workbench.settings.options import Parser, given


def test_lists_come_as_text_numbers_or_sequences():
    wanted = (1, 8)
    for text in ("1,8", "[8, 1]", [8, 1], (1, 8, 8), "8,1,"):
        assert Experiment(batches=text).batches == wanted
    assert Experiment(batches=8).batches == (8,)
    assert Experiment(precisions="int8").precisions == ("int8",)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"batches": 0},
            "'batches' must be whole numbers from 1 to 65536, separated by commas; found 0. Choose for example 1,8,32.",
        ),
        (
            {"batches": "1,x"},
            "'batches' must be whole numbers from 1 to 65536, separated by commas; found \"x\". Choose for example 1,8,32.",
        ),
        (
            {"batches": 1.5},
            "'batches' must be whole numbers from 1 to 65536, separated by commas; found 1.5. Choose for example 1,8,32.",
        ),
        ({"batches": ""}, "'batches' is empty. Give at least one value."),
        (
            {"precisions": "int4"},
            f"Unknown value 'int4' for 'precisions'. Choose from: {', '.join(METHODS)}.",
        ),
        (
            {"calibration": "best"},
            "Unknown value 'best' for 'calibration'. Choose from: minmax, entropy, percentile, distribution.",
        ),
        ({"threads": 0}, "'threads' must be a whole number from 1 to 1024; found 0. Choose for example 2."),
        ({"threads": True}, "'threads' must be a whole number from 1 to 1024; found true. Choose for example 2."),
        (
            {"measure_s": "nan"},
            "'measure_s' must be a number above 0 and at most 86400 seconds; found nan. Choose for example 1.0.",
        ),
        ({"cores": "a"}, "'cores' must be numbers of cores, such as 0,2 or 0-3; found \"a\"."),
        ({"cores": "3-1"}, "'cores' must be numbers of cores, such as 0,2 or 0-3; found \"3-1\"."),
        (
            {"cores": "0", "threads": 2},
            "'threads' is 2 and 'cores' lists 1: threads would share a core. Give at least as many cores as threads, or "  # noqa: ISC004
            "fewer threads.",
        ),
        ({"clocks": "maybe"}, "'clocks' must be true or false; found \"maybe\"."),
        ({"tf32": "maybe"}, "'tf32' must be true or false; found \"maybe\"."),
        ({"cuda_graph": 2}, "'cuda_graph' must be true or false; found 2."),
        ({"streams": 0}, "'streams' must be a whole number from 1 to 64; found 0. Choose for example 4."),
        ({"streams": 65}, "'streams' must be a whole number from 1 to 64; found 65. Choose for example 4."),
        (
            {"protocol": "trtexec"},
            f"Unknown value 'trtexec' for 'protocol'. Choose from: {', '.join(PROTOCOLS)}.",
        ),
        (
            {"build_options": "re fit"},
            "'build_options' are names of letters, digits and _ . = -; found \"re fit\". Separate several by commas.",
        ),
        (
            {"until": "wide"},
            "Unknown value 'wide' for 'until'. Choose from: known, narrow.",
        ),
        (
            {"within": 2},
            "'within' must be a number above 0 and below 1; found 2. Choose for example 0.02.",
        ),
        (
            {"max_measure_s": 0},
            "'max_measure_s' must be a number above 0 and at most 86400 seconds; found 0. Choose for example 20.",
        ),
        (
            {"concurrency": 0},
            "'concurrency' must be whole numbers from 1 to 64, separated by commas; found 0. Choose for example 1,2,4.",
        ),
        (
            {"concurrency": "2x"},
            "'concurrency' must be whole numbers from 1 to 64, separated by commas; found \"2x\". Choose for example 1,2,4.",
        ),
        ({"rate": -5}, "'rate' must be queries per second, such as 100 or 50,100,200, or auto; found -5."),
        ({"rate": "fast"}, "'rate' must be queries per second, such as 100 or 50,100,200, or auto; found \"fast\"."),
        (
            {"latency_limit_ms": 0},
            "'latency_limit_ms' must be a number above 0 and at most 3600000 milliseconds; found 0. Choose for example 100.0.",
        ),
        (
            {"latency_percentile": 100},
            "'latency_percentile' must be a number from 50 to below 100; found 100. Choose for example 99.0.",
        ),
        (
            {"loadgen_s": "inf"},
            "'loadgen_s' must be a number above 0 and at most 86400 seconds; found inf. Choose for example 3.0.",
        ),
        (
            {"loadgen_queries": -1},
            "'loadgen_queries' must be a whole number from 0 to 100000000; found -1. Choose for example 1000.",
        ),
        (
            {"protocol": "mlperf-server", "rate": "50,100"},
            "The protocol mlperf-server needs one 'rate' in queries per second; found \"50,100\". Choose for example 100, or auto.",
        ),
        (
            {"measure_s": -1},
            "'measure_s' must be a number above 0 and at most 86400 seconds; found -1. Choose for example 1.0.",
        ),
    ],
)
def test_bad_values_get_one_sentence(changes, sentence):
    with pytest.raises(InputError) as caught:
        Experiment(**changes)
    assert str(caught.value) == sentence


def test_protocols_are_these():
    assert PROTOCOLS == ("trtexec-10", "trtexec-11", "mlperf-singlestream", "mlperf-offline", "mlperf-server")


def test_variants_are_every_combination():
    experiment = Experiment(backends="onnxruntime,openvino", precisions="fp32,int8", batches="1,8")
    labels = [spec.label for spec in experiment.variants()]
    assert labels == ["onnxruntime fp32", "onnxruntime int8", "openvino fp32", "openvino int8"]
    assert {spec.batches for spec in experiment.variants()} == {(1, 8)}


def test_fixed_shapes_make_one_engine_per_batch():
    experiment = Experiment(backends="onnxruntime", precisions="fp32", batches="1,8", shapes="fixed")
    assert [(s.label, s.batches) for s in experiment.variants()] == [
        ("onnxruntime fp32 b1", (1,)),
        ("onnxruntime fp32 b8", (8,)),
    ]


def test_only_int8_carries_calibration():
    fp32, int8 = Experiment(backends="onnxruntime", precisions="fp32,int8", calibration="minmax").variants()
    assert (fp32.calibration, fp32.calibration_samples) == (None, 0)
    assert (int8.calibration, int8.calibration_samples) == (Calibration.MINMAX, 200)


def test_parameters_round_trip():
    experiment = Experiment(model="m.keras", batches="1,8", measure_s=0.5, threads=2)
    assert Experiment(**experiment.parameters()) == experiment
    assert tuple(experiment.parameters()) == PARAMETERS


def test_papermill_command_names_only_what_differs_and_quotes_it():
    experiment = Experiment(model="my model.keras", batches="8", threads=2)
    assert shlex.split(papermill_command(experiment, "st"))[3:] == [
        "-r", "model", str(Path("my model.keras").absolute()), "-r", "batches", "8", "-p", "threads", "2",
        "-r", "store", str(Path("st").absolute()),
    ]  # fmt: skip


def test_report_command_makes_the_same_experiment():
    experiment = Experiment(
        model="my model.keras", batches="8", threads=2, tf32=False, pixels="-1..1", precisions="int8", keep="a b,c"
    )
    words = shlex.split(report_command(experiment, "st", minutes="5"))[1:]
    assert words[-4:] == ["--store", str(Path("st").absolute()), "--minutes", "5"]
    parser = Parser(prog="workbench report")
    report.add_to(parser)
    asked = Experiment(**given(parser.read(words[1:])))
    assert asked == replace(experiment, model=str(Path("my model.keras").absolute()))


def test_python_call_makes_the_same_experiment(monkeypatch):
    experiment = Experiment(model="a'b.onnx", batches="1", precisions="fp32")
    made = []
    monkeypatch.setattr(workbench, "run", lambda asked, store: made.append((asked, store)))
    exec(python_call(experiment, "st"), {})
    assert made == [(replace(experiment, model=str(Path("a'b.onnx").absolute())), str(Path("st").absolute()))]


@pytest.mark.parametrize(
    ("text", "value"), [("false", False), ("False", False), ("0", False), ("yes", True), (True, True), (1, True)]
)
def test_truth_comes_as_text_too(text, value):
    assert Experiment(tf32=text).tf32 is value
    assert Experiment(cuda_graph=text).variants()[0].cuda_graph is value


def test_settings_of_gpus_reach_the_variants():
    asked = Experiment(tf32="false", cuda_graph=True, streams="4", build_options="refit,strip=1")
    assert asked.build_options == ("refit", "strip=1")
    spec = asked.variants()[0]
    assert (spec.tf32, spec.cuda_graph, spec.streams, spec.build_options) == (False, True, 4, ("refit", "strip=1"))
    assert Experiment(**asked.parameters()) == asked


def test_a_protocol_sets_what_trtexec_sets():
    own = {"region": "compute", "measure_s": 0.1, "rounds": 4}
    for version, graph, wait, copies in (("10", False, Wait.BLOCK, True), ("11", True, Wait.SPIN, False)):
        asked = Experiment(protocol=f"trtexec-{version}", cuda_graph=not graph, **own)
        plan = asked.plan
        assert (plan.region, plan.wait, plan.copies) == (Region.DEVICE, wait, copies)
        assert plan.rounds * plan.block_s == pytest.approx(3)
        assert plan.warm_up_s == 0.2
        assert plan.rounds * plan.min_calls >= 10
        assert {spec.cuda_graph for spec in asked.variants()} == {graph}
    assert Experiment(**own).plan.region == Region.COMPUTE


def test_the_budget_decides_how_often_processes_are_started():
    plan = Experiment().plan
    assert (plan.rounds, plan.relaunch_rounds, plan.launches, plan.looks) == (12, 6, 7, (4, 7))
    assert Experiment(max_measure_s=20).plan.looks == (4, 8, 16, 32, 39)
    assert Experiment(max_measure_s=2.5).plan.launches == 4
    # with three launches no more is known than with one
    assert (Experiment(max_measure_s=2.4).plan.launches, Experiment(max_measure_s=2.4).plan.looks) == (1, ())
    assert Experiment(max_measure_s=0.1).plan.launches == 1
    assert Experiment(protocol="trtexec-11", max_measure_s=100).plan.launches == 1
    assert (Experiment(within=0.01).plan.within, Experiment(max_measure_s=9).plan.max_measure_s) == (0.01, 9)


def test_load_is_measured_only_where_it_is_asked_for():
    assert Experiment().load_plan.empty
    assert Experiment(rate=0).load_plan.empty
    assert Experiment(concurrency="4,1").load_plan.concurrency == (1, 4)
    assert Experiment(rate="200, 50,").rates == (50.0, 200.0)
    assert Experiment(rate=[50, 200.5]).rate == "50,200.5"
    assert Experiment(rate="50").load_plan.concurrency == ()  # one caller alone is what the latency rounds measure
    searching = Experiment(rate="auto", concurrency=2).load_plan
    assert (searching.search, searching.rates, searching.concurrency, searching.callers) == (True, (), (2,), 2)


def test_a_protocol_of_mlperf_leaves_the_latency_rounds_as_they_are():
    asked = Experiment(protocol="mlperf-offline", region="compute", measure_s=0.6, cuda_graph=True)
    assert asked.plan == Experiment(region="compute", measure_s=0.6).plan
    assert asked.variants()[0].cuda_graph
    assert (asked.load_plan.scenario, asked.load_plan.loadgen_queries) == ("Offline", 100)
    assert Experiment(protocol="mlperf-server", rate=9).load_plan.loadgen_queries == 1000


def test_a_gpus_own_clock_times_no_load():
    assert Experiment(protocol="trtexec-11", concurrency=2).load_plan.region == Region.COMPUTE


@pytest.mark.parametrize(
    ("given", "cores"), [("0, 1,2,5", (0, 1, 2, 5)), ("2-3", (2, 3)), (0, (0,)), ((3, 1), (1, 3)), ("", ())]
)
def test_cores_are_part_of_how_to_measure(given, cores):
    for protocol in ("", "trtexec-11"):
        plan = Experiment(cores=given, clocks="true", protocol=protocol).plan
        assert (plan.cores, plan.clocks) == (cores, True)
    assert Experiment(cores=Experiment(cores=given).cores).plan.cores == cores


def test_a_path_is_as_good_as_its_text():
    asked = Experiment(model=Path("nets/mine.onnx"), data=Path("mine.npz"))
    assert asked == Experiment(model="nets/mine.onnx", data="mine.npz")
    assert asked.changes() == {"model": "nets/mine.onnx", "data": "mine.npz"}


@pytest.mark.parametrize(("name", "value"), [("model", object()), ("data", (1, 2)), ("model", b"demo"), ("data", None)])
def test_what_is_not_a_path_is_reported_where_it_belongs(name, value):
    with pytest.raises(
        InputError, match=rf"'{name}' must be a path or a name; found a .*run\(experiment, {name}=\.\.\.\)"
    ):
        Experiment(**{name: value})


def test_an_experiment_reads_no_file_until_it_is_run(tmp_path):
    file = tmp_path / "keep.json"
    asked = Experiment(backends="onnxruntime", precisions="fp32,int8", keep=str(file))  # the file does not exist
    assert asked.variants()[1].keep == (str(file),)
    with pytest.raises(
        InputError, match=r"The list of nodes '.*keep\.json' could not be read: the file does not exist\."
    ):
        asked.resolved()
    file.write_text('{"keep": ["conv1", "conv,2"]}')
    run = asked.resolved()
    file.write_text('{"keep": ["other"]}')
    assert run.keep == ("conv1", "conv,2")
    assert run.variants()[1].keep == ("conv1", "conv,2")
    assert run.resolved() is run
    assert Experiment(**run.parameters()) == run
    assert asked.resolved().keep == ("other",)


def test_levels_and_workspaces_are_lists():
    asked = Experiment(backends="onnxruntime", precisions="fp32", optimization_level="3,default", workspace_mib=[0, 64])
    assert (asked.optimization_level, asked.workspace_mib) == ((-1, 3), (0, 64))
    assert [(spec.optimization_level, spec.workspace_bytes) for spec in asked.variants()] == [
        (None, None),
        (None, 64 * 2**20),
        (3, None),
        (3, 64 * 2**20),
    ]
    assert Experiment(optimization_level=1, workspace_mib="5").parameters()["workspace_mib"] == "5"

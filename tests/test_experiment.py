import shlex

import pytest

from workbench.errors import InputError
from workbench.experiment import PARAMETERS, Experiment
from workbench.methods import METHODS
from workbench.records import Calibration, Region, Wait


def test_lists_come_as_text_numbers_or_sequences():
    wanted = (1, 8)
    for given in ("1,8", "[8, 1]", [8, 1], (1, 8, 8), "8,1,"):
        assert Experiment(batches=given).batches == wanted
    assert Experiment(batches=8).batches == (8,)
    assert Experiment(precisions="int8").precisions == ("int8",)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"batches": 0}, "Batch sizes must be whole numbers from 1 to 65536; found 0. Choose for example 1,8,32."),
        ({"batches": "1,x"}, "'batches' must be whole numbers with commas, such as 1,8,32; found \"x\"."),
        ({"batches": 1.5}, "'batches' must be whole numbers with commas, such as 1,8,32; found 1.5."),
        ({"batches": ""}, "'batches' is empty. Give at least one value."),
        (
            {"precisions": "int4"},
            f"Unknown value 'int4' for 'precisions'. Choose from: {', '.join(METHODS)}.",
        ),
        ({"calibration": "best"}, "Unknown value 'best' for 'calibration'. Choose from: minmax, entropy, percentile."),
        ({"threads": 0}, "'threads' must be at least 1; found 0. Choose a larger number."),
        ({"threads": True}, "'threads' must be a whole number; found true."),
        ({"measure_s": "nan"}, "'measure_s' must be above 0 seconds; found nan. Choose for example 1.0."),
        ({"tf32": "maybe"}, "'tf32' must be true or false; found \"maybe\"."),
        ({"cuda_graph": 2}, "'cuda_graph' must be true or false; found 2."),
        ({"streams": 0}, "'streams' must be at least 1; found 0. Choose a larger number."),
        ({"streams": 65}, "'streams' must be at most 64; found 65. Choose for example 4."),
        ({"protocol": "trtexec"}, "Unknown value 'trtexec' for 'protocol'. Choose from: trtexec-10, trtexec-11."),
        (
            {"build_options": "re fit"},
            "'build_options' are names of letters, digits and _ . = -; found \"re fit\". Separate several by commas.",
        ),
        ({"measure_s": -1}, "'measure_s' must be above 0 seconds; found -1.0. Choose for example 1.0."),
    ],
)
def test_bad_values_get_one_sentence(changes, sentence):
    with pytest.raises(InputError) as caught:
        Experiment(**changes)
    assert str(caught.value) == sentence


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
    assert shlex.split(experiment.papermill_command())[3:] == [
        "-r", "model", "my model.keras", "-r", "batches", "8", "-p", "threads", "2",
    ]  # fmt: skip


def test_python_call_makes_the_same_experiment():
    experiment = Experiment(model="a'b.onnx", batches="1", precisions="fp32")
    made = []
    workbench = type("W", (), {"Experiment": Experiment, "run": staticmethod(made.append)})
    eval(experiment.python_call(), {"workbench": workbench})
    assert made == [experiment]


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

"""A setting without an effect is reported once."""

from dataclasses import replace

import numpy as np

from workbench.accuracy.truth import LabelKind, Truth
from workbench.data.dataset import Dataset
from workbench.data.samples import Samples
from workbench.runs.unused import unlabelled, unused
from workbench.settings.experiment import Experiment


def test_nothing_is_said_of_settings_that_are_as_they_were():
    assert unused(Experiment()) == []
    assert unused(Experiment(threads=2, optimization_level=1, backends="onnxruntime")) == []


def test_each_setting_names_the_backends_that_take_no_notice_of_it():
    asked = Experiment(backends="onnxruntime,openvino,tensorrt:rtx", streams=4, workspace_mib=5, tf32=False)
    assert unused(asked) == [
        (
            "'workspace_mib' is 5 and has no effect on onnxruntime (ONNX Runtime has no workspace limit); openvino (OpenVINO "
            "has no workspace limit)."
        ),
        "'tf32' is false and has no effect on onnxruntime, openvino (it runs on the CPU).",
        "'streams' is 4 and has no effect on onnxruntime, openvino (it runs on the CPU).",
    ]
    assert unused(Experiment(backends="onnxruntime:cuda", streams=4)) == []
    assert unused(Experiment(backends="tensorrt:rtx", threads=2, build_options="refit")) == [
        "'threads' is 2 and has no effect on tensorrt:rtx (the engine runs on a GPU)."
    ]
    assert unused(Experiment(backends="openvino", build_options="refit")) == [
        "'build_options' is refit and has no effect on openvino (OpenVINO has no build options by name)."
    ]


def test_settings_of_labels_that_there_are_none_of_are_named():
    data = Dataset(None, Samples("d", {"x": np.zeros((5, 2), np.float32)}), "5 samples of d.npz", real=True)
    assert unlabelled(Experiment(), data) == []
    (said,) = unlabelled(Experiment(metric="f1", labels="one-hot"), data)
    assert said.startswith("The data hold no labels, so that 'labels', 'metric' have no effect. Save labels as 'y'")
    (said,) = unlabelled(Experiment(metric="rmse", group_column="site"), data)
    assert said.startswith("The data hold no labels: 'rmse' is measured against the source model's own outputs")
    truth = Truth(LabelKind.CLASSES, np.zeros(5, np.int64))
    assert unlabelled(Experiment(metric="f1"), replace(data, test=replace(data.test, truth=truth))) == []

"""Several values of a setting of the build are several variants, where the backend has that setting."""

from workbench.plan.variants import variants_of
from workbench.settings.experiment import Experiment


def labels(**asked: object) -> list[str]:
    return [spec.label for spec in variants_of(Experiment(precisions="fp32", **asked))]


def test_each_value_is_a_variant_of_the_backends_that_have_the_setting():
    found = labels(backends="onnxruntime,openvino,tensorrt:rtx", optimization_level="0,-1", workspace_mib="0,64")
    assert found == [
        "onnxruntime fp32",
        "onnxruntime fp32 level 0",
        "openvino fp32",
        "tensorrt:rtx fp32",
        "tensorrt:rtx fp32 workspace 64 MiB",
        "tensorrt:rtx fp32 level 0",
        "tensorrt:rtx fp32 level 0 workspace 64 MiB",
    ]


def test_the_default_value_is_in_no_name():
    assert labels(backends="onnxruntime,tensorrt:rtx") == ["onnxruntime fp32", "tensorrt:rtx fp32"]
    assert labels(backends="onnxruntime", optimization_level=2, batches="1,8", shapes="fixed") == [
        "onnxruntime fp32 level 2 b1",
        "onnxruntime fp32 level 2 b8",
    ]
    assert labels(backends="openvino", optimization_level="0,1,2,3", workspace_mib="1,2,3") == ["openvino fp32"]

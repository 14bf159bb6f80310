"""SavedModels without signatures: their functions are read, run and converted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from converting import convert_model

from workbench.errors import InputError
from workbench.models import formats
from workbench.models.inspection import inspect_model


def _saved(folder: Path, *names: str, training: bool = False) -> Path:
    """A module with a weight and functions of these names; ``__call__`` takes a flag where ``training`` is set."""
    import tensorflow as tf

    class Module(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight = tf.Variable(tf.reshape(tf.range(8.0), (4, 2)))

        @tf.function  # type: ignore[untyped-decorator]
        def __call__(self, image, training=False):
            found = image @ self.weight
            return {"scores": found + 1.0 if training else found, "sum": tf.reduce_sum(found, 1)}

        @tf.function  # type: ignore[untyped-decorator]
        def encode(self, image):
            return image * 2, image @ self.weight

    module, spec = Module(), tf.TensorSpec([None, 4], tf.float32)
    for name in names:
        getattr(module, name).get_concrete_function(spec, **({"training": True} if training else {}))
        if training:
            getattr(module, name).get_concrete_function(spec, training=False)
    tf.saved_model.save(module, str(folder))
    return folder


X = np.arange(12, dtype="f4").reshape(3, 4)
SCORES = X @ np.arange(8, dtype="f4").reshape(4, 2)


@pytest.mark.parametrize("training", [False, True])
def test_the_call_of_a_model_stands_for_its_signature(tmp_path, training):
    model = inspect_model(_saved(tmp_path / "m", "__call__", "encode", training=False) if not training else
                          _saved(tmp_path / "m", "__call__", training=True))  # fmt: skip
    assert [str(spec) for spec in (*model.inputs, *model.outputs)] == [
        "image: float32 [? × 4]", "scores: float32 [? × 2]", "sum: float32 [?]",
    ]  # fmt: skip
    assert (model.signature, model.unsigned, model.parameters) == ("__call__", True, 8)
    assert model.notes == ("This SavedModel has no signature; its function '__call__' is used.",)
    found = formats.get("saved_model").open(Path(model.path), model)({"image": X})
    np.testing.assert_allclose(found["scores"], SCORES)
    check = convert_model(model, tmp_path / "out.onnx")
    assert check.max_rel_diff < 1e-5


def test_another_function_is_named_as_signature(tmp_path):
    model = inspect_model(_saved(tmp_path / "m", "__call__", "encode"), "encode")
    assert [spec.name for spec in model.outputs] == ["output_0", "output_1"]
    found = formats.get("saved_model").open(Path(model.path), model)({"image": X})
    np.testing.assert_allclose(found["output_1"], SCORES)
    with pytest.raises(InputError, match="has no function 'nosuch'; it has: __call__, encode"):
        inspect_model(tmp_path / "m", "nosuch")


def test_a_module_without_traced_functions_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no signature, and no function that was traced with tensors"):
        inspect_model(_saved(tmp_path / "m"))

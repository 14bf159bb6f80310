"""Run the model of a deployment by TensorFlow.

This file is copied into deployments; it imports NumPy's and TensorFlow's packages and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Arrays = Mapping[str, Any]


def open_model(folder: Path, options: Mapping[str, Any]) -> Callable[[Arrays], dict[str, Any]]:
    """Open a signature of the SavedModel ``options["file"]`` in ``folder`` as one ``tf.function``.

    Args:
        folder: the folder with the model's files.
        options: ``file``; ``signature``; ``threads`` inside one operator; ``xla``, whether XLA compiles the function; ``batch``, the batch
            that shapes are fixed to, or null.

    Returns:
        A function from arrays by input name to arrays by output name. Several threads may call it at once.

    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(int(options["threads"]))
    tf.config.threading.set_inter_op_parallelism_threads(1)
    loaded = tf.saved_model.load(str(folder / options["file"]))
    signature = loaded.signatures[options["signature"]]
    wanted = signature.structured_input_signature[1]
    names = sorted(wanted)
    shapes = [wanted[name].shape.as_list() for name in names]
    if options["batch"] is not None:
        shapes = [[options["batch"], *shape[1:]] if shape and shape[0] is None else shape for shape in shapes]
    specs = [tf.TensorSpec(shape, wanted[name].dtype) for name, shape in zip(names, shapes, strict=True)]

    def called(*tensors: Any) -> Any:
        return signature(**dict(zip(names, tensors, strict=True)))

    compiled = tf.function(called, jit_compile=bool(options["xla"]), autograph=False, input_signature=specs)
    function = compiled.get_concrete_function()

    def run(feeds: Arrays, _loaded: Any = loaded) -> dict[str, Any]:  # the reference to the model keeps its variables
        found = function(*(tf.convert_to_tensor(feeds[name]) for name in names))
        return {name: tensor.numpy() for name, tensor in found.items()}

    return run

"""SavedModels without a signature, as ``tf.saved_model.save(module)`` writes them for a module with functions.

One of the module's functions is used instead of a signature: the one that the user names, ``__call__``, or the only one. Its inputs
are named as in the function, its outputs by their keys, or ``output_0``, ``output_1`` …
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import InputError
from workbench.models.formats import Runner, quiet, running, tensorflow_said

CALL = "__call__"


@dataclass(frozen=True)
class Function:
    """One traced function of a loaded SavedModel, with names for its inputs and outputs."""

    name: str
    concrete: Any  # TensorFlow's ConcreteFunction
    inputs: dict[str, Any]  # TensorSpec by name, in the function's order
    outputs: dict[str, Any]  # TensorSpec by name

    def __call__(self, feeds: dict[str, Any]) -> dict[str, Any]:
        """Outputs by name for tensors by input name."""
        import tensorflow as tf

        given = iter(feeds[name] for name in self.inputs)
        signature = self.concrete.structured_input_signature
        flat = [next(given) if isinstance(part, tf.TensorSpec) else part for part in tf.nest.flatten(signature)]
        args, kwargs = tf.nest.pack_sequence_as(signature, flat)
        found = tf.nest.flatten(self.concrete(*args, **kwargs))
        return dict(zip(self.outputs, found, strict=True))


def function_of(loaded: Any, name: str, asked: str) -> Function:
    """The function of a loaded SavedModel that is used as its signature.

    Args:
        loaded: the result of ``tf.saved_model.load``.
        name: the model's name, for messages.
        asked: the name of the function, or "" to choose one.

    Raises:
        InputError: no function has tensors for inputs and outputs, none has the name, or there are several.
    """
    found = {}
    for each in (CALL, *sorted(key for key in vars(loaded) if not key.startswith("_"))):
        traced = getattr(getattr(loaded, each, None), "concrete_functions", None) or ()
        usable = [function for function in map(_described, [each] * len(traced), traced) if function is not None]
        if usable:
            found[each] = max(usable, key=_freedom)
    chosen = asked or (CALL if CALL in found else next(iter(found)) if len(found) == 1 else "")
    if chosen in found:
        return found[chosen]
    listed = ", ".join(found)
    if not found:
        raise InputError(
            f"'{name}' has no signature, and no function that was traced with tensors. Save it with one: "
            "tf.saved_model.save(module, folder, signatures=module.__call__.get_concrete_function(tf.TensorSpec(…)))."
        )
    what = f"no function '{asked}'" if asked else "no signature and several functions"
    raise InputError(f"'{name}' has {what}; it has: {listed}. Set 'signature' to one of those.")


def _described(name: str, concrete: Any) -> Function | None:
    """The function as a :class:`Function`; ``None`` where an input or output is not a tensor, or it has no inputs."""
    import tensorflow as tf
    from tensorflow.python.util import nest  # tf.nest does not give the paths

    try:
        flat = nest.flatten_with_joined_string_paths(concrete.structured_input_signature)
        results = nest.flatten_with_joined_string_paths(concrete.structured_outputs)
    except (AttributeError, TypeError, ValueError):
        return None
    tensors = [(path, spec) for path, spec in flat if isinstance(spec, tf.TypeSpec)]
    if not tensors or not results:
        return None
    if not all(isinstance(spec, tf.TensorSpec) for _, spec in (*tensors, *results)):
        return None
    inputs = {spec.name or f"input_{number}": spec for number, (_, spec) in enumerate(tensors)}
    keyed = isinstance(concrete.structured_outputs, dict)
    outputs = {path.replace("/", "_") if keyed else f"output_{n}": spec for n, (path, spec) in enumerate(results)}
    complete = len(inputs) == len(tensors) and len(outputs) == len(results)
    return Function(name, concrete, inputs, outputs) if complete else None


def _freedom(function: Function) -> tuple[bool, int]:
    """Sort key of several traces of a function: those for inference first, then those with more free axes."""
    import tensorflow as tf

    training = any(part is True for part in tf.nest.flatten(function.concrete.structured_input_signature))
    free = sum(spec.shape.rank is not None and spec.shape.as_list().count(None) for spec in function.inputs.values())
    return not training, free


def runner(loaded: Any, call: Callable[[dict[str, Any]], Mapping[str, Any]], name: str) -> Runner:
    """A function of a loaded SavedModel, from tensors by input name to tensors by output name, as a runner.

    The runner keeps a reference to ``loaded``, so that its variables are not freed.
    """
    import tensorflow as tf

    def run(feeds: Any) -> dict[str, Any]:
        with running("TensorFlow", name, feeds, tensorflow_said):
            found = call({key: tf.constant(array) for key, array in feeds.items()})
        return {key: tensor.numpy() for key, tensor in found.items()}

    run.loaded = loaded  # type: ignore[attr-defined]
    return run


def write_saved_model(loaded: Any, function: Function, into: Path) -> None:
    """Write the module as a SavedModel with one signature, ``serving_default``, that calls the function."""
    import tensorflow as tf

    module = tf.Module()
    module.loaded = loaded  # keeps its variables
    specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name=name) for name, spec in function.inputs.items()}
    module.call = tf.function(lambda **feeds: function(feeds), autograph=False)
    with quiet():
        tf.saved_model.save(
            module, str(into), signatures={"serving_default": module.call.get_concrete_function(**specs)}
        )

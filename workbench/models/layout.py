"""Where an output has its batch, and how many rows a sample has in it, from the shapes that it had when the model was run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from workbench.choices import shapes
from workbench.records import TensorSpec


def with_layout(
    spec: TensorSpec,
    found: Mapping[int, Mapping[str, tuple[int, ...]]],
    ragged: int | None = None,
    *,
    free: bool = False,
) -> TensorSpec:
    """``spec`` with what running the model at several batch sizes has shown: where the batch is, how many rows a sample has.

    Args:
        spec: the output as the file declares it.
        found: by batch size, the shapes of the outputs by name.
        ragged: the axis whose size was seen to follow the values of the inputs.
        free: an input has free axes besides the batch.
    """
    seen = {size: by_name[spec.name] for size, by_name in found.items() if spec.name in by_name}
    if not seen:
        return shapes.with_batch_axes([spec])[0]
    batch, shape = next(iter(seen.items()))
    if shape and not spec.shape:  # the file does not tell how many axes it has
        same = [
            len({other[axis] for other in seen.values() if len(other) == len(shape)}) == 1 for axis in range(len(shape))
        ]
        kept = tuple(size if fixed and not free else None for size, fixed in zip(shape, same, strict=True))
        spec = replace(spec, shape=kept)
    if len(shape) == len(spec.shape):
        # where the user changed sizes, or they follow the data, those that the file declares may not be true
        spec = replace(spec, shape=_without_disproved(spec.shape, seen.values()))
    if ragged is None and len(seen) > 1:
        spec = _with_batch(spec, seen)
        if spec.batch_axis is not None or len(set(seen.values())) == 1:
            return spec
        # its size follows neither the batch alone nor nothing
        ragged = next((axis for axis, sizes in enumerate(zip(*seen.values(), strict=False)) if len(set(sizes)) > 1), 0)
    if ragged is not None:
        leading = ragged != 0 and all(other and other[0] == size for size, other in seen.items())
        open_shape = tuple(None if axis == ragged else size for axis, size in enumerate(spec.shape))
        return replace(spec, shape=open_shape, batch_axis=0 if leading else None, ragged_axis=ragged)
    # one size tells little about axes: the first of that size is the batch, or the first of all
    if batch in shape:
        return replace(spec, batch_axis=shape.index(batch))
    rows = shape[0] // batch if shape and shape[0] % batch == 0 else 0
    return replace(spec, batch_axis=0 if rows else None, rows=max(1, rows))


def _with_batch(spec: TensorSpec, seen: Mapping[int, tuple[int, ...]]) -> TensorSpec:
    """The output with the axis whose size is in proportion to the batch; without one where there is no such axis."""
    batch, shape = next(iter(seen.items()))
    for axis, size in enumerate(shape):
        others = {count: other[axis] for count, other in seen.items() if len(other) == len(shape)}
        if len(set(others.values())) > 1 and all(other * batch == size * count for count, other in others.items()):
            fewer = size < batch
            return replace(
                spec,
                batch_axis=axis,
                rows=1 if fewer else size // batch,
                samples_per_row=batch // size if fewer else 1,
            )
    return replace(spec, batch_axis=None)


def _without_disproved(declared: tuple[int | None, ...], seen: Collection[tuple[int, ...]]) -> tuple[int | None, ...]:
    """The declared sizes, without those that a run did not have."""
    return tuple(
        size if all(len(shape) == len(declared) and shape[axis] == size for shape in seen) else None
        for axis, size in enumerate(declared)
    )

"""The batch axis of an output and its rows per sample, from the output's shapes in runs of the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from workbench.records import TensorSpec
from workbench.settings import shapes


def with_layout(
    spec: TensorSpec,
    found: Mapping[int, Mapping[str, tuple[int, ...]]],
    ragged: int | None = None,
    *,
    free: bool = False,
) -> TensorSpec:
    """``spec`` with the batch axis and the number of rows per sample, as observed in runs at several batch sizes.

    Args:
        spec: the output as the file declares it.
        found: by batch size, the shapes of the outputs by name.
        ragged: the axis whose size was observed to depend on the values of the inputs.
        free: whether an input has free axes other than the batch.
    """
    seen = {size: by_name[spec.name] for size, by_name in found.items() if spec.name in by_name}
    if not seen:
        return shapes.with_batch_axes([spec])[0]
    batch, shape = next(iter(seen.items()))
    if shape and not spec.shape:  # the file does not declare the number of axes
        same = [
            len({other[axis] for other in seen.values() if len(other) == len(shape)}) == 1 for axis in range(len(shape))
        ]
        kept = tuple(size if fixed and not free else None for size, fixed in zip(shape, same, strict=True))
        spec = replace(spec, shape=kept)
    if len(shape) == len(spec.shape):
        # where the user changed sizes, or sizes follow the data, the declared sizes may be wrong
        spec = replace(spec, shape=_without_disproved(spec.shape, seen.values()))
    known = spec.ragged_axis is not None  # by the operation that produces it: it has no batch axis then
    ragged = spec.ragged_axis if ragged is None else ragged
    if ragged is None and len(seen) > 1:
        spec = _with_batch(spec, seen)
        if spec.batch_axis is not None or len(set(seen.values())) == 1:
            return spec
        # the size of this axis depends on the data, not on the batch only
        ragged = next((axis for axis, sizes in enumerate(zip(*seen.values(), strict=False)) if len(set(sizes)) > 1), 0)
    if ragged is not None:
        leading = not known and ragged != 0 and all(other and other[0] == size for size, other in seen.items())
        open_shape = tuple(None if axis == ragged else size for axis, size in enumerate(spec.shape))
        return replace(spec, shape=open_shape, batch_axis=0 if leading else None, ragged_axis=ragged)
    # with one size only: the batch is the first axis of that size, or else the first axis
    if batch in shape:
        return replace(spec, batch_axis=shape.index(batch))
    rows = shape[0] // batch if shape and shape[0] % batch == 0 else 0
    return replace(spec, batch_axis=0 if rows else None, rows=max(1, rows))


def _with_batch(spec: TensorSpec, seen: Mapping[int, tuple[int, ...]]) -> TensorSpec:
    """The output with the axis whose size is proportional to the batch as its batch axis; with ``None`` where there is none."""
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
    """The declared sizes, with ``None`` for those that differ from a run."""
    return tuple(
        size if all(len(shape) == len(declared) and shape[axis] == size for shape in seen) else None
        for axis, size in enumerate(declared)
    )

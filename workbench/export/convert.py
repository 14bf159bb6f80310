"""Conversion to ONNX, checked: routes are tried in order until one computes what the source computes.

Every hop of a route is compared on real samples where there are some, on random ones, and on structured ones, at two
batch sizes and two lengths where axes are dynamic. A conversion that runs but disagrees is refused, and the first node
that diverges is named. Runs in a child process, because TensorFlow is loaded here.
"""

from __future__ import annotations

import gc
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.accuracy.matching import in_order
from workbench.data.synthetic import STRUCTURED, generated
from workbench.errors import ExportError, InputError, LimitError, WorkbenchError, brief, during, writing
from workbench.export.agreement import ROUNDING, Agreement, Span, compare
from workbench.export.blame import UnrepeatableError, UnsupportedError
from workbench.export.routes import Origin, Route, otherwise, routes
from workbench.models import formats
from workbench.models.formats import Runner
from workbench.models.onnx_reach import unreached
from workbench.models.onnx_signature import normalize
from workbench.records import Attempt, ExportCheck, Hop, Probe

if TYPE_CHECKING:
    import numpy as np

    from workbench.data.samples import Samples
    from workbench.records import Model

TOLERANCE = 1e-3
QUANTIZED_TOLERANCE = 0.1
QUANTIZED_ROUNDING = 0.02
"""8-bit layers round, and two libraries round differently: a model that is quantized already agrees less closely, and a few
of its 255 steps are no error."""

NUDGE = 5e-7  # relative: a few units in the last place of a 32-bit float
NUDGES = 3
OWN_CHANGES = 4.0
ILL_CONDITIONED_LIMIT = 0.05
"""A difference above the tolerance, up to this, passes where nudging the source's inputs by a few units in the last place
changes its own outputs a quarter as much; other inputs must then agree strictly."""

NEITHER_RAN = "Neither the given data nor made-up ones ran."
COMPARED_BATCHES = (1, 7)


def saved_model_of(model: Model, into: Path) -> None:
    """Write the SavedModel form of a TensorFlow model into the folder ``into``; nothing is left there if it fails."""
    from workbench.models.formats import frozen_graph, keras, saved_model

    try:
        with writing(into):
            if model.format == "keras":
                keras.write_saved_model(keras.load(Path(model.path)), into)
            elif model.format == "frozen_graph":
                frozen_graph.write_saved_model(*frozen_graph.load(Path(model.path), model.signature), into)
            else:
                saved_model.write_saved_model(Path(model.path), model, into)
    except BaseException:
        shutil.rmtree(into, ignore_errors=True)
        raise


def export(
    model: Model,
    saved_model: Path | None,
    samples: Samples | None,
    into: Path,
    progress: Callable[[str], None],
    batches: Sequence[int] = (),
) -> ExportCheck:
    """Convert ``model`` into the ONNX file ``into`` by the first route whose result agrees with the source.

    Args:
        model: what to convert.
        saved_model: its SavedModel form, for TensorFlow formats.
        samples: real samples, where there are some.
        into: the file to write; not written where every route fails.
        progress: told of every step.
        batches: batch sizes that were asked for, which are compared where opening the model found none at which it runs.

    Raises:
        ExportError: no route gives a file that computes what the source does; the text says why each did not.
    """
    if model.exportable:
        raise ExportError(f"'{model.name}' cannot become ONNX: {model.exportable}. {otherwise(model)}")
    attempts: list[Attempt] = []
    log = ""
    with writing(into), tempfile.TemporaryDirectory(dir=into.parent, prefix=".onnx-") as scratch:
        trial = _Trial(model, saved_model, samples, Path(scratch), progress, tuple(batches))
        for route in routes(model):
            try:
                check = trial.run(route, tuple(attempts))
            except UnrepeatableError as error:
                raise ExportError(error.message) from error
            except LimitError:
                raise  # another route would need as much again
            except WorkbenchError as error:
                attempts.append(Attempt(route.title, error.message, unsupported=isinstance(error, UnsupportedError)))
                log += error.log
            except MemoryError:
                raise
            except Exception as cause:  # whatever a library raises is this route's failure only
                attempts.append(Attempt(route.title, f"{type(cause).__name__}: {brief(cause, 200)} {otherwise(model)}"))
            else:
                trial.draft.replace(into)
                return check
    raise ExportError(_reason(attempts), log=log)


def _reason(attempts: list[Attempt]) -> str:
    """Why no route led to ONNX. Operations without a form in ONNX are the whole reason: other routes meet them again."""
    first = attempts[0].reason
    if attempts[0].unsupported:
        return first
    others = "".join(
        f" {each.route}: {brief(ValueError(each.reason), 160)}" for each in attempts[1:] if each.reason != first
    )
    return first + (f" Other routes failed too.{others}" if others else "")


@dataclass
class _Trial:
    """What the routes of one model share."""

    model: Model
    saved_model: Path | None
    samples: Samples | None
    scratch: Path
    progress: Callable[[str], None]
    asked: tuple[int, ...] = ()
    source: Runner | None = None

    @property
    def draft(self) -> Path:
        return self.scratch / "model.onnx"

    def run(self, route: Route, attempts: tuple[Attempt, ...]) -> ExportCheck:
        """Convert by one route and compare every hop."""
        import onnx

        model = self.model
        self.draft.unlink(missing_ok=True)
        self.progress(f"converting: {route.title}")
        known = route.convert(Origin(model, self.saved_model, self.scratch), self.draft)
        if not self.draft.is_file():
            raise ExportError(f"The route {route.title} wrote no file for '{model.name}'.")
        gc.collect()  # converters leave gigabytes of graphs that refer to each other
        with during("read back the conversion of", f"'{model.name}'", ExportError):
            proto = onnx.load(self.draft)
        repairs = normalize(proto, model, known)
        _check(proto, model.name)
        onnx.save(proto, self.draft)
        self.progress("comparing the ONNX file with its source")
        hops = tuple(self._hops(route))
        opset = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
        return ExportCheck(
            route=" → ".join(_places(hops)) or route.title,
            opset=int(opset),
            hops=hops,
            tolerance=self.tolerance,
            attempts=attempts,
            repairs=repairs,
            real_samples=self.samples is not None,
            unreached=unreached(proto.graph),
        )

    @property
    def tolerance(self) -> float:
        return QUANTIZED_TOLERANCE if self.model.quantized == "int8" else TOLERANCE

    @property
    def rounding(self) -> float:
        return QUANTIZED_ROUNDING if self.model.quantized == "int8" else ROUNDING

    def _hops(self, route: Route) -> Iterator[Hop]:
        """Compare form after form: the source, what lies between, the ONNX file."""
        model = self.model
        if self.source is None:
            self.source = formats.open_model(model)
        forms: list[tuple[str, Runner]] = [("", self.source)]
        if route.between == "saved_model":
            from workbench.models.formats import saved_model

            assert self.saved_model is not None
            loaded = saved_model.load(self.saved_model)
            forms.append(("Keras → SavedModel", saved_model.run_function(loaded, saved_model.DEFAULT, model.name)))
        elif route.between == "tflite":
            from workbench.models.formats import tflite

            middle = tflite.runner(self.scratch / "model.tflite", "serving_default", model.name)
            forms.append((f"{formats.TITLES[model.format]} → TFLite", middle))
        from workbench.models.formats.onnx import session_runner

        forms.append((route.title, session_runner(self.draft, model.name)))
        for before, after in itertools.pairwise(forms):
            last = after is forms[-1]
            yield self._hop(after[0], before[1], after[1], last=last)

    def _hop(self, step: str, source: Runner, result: Runner, *, last: bool) -> Hop:
        import numpy as np

        kinds, batches, lengths = [], set(), set()
        worst_abs = worst_rel = 0.0
        refused, strict = "", 0
        shaky: list[str] = []
        spans: dict[str, Span] = {}
        compared: set[str] = set()
        not_finite: set[str] = set()
        varying = self.model.varying
        ragged = {spec.name for spec in self.model.outputs if spec.ragged_axis is not None}
        axes = {spec.name: spec.batch_axis for spec in self.model.outputs}
        for kind, length, feeds, batch in self._inputs():
            try:
                wanted = source(feeds)
            except InputError as error:
                refused = refused or error.message
                continue
            _check_rows(self.model, wanted, batch)
            wanted = {name: array for name, array in wanted.items() if name not in varying}
            for name, array in wanted.items():
                if name not in ragged:  # whose size depends on the input
                    spans.setdefault(name, Span(axes.get(name, 0))).add(array)
                finite = np.isfinite(array) if array.dtype.kind in "fc" else np.ones(array.shape, bool)
                compared |= {name} if finite.any() or not array.size else set()
                not_finite |= set() if finite.all() else {name}
            found = self._in_order(wanted, result(feeds))
            if self._rows_are_chance(source, feeds, wanted, found):
                kinds.append(kind)
                shaky.append(kind)
                continue
            agreement = compare(wanted, found, self.rounding)
            worst_abs, worst_rel = max(worst_abs, agreement.max_abs), max(worst_rel, agreement.max_rel)
            kinds.append(kind)
            batches.add(batch)
            lengths |= {length} if length else set()
            if agreement.largest <= self.tolerance:
                strict += 1
            elif self._ill_conditioned(source, feeds, wanted, agreement):
                shaky.append(kind)
            else:
                self._refuse(step, kind, agreement, feeds, last=last)
        if not kinds:
            fix = "Give data that the model accepts, as an .npz file." if self.samples is None else NEITHER_RAN
            reason = refused.rstrip(".")
            raise ExportError(f"'{self.model.name}' could not be compared with its conversion: {reason}. {fix}")
        if not strict:
            fix = (
                "Give other data, such as the model was trained on."
                if "real" in kinds
                else "Give real data, as an .npz file."
            )
            raise ExportError(
                f"'{self.model.name}' answers the last digit of its inputs so strongly that no comparison says anything. {fix}"
            )
        return Hop(
            step=step,
            inputs=tuple(dict.fromkeys(kinds)),
            batches=tuple(sorted(batches)),
            lengths=tuple(sorted(lengths)),
            max_abs_diff=worst_abs,
            max_rel_diff=worst_rel,
            ill_conditioned=tuple(dict.fromkeys(shaky)),
            constant=tuple(name for name, span in spans.items() if span.constant and name in compared),
            compared=tuple(sorted(compared)),
            not_finite=tuple(sorted(not_finite)),
            uncompared=tuple(varying),
        )

    def _rows_are_chance(
        self,
        source: Runner,
        feeds: dict[str, np.ndarray],
        wanted: dict[str, np.ndarray],
        found: dict[str, np.ndarray],
    ) -> bool:
        """Whether the number of rows of an output differs, and differs in the source too when inputs change in their last digits.

        A value that lies at the threshold of a NonMaxSuppression is on either side of it by rounding.
        """
        axes = {spec.name: spec.ragged_axis for spec in self.model.outputs}
        other = [name for name, array in wanted.items() if axes[name] is not None and found[name].shape != array.shape]
        return bool(other) and any(
            source(_nudged(feeds, seed))[name].shape != wanted[name].shape for name in other for seed in range(NUDGES)
        )

    def _in_order(self, wanted: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs to compare; rows whose number follows the data are put into the source's order."""
        import numpy as np

        axes = {spec.name: spec.ragged_axis for spec in self.model.outputs}
        ordered = {name: found[name] for name in wanted}
        for name, axis in axes.items():
            if axis is not None and name in wanted:
                rows = in_order(np.moveaxis(wanted[name], axis, 0), np.moveaxis(found[name], axis, 0))
                ordered[name] = np.moveaxis(rows, 0, axis)
        return ordered

    def _ill_conditioned(
        self, source: Runner, feeds: dict[str, np.ndarray], wanted: dict[str, np.ndarray], agreement: Agreement
    ) -> bool:
        """Whether the source itself changes as much when its inputs change in their last digits.

        A logarithm of nearly nothing, say, makes rounding visible: no two libraries agree there, and neither is wrong.
        """
        found = agreement.largest
        if not found <= ILL_CONDITIONED_LIMIT:
            return False
        return found <= OWN_CHANGES * compare(wanted, source(_nudged(feeds, 0)), self.rounding).largest

    def _batches(self) -> tuple[int, ...]:
        """Batch sizes to compare: sizes at which the model ran where it does not run at all, or else those asked for."""
        model = self.model
        probe = model.probe or Probe()
        if not model.dynamic_batch:
            return (model.fixed_batch or 1,)
        if probe.failed and probe.worked:
            return tuple(dict.fromkeys((min(probe.worked), max(probe.worked))))
        if probe.failed and self.asked:
            return tuple(dict.fromkeys((min(self.asked), max(self.asked))))
        return COMPARED_BATCHES

    def _inputs(self) -> Iterator[tuple[str, str, dict[str, np.ndarray], int]]:
        """Kind, length, feeds and batch size of every comparison."""
        model = self.model
        free = any(spec.free_axes for spec in model.inputs)
        for batch in self._batches():
            if self.samples is not None:
                yield "real", "", self.samples.feeds(0, batch), batch
            for kind in ("random", *STRUCTURED):
                for length in ("opt", "max") if free else ("opt",):
                    yield (
                        kind,
                        length if free else "",
                        generated(model.inputs, kind, batch, which=length).feeds(0, batch),
                        batch,
                    )

    def _refuse(self, step: str, kind: str, agreement: Agreement, feeds: dict[str, np.ndarray], *, last: bool) -> None:
        where = self._first_divergence(feeds) if last else ""
        raise ExportError(
            f"The ONNX form of '{self.model.name}' does not compute what the model computes ({step}, {kind} inputs): the "
            f"output '{agreement.worst}' differs by {agreement.largest:.2g} of its range, allowed "
            f"is {self.tolerance:g}.{where} {otherwise(self.model)}"
        )

    def _first_divergence(self, feeds: dict[str, np.ndarray]) -> str:
        from workbench.export import divergence

        model = self.model
        try:
            if model.format == "onnx":
                values, known = divergence.onnx_values(Path(model.path))
            elif model.format == "tflite":
                values, known = divergence.tflite_values(Path(model.path))
            else:
                from workbench.models.formats import saved_model

                assert self.saved_model is not None
                loaded = saved_model.load(self.saved_model)
                name = Origin(model, self.saved_model, self.scratch).signature
                values, known = divergence.tensorflow_values(loaded.signatures[name])
            found = divergence.first_divergence(values, known, self.draft, feeds, self.tolerance)
        except Exception as cause:  # the refusal stands; where it begins is a help only
            return f" Where it begins could not be found ({brief(cause, 100)})."
        return f" {found.sentence}" if found else ""


def _nudged(feeds: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """The inputs, changed in the last digits of their floating-point numbers."""
    import numpy as np

    draw = np.random.default_rng(seed)
    return {
        name: (array * (1 + NUDGE * draw.standard_normal(array.shape))).astype(array.dtype)
        if array.dtype.kind == "f"
        else array
        for name, array in feeds.items()
    }


def _places(hops: tuple[Hop, ...]) -> list[str]:
    """``Keras → SavedModel`` and ``SavedModel → ONNX`` as one chain."""
    places: list[str] = []
    for hop in hops:
        for place in hop.step.split(" → "):
            if not places or places[-1] != place:
                places.append(place)
    return places


def _check(proto: Any, name: str) -> None:
    import onnx

    try:
        onnx.checker.check_model(proto)
    except Exception as cause:
        raise ExportError(
            f"The ONNX form of '{name}' is not valid: {brief(cause, 300)} Choose the backend 'tensorflow', or export the "
            "model to ONNX with another tool and open that file."
        ) from cause


def _check_rows(model: Model, outputs: dict[str, np.ndarray], batch: int) -> None:
    """Outputs must have their batch where opening the model saw it. A single sample may have as many rows as its data asks for."""
    for spec in model.outputs:
        shape, rows = outputs[spec.name].shape, batch * spec.rows // spec.samples_per_row
        if batch == 1 or spec.batch_axis is None or spec.ragged_axis is not None:
            continue
        if len(shape) <= spec.batch_axis or shape[spec.batch_axis] != rows:
            raise ExportError(
                f"For a batch of {batch} the output '{spec.name}' has the shape {list(shape)}, but {rows} "
                f"entries were expected along axis {spec.batch_axis}. Export the model with rows that follow the batch."
            )

"""Checked conversion to ONNX: routes are tried in order until the result of one agrees with the source.

Every hop of a route is compared (:mod:`workbench.export.hops`). A conversion that runs but disagrees is refused, and the first diverging node is named.
Runs in a child process, because TensorFlow is loaded here.
"""

from __future__ import annotations

import gc
import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from workbench.data.samples import Samples
from workbench.errors import ExportError, LimitError, WorkbenchError, brief, during, writing
from workbench.export import divergence
from workbench.export.blame import UnrepeatableError, UnsupportedError
from workbench.export.hops import HopComparison, compared_inputs, tolerance
from workbench.export.routes import Origin, Route, otherwise, routes
from workbench.models import formats
from workbench.models.formats import Runner, frozen_graph, keras, saved_model, tflite
from workbench.models.formats.onnx import session_runner
from workbench.models.onnx_reach import unreached
from workbench.models.onnx_signature import normalize
from workbench.models.onnx_upgrade import opset_of
from workbench.records import Attempt, ExportCheck, Hop, Model


def saved_model_of(model: Model, into: Path) -> None:
    """Write the SavedModel form of a TensorFlow model into the folder ``into``; the folder is removed if this fails."""
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
    """Convert ``model`` to the ONNX file ``into`` by the first route whose result agrees with the source.

    Args:
        model: the model to convert.
        saved_model: its SavedModel form, for TensorFlow formats.
        samples: real samples, if there are some.
        into: the file to write; not written if every route fails.
        progress: called with a description of every step.
        batches: requested batch sizes, which are compared if inspection found no batch size at which the model runs.

    Raises:
        ExportError: no route gives a file that agrees with the source; the text has the reason of each.
    """
    if model.exportable:
        raise ExportError(f"'{model.name}' cannot be converted to ONNX: {model.exportable}. {otherwise(model)}")
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
                raise  # another route would need as much
            except WorkbenchError as error:
                attempts.append(Attempt(route.title, error.message, unsupported=isinstance(error, UnsupportedError)))
                log += error.log
            except MemoryError:
                raise
            except Exception as cause:  # any error of a library fails this route only
                attempts.append(Attempt(route.title, f"{type(cause).__name__}: {brief(cause, 200)} {otherwise(model)}"))
            else:
                trial.draft.replace(into)
                return check
    raise ExportError(_reason(attempts), log=log)


def _reason(attempts: list[Attempt]) -> str:
    """Why no route succeeded. Operations that ONNX cannot express are the only reason given: they fail on every route."""
    first = attempts[0].reason
    if attempts[0].unsupported:
        return first
    others = "".join(
        f" {each.route}: {brief(ValueError(each.reason), 160)}" for each in attempts[1:] if each.reason != first
    )
    return first + (f" Other routes failed too.{others}" if others else "")


@dataclass
class _Trial:
    """The state that the routes of one model share."""

    model: Model
    saved_model: Path | None
    samples: Samples | None
    scratch: Path
    progress: Callable[[str], None]
    batches: tuple[int, ...] = ()  # requested by the run
    source: Runner | None = None

    @property
    def draft(self) -> Path:
        return self.scratch / "model.onnx"

    def run(self, route: Route, attempts: tuple[Attempt, ...]) -> ExportCheck:
        """Convert by one route and compare every hop."""
        model = self.model
        self.draft.unlink(missing_ok=True)
        self.progress(f"converting: {route.title}")
        known = route.convert(Origin(model, self.saved_model, self.scratch), self.draft)
        if not self.draft.is_file():
            raise ExportError(f"The route {route.title} wrote no file for '{model.name}'.")
        gc.collect()  # converters leave gigabytes of graphs in reference cycles
        with during("read back the conversion of", f"'{model.name}'", ExportError):
            proto = onnx.load(self.draft)
        repairs = normalize(proto, model, known)
        _check(proto, model.name)
        onnx.save(proto, self.draft)
        self.progress("comparing the ONNX file with its source")
        hops = tuple(self._hops(route))
        return ExportCheck(
            route=_chain(hops) or route.title,
            opset=opset_of(proto),
            hops=hops,
            tolerance=tolerance(self.model),
            attempts=attempts,
            repairs=repairs,
            real_samples=self.samples is not None,
            unreached=unreached(proto.graph),
        )

    def _hops(self, route: Route) -> Iterator[Hop]:
        """Compare consecutive forms: the source, an intermediate form, the ONNX file."""
        model = self.model
        if self.source is None:
            self.source = formats.open_model(model)
        forms: list[tuple[str, Runner]] = [("", self.source)]
        if route.between == "saved_model":
            assert self.saved_model is not None
            loaded = saved_model.load(self.saved_model)
            forms.append(("Keras → SavedModel", saved_model.run_function(loaded, saved_model.DEFAULT, model.name)))
        elif route.between == "tflite":
            middle = tflite.runner(self.scratch / "model.tflite", "serving_default", model.name)
            forms.append((f"{formats.TITLES[model.format]} → TFLite", middle))
        forms.append((route.title, session_runner(self.draft, model.name)))
        for before, after in itertools.pairwise(forms):
            last = after is forms[-1]
            yield self._hop(after[0], before[1], after[1], last=last)

    def _hop(self, step: str, source: Runner, result: Runner, *, last: bool) -> Hop:
        comparison = HopComparison(self.model, source, result)
        for given in compared_inputs(self.model, self.samples, self.batches):
            agreement = comparison.add(given)
            if agreement is not None:
                where = self._first_divergence(given.feeds) if last else ""
                raise ExportError(
                    f"The ONNX form of '{self.model.name}' does not compute what the model computes ({step}, {given.kind} "
                    f"inputs): the output '{agreement.worst}' differs by {agreement.largest:.2g} of its range, allowed "
                    f"is {tolerance(self.model):g}.{where} {otherwise(self.model)}"
                )
        return comparison.hop(step)

    def _first_divergence(self, feeds: dict[str, np.ndarray]) -> str:
        model = self.model
        try:
            if model.format == "onnx":
                values, known = divergence.onnx_values(Path(model.path))
            elif model.format == "tflite":
                values, known = divergence.tflite_values(Path(model.path))
            else:
                assert self.saved_model is not None
                loaded = saved_model.load(self.saved_model)
                name = Origin(model, self.saved_model, self.scratch).signature
                values, known = divergence.tensorflow_values(loaded.signatures[name])
            found = divergence.first_divergence(values, known, self.draft, feeds, tolerance(self.model))
        except Exception as cause:  # the conversion is refused anyway; the first node is only a hint
            return f" The first node that differs could not be determined ({brief(cause, 100)})."
        return f" {found.sentence}" if found else ""


def _chain(hops: tuple[Hop, ...]) -> str:
    """``Keras → SavedModel`` and ``SavedModel → ONNX`` as one chain."""
    places = (place for hop in hops for place in hop.step.split(" → "))
    return " → ".join(place for place, _ in itertools.groupby(places))


def _check(proto: Any, name: str) -> None:
    try:
        onnx.checker.check_model(proto)
    except Exception as cause:
        raise ExportError(
            f"The ONNX form of '{name}' is not valid: {brief(cause, 300)} Choose the backend 'tensorflow', or export the "
            "model to ONNX with another tool and open that file."
        ) from cause

"""Steps that bring a model into the store: its copy, and what opening it shows."""

from __future__ import annotations

from pathlib import Path

from workbench.models.inspection import PROBING
from workbench.models.original import original_key
from workbench.plan.step import Kind, Step
from workbench.plan.subject import Platform, Subject
from workbench.records import Model
from workbench.store import key_of

READERS = ("keras", "onnx", "ai-edge-litert")


def reading_key(digest: str, kind: str, asked: tuple[str, str, str], platform: Platform) -> str:
    """The key of what opening a model shows.

    ``digest`` is of its content, ``kind`` its format, and ``asked`` the signature, input shapes and input values of the experiment.
    """
    signature, *inputs = asked
    versions = [platform.tensorflow, *map(platform.version, READERS), str(PROBING)]
    return key_of(digest=digest, kind=kind, signature=signature, inputs=inputs, versions=versions)


def train_key(recipe: str, platform: Platform) -> str:
    """The key of the built-in demo; ``recipe`` is the digest of how it is trained."""
    return key_of(recipe=recipe, tensorflow=platform.tensorflow)


def train_step(recipe: str, platform: Platform) -> Step:
    return Step(Kind.TRAIN, "the demo model on 3,200 digits", train_key(recipe, platform), (), {"recipe": recipe})


def reading_steps(
    path: str, digest: str, kind: str, asked: tuple[str, str, str], platform: Platform, needs: tuple[str, ...] = ()
) -> tuple[Step, Step]:
    """Copy the model at ``path`` and open the copy. ``needs`` is what makes that file; with ``digest`` "" no key is known."""
    name = Path(path).name
    about = {"kind": kind, "name": name} | ({"digest": digest} if digest else {})
    unknown = "" if digest else "the model is not made yet"
    copied = original_key(digest, kind, Path(path)) if digest else ""
    copy = Step(Kind.COPY, name, copied, needs, about, unknown)
    read = reading_key(digest, kind, asked, platform) if digest else ""
    how = dict(zip(("signature", "input_shapes", "input_values"), asked, strict=True))
    return copy, Step(Kind.READ, name, read, (copy.id,), how, unknown)


def opened(subject: Subject) -> tuple[Step, Step]:
    """The steps that led to a model that has been opened."""
    model: Model = subject.model
    return reading_steps(model.path, model.digest, model.format, subject.asked, subject.platform)

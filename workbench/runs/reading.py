"""The user's model: opened in a separate process, with limits of memory and time, and described once for each content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from workbench.errors import InputError, LimitError, RunError, WorkerError, brief
from workbench.errors.printable import one_line
from workbench.models import formats
from workbench.models.inspection import recognize
from workbench.models.original import kept_original
from workbench.plan.reading import reading_key, train_key
from workbench.plan.subject import Platform
from workbench.protocols import TF_WORKER
from workbench.records import Model, from_json
from workbench.store import Draft, Store
from workbench.workers.pool import Pool

READING_LIMIT_S, READING_BYTES_PER_S = 300.0, 2e6
"""Time that reading a model may take, and more by its size: a damaged file can hold a library up for ever. On a machine with other work,
importing TensorFlow alone may take more than a minute."""

Say = Callable[[str], None]


def demo_model(store: Store, pool: Pool, say: Say) -> Path:
    """Path of the demo's ``.keras`` file, trained on first use (about a minute).

    Raises:
        MissingPackageError: TensorFlow, which trains and opens it, is not installed.
    """
    from workbench.models.demo import recipe_digest

    def fill(draft: Draft) -> None:
        say("training the demo model on 3,200 digits (once, about a minute)")
        draft.facts = pool.call(TF_WORKER, "train_demo", progress=say, into=str(draft.folder))

    formats.check_tensorflow("The demo model", "name a model of your own in ONNX with the option --model")
    key = train_key(recipe_digest(), Platform.here())
    return store.make("demo", key, fill).folder / "demo.keras"


def read_model(
    store: Store, pool: Pool, path: str, signature: str = "", input_shapes: str = "", input_values: str = ""
) -> Model:
    """Open a model: its signature, size and digest, and the batch sizes at which it runs.

    Raises:
        InputError: it is missing, damaged, of an unknown format, or cannot be used; the text says what to do.
        MissingPackageError: only TensorFlow opens it, and that is not installed.
    """
    kind = recognize(path)
    formats.check_reader(kind, path)
    where = Path(path).expanduser().absolute()
    original = kept_original(where, kind, store)
    pool.show_as(original.path, path)
    pool.show_as(original.path.parent, str(where.parent))  # named where weights are outside the model's folder
    key = reading_key(original.digest, kind, (signature, input_shapes, input_values), Platform.here())

    def fill(draft: Draft) -> None:
        size = formats.size_of(original.path)
        try:
            draft.facts = pool.call(
                formats.reads_in(kind),
                "inspect",
                limit_s=READING_LIMIT_S + size / READING_BYTES_PER_S,
                path=str(original.path),
                signature=signature,
                input_shapes=input_shapes,
                input_values=input_values,
            )
        except LimitError as error:
            raise InputError(f"'{path}' was not read. {error.message}", log=error.log) from error
        except WorkerError as error:
            raise InputError(
                f"Reading '{path}' crashed or stopped the process; the file is damaged, or its library does not support it. Export "
                f"it again. ({error.message.partition('. ')[0]}.)",
                log=error.log,
            ) from error
        except RunError as error:  # a library failed in an unforeseen way
            raise InputError(
                f"'{path}' could not be read; it is damaged, or its library does not support it. Export it again. "
                f"({brief(error, 200)})",
                log=error.log,
            ) from error

    return described(store.make("model", key, fill, check=partial(from_json, Model)).facts, where)


def described(facts: Any, where: Path) -> Model:
    """The model at ``where`` by the facts in the store. These are of the content; another copy of it may have another name."""
    name = one_line(where.name if where.is_dir() else where.stem)
    return replace(from_json(Model, facts), path=str(where), name=name)

"""The user's model: opened in a process of its own, with limits of memory and time, and described once for each content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from workbench.errors import InputError, LimitError, RunError, WorkerError, brief
from workbench.models import formats
from workbench.models.inspection import PROBING, recognize
from workbench.models.original import kept_original
from workbench.printable import one_line
from workbench.records import Model, from_json
from workbench.store import Draft, Store, key_of
from workbench.system.machine import version_of
from workbench.workers.worker import Pool

READING_LIMIT_S, READING_BYTES_PER_S = 120.0, 2e6
"""Time that reading a model may take, and more by its size: a damaged file can hold a library up for ever."""

Say = Callable[[str], None]


def tensorflow_version() -> str:
    return version_of("tensorflow-cpu", "tensorflow")


def demo_model(store: Store, pool: Pool, say: Say) -> Path:
    """Path of the demo's ``.keras`` file, trained on first use (about a minute)."""
    from workbench.models.demo import recipe_digest

    def fill(draft: Draft) -> None:
        say("training the demo model on 3,200 digits (once, about a minute)")
        draft.facts = pool.call("tensorflow", "train_demo", progress=say, into=str(draft.folder))

    key = key_of(recipe=recipe_digest(), tensorflow=tensorflow_version())
    return store.make("demo", key, fill).folder / "demo.keras"


def read_model(
    store: Store, pool: Pool, path: str, signature: str = "", input_shapes: str = "", input_values: str = ""
) -> Model:
    """Open a model: its signature, size and digest, and the batch sizes at which it runs.

    Raises:
        InputError: it is missing, damaged, of an unknown format, or cannot be used; the text says what to do.
    """
    kind = recognize(path)
    where = Path(path).expanduser().absolute()
    original = kept_original(where, kind, store)
    pool.show_as(original.path, path)
    key = key_of(
        digest=original.digest,
        kind=kind,
        signature=signature,
        inputs=[input_shapes, input_values],
        versions=[tensorflow_version(), *map(version_of, ("keras", "onnx", "ai-edge-litert")), str(PROBING)],
    )

    def fill(draft: Draft) -> None:
        size = formats.size_of(original.path)
        try:
            draft.facts = pool.call(
                formats.WORKERS.get(kind, "onnx"),
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
                f"'{path}' ended or held up the process that read it; it is damaged, or its library cannot bear it. Export "
                f"it again. ({error.message.partition('. ')[0]}.)",
                log=error.log,
            ) from error
        except RunError as error:  # a library failed as nobody foresaw
            raise InputError(
                f"'{path}' could not be read; it is damaged, or its library cannot bear it. Export it again. "
                f"({brief(error, 200)})",
                log=error.log,
            ) from error

    facts = store.make("model", key, fill, check=partial(from_json, Model)).facts
    # the facts are those of the content; another copy of it may have another name
    return replace(
        from_json(Model, facts), path=str(where), name=one_line(where.name if where.is_dir() else where.stem)
    )

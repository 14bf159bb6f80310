"""Damaged models of six formats and data of three kinds: each ends in what was read or in one clear sentence, within the limit.

A case is 25 mutants of one kind, all opened in workers that are kept; a mutant is repeated by its kind and number.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import recording
from recording import One, Outcome, Trial

sys.path.insert(0, str(recording.REPOSITORY / "tests"))

import data_fuzzing
import fuzzing

BATCH = 25
LIMIT_S = 200.0
"""Reading a model ends after 120 s and more by its size; other programs may keep the machine busy."""
APART = 10**6


@contextlib.contextmanager
def session(batch: int = BATCH, kinds: tuple[str, ...] = ()) -> Iterator[One]:
    """``kinds``: other than all nine."""
    root = Path(tempfile.mkdtemp(prefix="mutants-"))
    data = data_fuzzing.originals(root / "data")
    models = {} if kinds and set(kinds) <= set(data) else fuzzing.originals(root / "models")
    chosen = kinds or (*models, *data)
    with fuzzing.Fuzzer(root / "fuzzer") as fuzzer:

        def one(number: int, draw: random.Random, _place: Path) -> Outcome:
            kind = chosen[number % len(chosen)]
            first = draw.randrange(APART) * APART + number * batch
            numbers = range(first, first + batch)
            with _limit(kind):
                if kind in models:
                    found = fuzzer.fuzz(kind, models[kind], numbers)
                else:
                    found = fuzzer.fuzz(
                        kind, data[kind], numbers, partial(data_fuzzing.write, kind), data_fuzzing.opens(kind)
                    )
            tried = found.opened + found.refused
            slow = [f"slowest {found.slowest_s:.0f} s"] if found.slowest_s > LIMIT_S else []
            figures = {
                "mutants": batch, "first": first, "opened": found.opened, "refused": found.refused, "ended": found.killed,
                "slowest_s": round(found.slowest_s, 1),
            }  # fmt: skip
            return Outcome(
                kind, not found.broken and not slow and tried == batch, "; ".join([*found.broken, *slow]), figures
            )

        try:
            yield one
        finally:
            shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def _limit(kind: str) -> Iterator[None]:
    """Data are read in this process: what hangs there is interrupted."""

    def late(*_: object) -> None:
        raise TimeoutError(f"{BATCH} mutants of {kind} took longer than {BATCH * LIMIT_S:.0f} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, BATCH * LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


TRIAL = Trial(
    "mutants",
    session,
    243,
    "A damaged model or data file ends in what was read or in one clear sentence, and nothing is written.",
)

if __name__ == "__main__":
    recording.exit_with(TRIAL)

"""What the lesson on serving uses: requests of many clients, and signals of drift as a table."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.errors import WorkbenchError
from workbench.serving.http_client import HttpClient

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    import pandas as pd

    from workbench.stats.drift import Signal


@dataclass
class Sent:
    """What the clients counted."""

    answered: int = 0
    failed: int = 0


@contextmanager
def traffic(
    port: int,
    model: str,
    samples: Mapping[str, np.ndarray],
    change: Callable[[np.ndarray], np.ndarray] = lambda array: array,
    *,
    clients: int = 2,
    pause_s: float = 0.002,
) -> Iterator[Sent]:
    """Requests of one sample each by several clients over HTTP, until the end of the block.

    Args:
        port: of the server or the proxy on this machine.
        model: its name there.
        samples: arrays by input name, the first axis is the sample; they are sent one after another, again and again.
        change: what is done to each array before it is sent.
        clients: at once, each with every so many-th sample.
        pause_s: between an answer and the next request of a client.

    Example::

        with traffic(8000, "demo", test.inputs) as sent:
            time.sleep(5)

    """
    ended, sent, lock = threading.Event(), Sent(), threading.Lock()

    def ask(first: int) -> None:
        client, place = HttpClient(port, model), first
        while not ended.wait(pause_s):
            right = _right(client, {name: change(array[place % len(array)][None]) for name, array in samples.items()})
            with lock:
                sent.answered += right
                sent.failed += not right
            place += clients
        client.close()

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield sent
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _right(client: HttpClient, feeds: Mapping[str, np.ndarray]) -> bool:
    try:
        client.infer(feeds)
    except WorkbenchError:
        return False
    return True


def drift_table(signals: Iterable[Signal]) -> pd.DataFrame:
    """A line for each signal, with its effect, its limit and its p-value."""
    import pandas as pd

    rows = [(each.kind, each.feature, each.effect, each.limit, each.p, each.alert) for each in signals]
    return pd.DataFrame(rows, columns=["signal", "of", "effect", "limit", "p", "alert"])

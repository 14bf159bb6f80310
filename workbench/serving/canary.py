"""Two deployments behind one proxy: a share of the requests goes to the new one, until it is promoted or rolled back.

Three findings decide, at looks that are planned beforehand:

* **Latency.** A round is a slice of time with requests of both; the ratio of both medians is judged by
  :mod:`workbench.measure.verdict`, as in every comparison. The two servers are one launch each, so that its allowance for the difference
  between two launches of one engine holds: *slower* rolls back, and promotion needs an interval that excludes a loss beyond the
  allowance.
* **Answers.** Live inputs are sent to both servers again, beside the traffic; the share that is answered differently has an exact binomial
  interval (Clopper and Pearson 1934) at the level that the looks share.
* **Errors** of the new one, by the same interval.

Where the looks or the time end without an answer, the old one stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from workbench.deploy.files.watching import changed
from workbench.deploy.folder import read
from workbench.errors import InputError, RunError
from workbench.locks.scratch import Scratch
from workbench.measure.verdict import ALLOWANCE, ALPHA, Judged, Lap, between, judged
from workbench.records import Verdict
from workbench.serving.proxy import Proxy, Request, installed, proxied
from workbench.serving.server import Server, free_port, served
from workbench.serving.watch import Watch, window

if TYPE_CHECKING:
    from workbench.records import Deployment
    from workbench.serving.watch import Arrays

OLD, NEW = "old", "new"
LOOKS = (8, 16, 32, 64)
"""Rounds after which it is decided."""
FEWEST = 5
"""Requests of either server that a round needs; with fewer it goes on."""
ERRORS = 0.01
"""Share of the new server's requests that may end in an error."""
ALL = 100


@dataclass(frozen=True)
class Policy:
    """What is asked of the new deployment."""

    share: int = 10  # percent of the requests that go to it until it is decided
    most_changed: float = 0.02  # share of the answers that may differ from the old one's
    round_s: float = 1.0
    limit_s: float = 900.0  # after which the old one stays
    replayed: int = 40  # live samples that are sent to both again in a round, at most

    def __post_init__(self) -> None:
        if not 1 <= self.share <= 99:
            raise InputError(f"'--share' must be from 1 to 99 percent; found {self.share}.")
        if not 0 < self.most_changed < 1:
            raise InputError(f"'--most-changed' must be above 0 and below 100 percent; found {self.most_changed:.4g}.")
        if self.round_s <= 0 or self.limit_s <= 0:
            raise InputError("'--round-s' and '--limit-s' must be above 0.")


class Share(NamedTuple):
    """A count of a number of trials, and the ends of the exact interval of its share."""

    hits: int
    of: int
    low: float
    high: float


@dataclass(frozen=True)
class Decision:
    """What was decided, and why."""

    promoted: bool
    reason: str
    rounds: int
    latency: Judged
    changed: Share
    errors: Share


@dataclass
class _Seen:
    """What was observed so far."""

    laps: dict[str, dict[int, Lap]] = field(default_factory=lambda: {OLD: {}, NEW: {}})
    rounds: int = 0
    compared: int = 0
    changed: int = 0
    answered: int = 0  # by the new one
    failed: int = 0
    samples: set[bytes] = field(default_factory=set)
    pending: list[Request] = field(default_factory=list)  # of the round that goes on


class Canary:
    """Two servers and the proxy before them."""

    def __init__(self, proxy: Proxy, servers: dict[str, Server], folders: dict[str, Path], policy: Policy) -> None:
        self.proxy, self.servers, self.policy = proxy, servers, policy
        self._folders, self._seen = folders, _Seen()
        self._shares = {OLD: ALL - policy.share, NEW: policy.share}
        self._scores = _scores(folders[NEW])

    def decide(self) -> Decision:
        """Observe until it is decided, and send all requests to the one that stays.

        Raises:
            RunError: a server or the proxy has ended, other than the new one, which is rolled back then.
        """
        deadline, found = time.monotonic() + self.policy.limit_s, None
        while found is None and time.monotonic() < deadline:
            time.sleep(self.policy.round_s)
            self.servers[OLD].check_alive()
            self._observe()
            found = self._judged()
        rounds = f"the requests within {self.policy.limit_s:.0f} s made {self._seen.rounds} of {LOOKS[-1]} rounds"
        found = found or self._decision(promoted=False, reason=f"it cannot be decided: {rounds}")
        self.switch(NEW if found.promoted else OLD)
        return found

    def switch(self, name: str) -> None:
        """Send all requests to one of them, "old" or "new", from now on; the other one answers what it has.

        Raises:
            RunError: the proxy has ended.
        """
        self._share({each: ALL if each == name else 0 for each in self._shares})

    def reload(self, name: str) -> None:
        """Load a model again ("old" or "new") while the other one serves; its requests are answered first.

        Raises:
            RunError: it does not load, or gives wrong answers; then it gets no more requests.
        """
        before, server = dict(self._shares), self.servers[name]
        self._share({each: 0 if each == name else ALL for each in before})
        while self.proxy.in_flight(name):
            time.sleep(0.02)
        server.reload(self._folders[name] / "deployment")
        self._share(before)

    def _share(self, shares: dict[str, int]) -> None:
        # the one that takes over first, so that one of them always takes requests
        for name in sorted(shares, key=lambda each: -shares[each]):
            self.proxy.weights({name: shares[name]})
        self._shares = dict(shares)

    def _observe(self) -> None:
        """Take in a round: requests of the proxy, and answers of both to live samples."""
        seen, requests = self._seen, self.proxy.taken()
        for each in requests:
            if each.server == NEW:
                seen.answered += 1
                seen.failed += not 100 <= each.status < 500
        seen.pending += requests
        laps = {name: _lap(seen.pending, name) for name in (OLD, NEW)}
        if all(laps.values()):  # else the round goes on
            seen.rounds, seen.pending = seen.rounds + 1, []
            for name, lap in laps.items():
                assert lap is not None
                seen.laps[name][seen.rounds] = lap
        self._replay()

    def _replay(self) -> None:
        """Send live samples that were not sent yet to both servers, and compare the answers."""
        fresh: list[Arrays] = []
        for name in (OLD, NEW):
            inputs, _ = window(self._folders[name])
            for row in _rows(inputs):
                key = hashlib.sha256(b"".join(array.tobytes() for array in row.values())).digest()
                if key not in self._seen.samples and len(fresh) < self.policy.replayed:
                    self._seen.samples.add(key)
                    fresh.append(row)
        clients = {name: server.http() for name, server in self.servers.items()}
        try:
            for row in fresh:
                with contextlib.suppress(RunError):  # an error of the new one is counted where the proxy sees it
                    answers = {name: client.infer(row) for name, client in clients.items()}
                    tolerance = self.servers[NEW].deployment.tolerance
                    self._seen.changed += int(changed(answers[NEW], answers[OLD], self._scores, tolerance).any())
                    self._seen.compared += 1
        finally:
            for client in clients.values():
                client.close()

    def _judged(self) -> Decision | None:
        """The decision at a planned look; errors are looked at in every round, at the level of the last look."""
        now = self._decision(promoted=False, reason="")
        if now.errors.low > ERRORS:
            return self._decision(promoted=False, reason=f"{_percent(now.errors)} of its requests ended in an error")
        if self._seen.rounds not in LOOKS:
            return None
        if now.changed.low > self.policy.most_changed:
            return self._decision(promoted=False, reason=f"{_percent(now.changed)} of its answers are other ones")
        speed = now.latency
        if speed.verdict == Verdict.SLOWER:
            return self._decision(promoted=False, reason=f"it is slower: speed-up {_interval(speed)}")
        fast = speed.low is not None and speed.low * (1 + ALLOWANCE) >= 1 / (1 + ALLOWANCE)
        if fast and now.changed.of and now.changed.high <= self.policy.most_changed and now.errors.high <= ERRORS * 2:
            text = f"speed-up {_interval(speed)}, {_percent(now.changed)} other answers, {_percent(now.errors)} errors"
            return self._decision(promoted=True, reason=text)
        if self._seen.rounds == LOOKS[-1]:
            text = f"speed-up {_interval(speed)}, {_percent(now.changed)} other answers, {_percent(now.errors)} errors"
            return self._decision(promoted=False, reason=f"it cannot be decided after {LOOKS[-1]} rounds: {text}")
        return None

    def _decision(self, *, promoted: bool, reason: str) -> Decision:
        seen = self._seen
        latency = judged([between(seen.laps[NEW], seen.laps[OLD], len(LOOKS))])[0]
        other, failed = share(seen.changed, seen.compared), share(seen.failed, seen.answered)
        return Decision(promoted, reason, seen.rounds, latency, other, failed)


def share(count: int, of: int) -> Share:
    """The exact interval of a share, at the level of one look.

    Example:
        >>> share(0, 1000).high < 0.006
        True

    """
    from scipy.stats import binomtest

    if not of:
        return Share(0, 0, 0.0, 1.0)
    found = binomtest(count, of).proportion_ci(1 - ALPHA / len(LOOKS), method="exact")
    return Share(count, of, float(found.low), float(found.high))


@contextmanager
def canary(old: Path, new: Path, policy: Policy, *, port: int = 8000) -> Iterator[Canary]:
    """Serve two deployments of one model at one port for HTTP on 127.0.0.1, and end them with the block: the proxy first, which answers
    what is in flight.

    Raises:
        InputError: a folder is not a deployment, they are of different models, or the port is taken.
        MissingPackageError: Triton or HAProxy is not installed.
        RunError: one of them did not start.

    Example::

        with canary(Path("digits"), Path("digits2"), Policy()) as found:
            print(found.decide().reason)

    """
    _check_alike(read(old), read(new))
    installed()
    where = free_port(port, "--port")
    with ExitStack() as stack:
        scratch = stack.enter_context(Scratch())
        servers, folders = {}, {}
        for name, folder in ((OLD, old), (NEW, new)):
            folders[name] = scratch / name
            folders[name].mkdir()
            (folders[name] / "deployment").symlink_to(folder.absolute())
            watch = Watch(folders[name], shadow_every=0, window=200, window_s=2.0)
            servers[name] = stack.enter_context(served(folder, watch=watch))
        ports = {
            name: (servers[name].ports.http, weight)
            for name, weight in ((OLD, ALL - policy.share), (NEW, policy.share))
        }
        proxy = stack.enter_context(proxied(scratch, where, ports))
        yield Canary(proxy, servers, folders, policy)


def _check_alike(old: Deployment, new: Deployment) -> None:
    shapes = [[(spec.name, spec.dtype, spec.shape) for spec in (*each.inputs, *each.outputs)] for each in (old, new)]
    if old.name != new.name or shapes[0] != shapes[1]:
        raise InputError(
            f"The two deployments are of different models: '{old.name}' and '{new.name}' must have one name, and the same inputs and outputs."
        )


def _scores(folder: Path) -> str:
    import json

    place = folder / "deployment"
    options = place / "repository" / read(place).name / "1" / "options.json"
    return str(json.loads(options.read_text(encoding="utf-8"))["metrics"]["output"])


def _lap(requests: list[Request], name: str) -> Lap | None:
    times = [each.seconds for each in requests if each.server == name and each.status == 200]
    times = [each for each in times if each > 0]
    return Lap(1, statistics.median(times)) if len(times) >= FEWEST else None


def _rows(arrays: Arrays) -> Iterator[Arrays]:
    count = len(next(iter(arrays.values()), ()))
    for place in range(count):
        yield {name: array[place : place + 1] for name, array in arrays.items()}


def _interval(speed: Judged) -> str:
    if speed.low is None or speed.high is None:
        return f"not known ({speed.why})"
    return f"{speed.speedup:.2f} [{speed.low:.2f}, {speed.high:.2f}]"


def _percent(counted: Share) -> str:
    value = counted.hits / counted.of if counted.of else 0.0
    return f"{value:.2%} [{counted.low:.2%}, {counted.high:.2%}] of {counted.of:,}"

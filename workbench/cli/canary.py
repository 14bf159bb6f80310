"""The command ``canary``: serve two deployments, give the new one a share of the requests, and promote it or roll it back."""

from __future__ import annotations

import argparse
import logging
import time
from typing import TYPE_CHECKING, Any

from workbench.cli.answer import Answer
from workbench.errors.printable import one_line
from workbench.records import Progress
from workbench.report.document import fields
from workbench.settings.options import path
from workbench.system.progress import ProgressBar

if TYPE_CHECKING:
    from workbench.serving.canary import Decision

LOG = logging.getLogger(__name__)
POLL_S = 0.2
HELP = "serve two deployments at one port, and promote the new one or roll it back by a test"


def add_to(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("old", type=path, metavar="OLD", help="the deployment that is in use")
    add("new", type=path, metavar="NEW", help="the deployment that may replace it")
    add("--port", type=int, default=8000, help="the port for HTTP (default 8000; 0: a free one)")
    add("--share", type=int, default=10, help="percent of the requests that go to NEW until it is decided (default 10)")
    add("--most-changed", type=float, default=2.0, help="percent of the answers that may differ (default 2)")
    add("--round-s", type=float, default=1.0, help="seconds of a round (default 1)")
    add("--limit-s", type=float, default=900.0, help="seconds after which OLD stays (default 900)")
    add("--until-decided", action="store_true", help="end when it is decided, instead of serving on until a signal")


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """The decision with its reason, and how many requests each answered."""
    from workbench.serving.canary import Policy, canary

    policy = Policy(options.share, options.most_changed / 100, options.round_s, options.limit_s)
    bar.update(Progress("start two servers"))
    decision: Decision | None = None
    with canary(options.old, options.new, policy, port=options.port) as found:
        bar.close()
        proxy, name = found.proxy, found.servers["old"].deployment.name
        LOG.info("ready: http://127.0.0.1:%d/v2/models/%s, %d %% to the new one", proxy.port, name, options.share)
        try:
            decision = found.decide()
            LOG.info("%s: %s", "promoted" if decision.promoted else "rolled back", decision.reason)
            while not options.until_decided:
                found.servers["new" if decision.promoted else "old"].check_alive()
                time.sleep(POLL_S)
        except KeyboardInterrupt:  # also SIGTERM, see ends_by_signal
            LOG.info("stopping: requests in flight are answered first")
    # all lines of the proxy were read when it ended
    counts = proxy.counts
    what = "not decided" if decision is None else "promoted" if decision.promoted else "rolled back"
    why = decision.reason if decision else "it was ended before"
    text = (
        f"{what}: {why}; {sum(counts.answered.values()):,} requests answered, {sum(counts.refused.values()):,} refused"
    )
    return Answer(one_line(text), _document(options, decision) | {
        "decision": what, "reason": one_line(why), "answered": counts.answered, "refused": counts.refused,
    })  # fmt: skip


def _document(options: argparse.Namespace, decision: Decision | None) -> dict[str, Any]:
    latency = decision.latency if decision else None
    return {
        "old": str(options.old),
        "new": str(options.new),
        "rounds": decision.rounds if decision else 0,
        **fields(latency, "speedup", "low", "high"),
        "changed": decision.changed._asdict() if decision else None,
        "errors": decision.errors._asdict() if decision else None,
    }

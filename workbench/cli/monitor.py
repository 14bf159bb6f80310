"""The command ``monitor``: run Prometheus for a served deployment, or write its files only."""

from __future__ import annotations

import argparse
import logging
import os
import time
from typing import Any

from workbench.cli.answer import Answer
from workbench.errors import InputError, MissingPackageError
from workbench.errors.printable import one_line
from workbench.records import Progress
from workbench.settings.options import path
from workbench.system.progress import ProgressBar

LOG = logging.getLogger(__name__)
LOOK_S = 2.0
TIMES = {"window_s": 300, "hold_s": 120, "scrape_s": 5}
CHECK = "to check them: promtool check config prometheus.yml && promtool test rules rules_test.yml"
HELP = "run Prometheus with alert rules for a served deployment until SIGTERM or Ctrl-C"


def add_to(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", type=path, metavar="DIR", help="a folder that deploy wrote, which is being served")
    add("--write-only", type=path, default=None, metavar="OUT", help="write the files to OUT and start nothing")
    add("--metrics-port", type=int, default=8002, help="the server's port for metrics (default 8002)")
    add("--port", type=int, default=9090, help="the port of Prometheus (default 9090; 0: a free one)")
    add("--watch", type=path, default=None, metavar="OUT", help="where serve keeps samples (default: DIR.watch)")
    add("--output", type=path, default=None, metavar="OUT", help="where Prometheus keeps its files and data")
    for name, value in TIMES.items():
        text = {"window_s": "over which rates are taken", "hold_s": "before an alert fires", "scrape_s": "of a reading"}
        add(f"--{name.replace('_', '-')}", type=int, default=value, help=f"seconds {text[name]} (default {value})")


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """Monitor until a signal; the answer names the alerts that fired. With ``--write-only``, the files that were written."""
    from workbench.deploy.rules import Windows
    from workbench.serving.prometheus import installed

    for name in TIMES:
        if getattr(options, name) < 1:
            raise InputError(f"'--{name.replace('_', '-')}' must be at least 1; found {getattr(options, name)}.")
    windows = Windows(options.window_s, options.hold_s, options.scrape_s)
    if options.write_only:
        return _written(options, windows, options.write_only, CHECK)
    try:
        installed()
    except MissingPackageError as error:
        if os.environ.get("CI") == "true":
            raise
        into = options.output or options.folder.with_name(f"{options.folder.name}.watch") / "prometheus"
        return _written(options, windows, into, f"nothing was started: {error.message}")
    bar.update(Progress("start Prometheus"))
    return _monitored(options, windows, bar)


def _written(options: argparse.Namespace, windows: Any, into: Any, note: str) -> Answer:
    from workbench.deploy.monitor import Targets, write

    files = write(options.folder, into, Targets(options.metrics_port), windows)
    text = [*(one_line(into / name) for name in files), note]
    return Answer("\n".join(text), _document(options, str(into), list(files)))


def _monitored(options: argparse.Namespace, windows: Any, bar: ProgressBar) -> Answer:
    from workbench.deploy.monitor import CONFIG, DASHBOARD, RULES, TESTS
    from workbench.serving.monitoring import monitored

    fired: dict[str, None] = {}
    asked = {"metrics_port": options.metrics_port, "port": options.port, "windows": windows}
    with monitored(options.folder, **asked, watched=options.watch, output=options.output) as found:
        url, began = f"http://127.0.0.1:{found.prometheus.port}", time.monotonic()
        bar.close()
        LOG.info("ready: Prometheus %s, its files %s", url, found.folder)
        try:
            firing: frozenset[str] = frozenset()
            while True:
                now = found.prometheus.firing()
                for name in sorted(now - firing):
                    LOG.warning("alert: %s", name)
                for name in sorted(firing - now):
                    LOG.info("no longer: %s", name)
                fired |= dict.fromkeys(sorted(now))
                firing = now
                time.sleep(LOOK_S)
        except KeyboardInterrupt:  # also SIGTERM, see ends_by_signal
            LOG.info("stopping")
        wall_s, into = time.monotonic() - began, str(found.folder)
    files = [CONFIG, RULES, TESTS, DASHBOARD]
    text = f"monitored for {wall_s:.1f} s; alerts that fired: {', '.join(fired) or 'none'}"
    return Answer(
        one_line(text), _document(options, into, files) | {"url": url, "alerts": list(fired), "wall_s": wall_s}
    )


def _document(options: argparse.Namespace, into: str, files: list[str]) -> dict[str, Any]:
    return {
        "folder": str(options.folder), "output": into, "files": files, "url": None, "alerts": [], "wall_s": None,
    }  # fmt: skip

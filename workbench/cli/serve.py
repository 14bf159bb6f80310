"""The command ``serve``: run Triton on a deployment until a signal ends it."""

from __future__ import annotations

import argparse
import logging
import time
from ipaddress import IPv4Address
from typing import Any

from workbench.cli.answer import Answer
from workbench.errors import InputError
from workbench.errors.printable import one_line
from workbench.records import Progress
from workbench.settings.options import path
from workbench.system.progress import ProgressBar

LOG = logging.getLogger(__name__)
HELP = "serve a deployment by Triton on this machine until SIGTERM or Ctrl-C"


def add_to(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("folder", type=path, metavar="DIR", help="a folder that deploy wrote")
    for name, port in (("http", 8000), ("grpc", 8001), ("metrics", 8002)):
        add(f"--{name}-port", type=int, default=port, help=f"the port for {name} (default {port}; 0: a free one)")
    add(
        "--address",
        default="127.0.0.1",
        help="the IPv4 address of this machine to listen on (default 127.0.0.1; 0.0.0.0: all); clients need no password",
    )
    add("--no-batching", action="store_true", help="answer requests one by one instead of joining them")
    add(
        "--shadow-every",
        type=int,
        default=20,
        help="each so many-th request is answered by the FP32 source too, if the deployment has one (default 20; 0: none)",
    )
    add(
        "--watch", type=path, default=None, metavar="OUT", help="where samples are kept (default: DIR.watch beside DIR)"
    )
    add("--keep", type=int, default=32, help="disagreements that are kept (default 32; older ones are replaced)")
    add("--no-samples", action="store_true", help="keep no samples on disk")
    add("--window-s", type=float, default=60.0, help="seconds over which recent samples are taken (default 60)")


def run(options: argparse.Namespace, bar: ProgressBar) -> Answer:
    """Serve until a signal, then answer what is in flight; the answer says where it was served and for how long."""
    from workbench.serving.server import served

    bar.update(Progress("start the server"))
    ports = {"http": options.http_port, "grpc": options.grpc_port, "metrics": options.metrics_port}
    batching = False if options.no_batching else None
    watch, address = _watch(options), options.address
    with served(options.folder, ports=ports, batching=batching, watch=watch, address=address) as server:
        checked, places, began = server.checked, _places(server), time.monotonic()
        bar.close()
        LOG.info(
            "ready: %s; its answers are the reference's over HTTP (difference %.2g) and gRPC (%.2g)",
            ", ".join(f"{name} {place}" for name, place in places.items()),
            checked.http,
            checked.grpc,
        )
        if not IPv4Address(address).is_loopback:
            LOG.warning(
                "%s is not of this machine alone: every client that reaches it may send requests and unload the model, without a password",
                address,
            )
        try:
            server.wait()
        except KeyboardInterrupt:  # also SIGTERM, see ends_by_signal
            LOG.info("stopping: requests in flight are answered first")
        drained, wall_s = server.stop(), time.monotonic() - began
    how = "requests in flight were answered" if drained else "it did not end in time and was killed"
    document = {
        "folder": str(options.folder),
        "name": server.deployment.name,
        **places,
        "http_difference": checked.http,
        "grpc_difference": checked.grpc,
        "served_s": wall_s,
        "drained": drained,
    }
    return Answer(one_line(f"served {server.deployment.name} for {wall_s:.1f} s; {how}"), document)


def _watch(options: argparse.Namespace) -> Any:
    from workbench.serving.watch import Watch, watched_folder

    for name in ("shadow_every", "keep", "window_s"):
        if getattr(options, name) < 0:
            raise InputError(f"'--{name.replace('_', '-')}' must not be below 0; found {getattr(options, name):g}.")
    folder = None if options.no_samples else options.watch or watched_folder(options.folder)
    return Watch(folder, options.shadow_every, options.keep, window_s=options.window_s)


def _places(server: Any) -> dict[str, str]:
    ports = server.ports
    return {
        "http": f"http://{ports.host}:{ports.http}/v2/models/{server.deployment.name}",
        "grpc": f"{ports.host}:{ports.grpc}",
        "metrics": f"http://{ports.host}:{ports.metrics}/metrics",
    }

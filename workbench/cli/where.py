"""The options of a run on a cluster."""

from __future__ import annotations

import argparse
from dataclasses import fields

from workbench.errors import InputError
from workbench.settings.cluster import ClusterSettings

NAMES = tuple(each.name for each in fields(ClusterSettings))


def settings(options: argparse.Namespace) -> ClusterSettings:
    """Where the run is carried out.

    Raises:
        InputError: a dry run on a cluster was requested, or a value is not valid.
    """
    found = ClusterSettings(**{name: getattr(options, name) for name in NAMES})
    if found.cluster and options.dry_run:
        raise InputError(
            "A dry run says what this machine would do, and with --cluster the workers do it. Leave out --cluster or --dry-run."
        )
    return found

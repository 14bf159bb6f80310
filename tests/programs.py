"""Programs that tests need: where one is not installed they are skipped, except under CI, where that is a failure."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from workbench.errors import WorkbenchError


def needed(*installed: Callable[[], object]) -> None:
    """Skip or fail where one of these raises."""
    for check in installed:
        try:
            check()
        except WorkbenchError as error:
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(error.message)

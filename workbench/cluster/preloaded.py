"""What a worker of a cluster imports when it starts, with Dask's option ``--preload``: otherwise its first part would wait for it."""

from __future__ import annotations

import scipy.stats  # noqa: F401 - intervals are computed with it

import workbench.cluster.remote  # noqa: F401

"""Settings of a run on a cluster: where it runs, not what is measured."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

from workbench.settings.declared import KEY, declared
from workbench.settings.kinds import Integer, Text, YesNo


@dataclass(frozen=True)
class ClusterSettings:
    """Where a run is carried out: on the workers of a Dask cluster, or on this machine.

    Raises:
        InputError: a value is not valid.
    """

    GROUP: ClassVar[str] = "Cluster"

    cluster: str = declared(Text(
        default="",
        label="Cluster",
        help="address of a Dask scheduler whose workers carry out the run",
        example="tcp://127.0.0.1:8786",
        empty="this machine",
    ))  # fmt: skip
    cluster_label: str = declared(Text(
        default="",
        label="Label",
        help="use only the workers of the cluster that have this label",
        example="gpu:H200",
        empty="all workers",
    ))  # fmt: skip
    cohort: int = declared(Integer(
        default=3,
        label="Cohort",
        help="variants that take turns with the baseline on one worker of a cluster",
        low=1,
        high=64,
    ))  # fmt: skip
    retry_failed: bool = declared(YesNo(
        default=False,
        label="Retry failed",
        help="on a cluster, repeat the rows that failed in an earlier run and no others",
    ))  # fmt: skip

    def __post_init__(self) -> None:
        for each in fields(ClusterSettings):
            setting = each.metadata[KEY]
            object.__setattr__(self, each.name, setting.parse(getattr(self, each.name)))

"""All settings: the fields of an experiment, and the table of them by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workbench.settings.accuracy import AccuracySettings, LimitSettings
from workbench.settings.cluster import ClusterSettings
from workbench.settings.declared import declared, table_of
from workbench.settings.engines import EngineSettings, PrecisionSettings, expanded
from workbench.settings.inputs import DataSettings, ModelSettings
from workbench.settings.kinds import Place, Setting, Text, YesNo
from workbench.settings.measuring import LoadSettings, MeasuringSettings
from workbench.settings.time_limit import minutes_of
from workbench.system.machine import this_machine


@dataclass(frozen=True)
class Settings(
    ModelSettings,
    DataSettings,
    EngineSettings,
    PrecisionSettings,
    MeasuringSettings,
    LoadSettings,
    AccuracySettings,
    LimitSettings,
):
    """The fields of an experiment. The order of the bases is the order of the groups in all lists of settings."""

    def __post_init__(self) -> None:
        for name, setting in SETTINGS.items():
            object.__setattr__(self, name, setting.parse(getattr(self, name)))
        object.__setattr__(self, "backends", expanded(self.backends, this_machine().gpu))

    def parameters(self) -> dict[str, str | int | float | bool]:
        """The fields as papermill parameters: numbers, truth values and text, with lists as comma-separated text."""
        return {name: setting.parameter(getattr(self, name)) for name, setting in SETTINGS.items()}


@dataclass(frozen=True)
class RunSettings(ClusterSettings):
    """Parameters of a run that are not part of the experiment: they say where results are stored and how long the run may take, not what
    a measured number means.
    """

    GROUP: ClassVar[str] = "Run"

    store: str = declared(Place(
        help="folder for engines and results",
        empty="the variable WORKBENCH_STORE, or .workbench",
    ))  # fmt: skip
    remeasure: bool = declared(YesNo(
        label="Measure again",
        help="time again what the store already has timings for",
    ))  # fmt: skip
    minutes: str = declared(Text(
        label="Time limit (minutes)",
        help="minutes after which no further engine is built and no further launch begins; what is built is timed once at least",
        example="5",
        empty="no limit",
        read=minutes_of,
    ))  # fmt: skip
    run: str = declared(Text(
        help="show this run of the history as it was, by its name, the last letters of it, or latest, and measure nothing",
        example="5dc417",
        empty="measure",
    ))  # fmt: skip


SETTINGS: dict[str, Setting] = table_of(Settings)
"""The settings of an experiment by name, in the order in which they are listed."""
RUN_SETTINGS: dict[str, Setting] = table_of(RunSettings)
BACKEND_SETTINGS: dict[str, str] = {
    setting.backend_setting: name for name, setting in SETTINGS.items() if setting.backend_setting
}
"""Names in ``Backend.settings`` and ``Backend.without``, with the setting of an experiment for each."""

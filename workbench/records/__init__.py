"""The records that the workbench writes: frozen dataclasses, in SI units with the unit in the name.

Records compute only properties of their fields, and heavy libraries are imported on first use. All records are imported from this
package, independent of the module in which they are defined.
"""

from __future__ import annotations

from workbench.records.accuracy import Accuracy, PartLoss
from workbench.records.blocks import Block, GpuState, Surroundings
from workbench.records.cost import Clock, Energy, InEffect, Peak, Peaks
from workbench.records.deployment import Deployment, Measured, Queue
from workbench.records.engine import EngineRecord, EngineSpec, RealizedPrecision, split_address
from workbench.records.events import ClusterState, Event, Progress, WorkerState
from workbench.records.layers import LayerProfile, LayerTime
from workbench.records.load import ClosedLoop, Load, LoadAnswer, LoadBlock, LoadGenRun, LoadPlan, OpenLoop, OpenStretch
from workbench.records.machine import ClusterWorker, Machine
from workbench.records.model import (
    DEFAULT_AXIS,
    TEXT,
    Attempt,
    AxisRange,
    ExportCheck,
    Hop,
    Model,
    Probe,
    TensorSpec,
    real_numbers,
)
from workbench.records.results import NOT_BUILT, Comparison, Failure, Result, Results, Row, Tally
from workbench.records.serial import FORMAT, from_json, to_json
from workbench.records.served import ServedLoad
from workbench.records.terms import CPU, FINAL, Calibration, Ended, Precision, Region, Status, Until, Verdict, Wait
from workbench.records.timing import DeviceFacts, Launch, Timing, TimingPlan
from workbench.records.values import InputValues, ValueRange

__all__ = [
    "CPU",
    "DEFAULT_AXIS",
    "FINAL",
    "FORMAT",
    "NOT_BUILT",
    "TEXT",
    "Accuracy",
    "Attempt",
    "AxisRange",
    "Block",
    "Calibration",
    "Clock",
    "ClosedLoop",
    "ClusterState",
    "ClusterWorker",
    "Comparison",
    "Deployment",
    "DeviceFacts",
    "Ended",
    "Energy",
    "EngineRecord",
    "EngineSpec",
    "Event",
    "ExportCheck",
    "Failure",
    "GpuState",
    "Hop",
    "InEffect",
    "InputValues",
    "Launch",
    "LayerProfile",
    "LayerTime",
    "Load",
    "LoadAnswer",
    "LoadBlock",
    "LoadGenRun",
    "LoadPlan",
    "Machine",
    "Measured",
    "Model",
    "OpenLoop",
    "OpenStretch",
    "PartLoss",
    "Peak",
    "Peaks",
    "Precision",
    "Probe",
    "Progress",
    "Queue",
    "RealizedPrecision",
    "Region",
    "Result",
    "Results",
    "Row",
    "ServedLoad",
    "Status",
    "Surroundings",
    "Tally",
    "TensorSpec",
    "Timing",
    "TimingPlan",
    "Until",
    "ValueRange",
    "Verdict",
    "Wait",
    "WorkerState",
    "from_json",
    "real_numbers",
    "split_address",
    "to_json",
]

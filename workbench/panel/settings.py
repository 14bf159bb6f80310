"""The panel's controls for the settings of an experiment."""

from __future__ import annotations

from typing import Any

from workbench.accuracy.label_settings import AUTO
from workbench.accuracy.metrics import METRICS
from workbench.experiment import PROTOCOLS, Experiment
from workbench.panel import load, widgets
from workbench.panel.fields import YES_NO, Batches, Workspace, field
from workbench.records import Calibration, Region, Until

SIGNATURE_TIP = "Which signature of the SavedModel to use"


def settings(experiment: Experiment) -> dict[str, Any]:
    """One control per remaining field of the experiment, under the field's name."""
    dropdown, integer, number = widgets.Dropdown, widgets.IntText, widgets.FloatText
    return {
        "signature": field(
            widgets.Combobox, "Signature", SIGNATURE_TIP, experiment.signature, continuous_update=False,
        ),
        "input_shapes": field(
            widgets.Text, "Input sizes", "Such as x:?x3x48x32..320..640: ? is the batch, min..opt..max a range; empty: as declared",
            experiment.input_shapes, continuous_update=False, placeholder="as declared; such as x:?x3x48x32..320..640",
        ),
        "input_values": field(
            widgets.Text, "Input values", "Values of made-up inputs, such as sr=16000; ids=0..999; empty: small ones",
            experiment.input_values, continuous_update=False, placeholder="small ones; such as sr=16000; ids=0..999",
        ),
        "batches": Batches(
            "Batch sizes", "Samples in one call: press those that are wanted",
            experiment.batches,
        ),
        "threads": field(integer, "Threads", "CPU threads that one engine may use", experiment.threads),
        "shapes": field(
            dropdown, "Shapes", "dynamic: one engine serves all batches; fixed: one engine per batch",
            experiment.shapes, options=["dynamic", "fixed"],
        ),
        "region": field(
            dropdown, "Timed region",
            "host-to-host: arrays in, arrays out; compute: inputs are in place before the clock starts; "
            "device: a GPU's own clock",
            experiment.region, options=[str(each) for each in Region],
        ),
        "measure_s": field(
            number, "Seconds per row", "Timed seconds per variant and batch in the first launch", experiment.measure_s
        ),
        "rounds": field(
            integer, "Rounds", "Variants take turns this many times; six or more give an interval", experiment.rounds
        ),
        "within": field(
            number, "Known within", "Measure on until every ratio is known within this share of it, or who is faster; 0.02 is 2 %",
            experiment.within,
        ),
        "max_measure_s": field(
            number, "At most (s)", "Timed seconds per variant and batch, at most, with fresh processes again and again",
            experiment.max_measure_s,
        ),
        "until": field(
            dropdown, "Measure until", "known: who is faster is known, or the interval is narrow; narrow: it is as narrow as asked for",
            experiment.until, options=[str(each) for each in Until],
        ),
        "calibration": field(
            dropdown, "INT8 calibration", "How the ranges of activations are chosen from samples",
            experiment.calibration, options=[str(each) for each in Calibration],
        ),
        "calibration_samples": field(
            integer, "Calibration samples", "Samples used for calibration; never those used for accuracy",
            experiment.calibration_samples,
        ),
        "budget": field(
            widgets.Text, "Budget", "What a rewritten variant may lose: 0.5 points, 1 % (of the metric), 2 % flips, a number, none",
            experiment.budget,
        ),
        "metric": field(
            widgets.Combobox, "Metric", "How right answers are; auto: top-1 of classes", experiment.metric,
            options=(AUTO, *METRICS),
        ),
        "score_output": field(
            widgets.Text, "Scored output", "Name of the output that is scored; empty: the one that the labels suit",
            experiment.score_output,
        ),
        "pixels": field(
            widgets.Text, "Pixels", "Folder of images: what 0 to 255 become, such as 0..1, -1..1 or 0..255; or imagenet",
            experiment.pixels,
        ),
        "quantize": field(
            widgets.Text, "Rewrite only", "Operation types or node names to rewrite, with commas; empty: all that can be",
            ",".join(experiment.quantize),
        ),
        "keep": field(
            widgets.Text, "Keep in FP32", "Operation types or node names to leave in FP32, with commas",
            ",".join(experiment.keep),
        ),
        "optimization_level": field(
            integer, "Optimization level", "-1 is each library's default", experiment.optimization_level
        ),
        "workspace_mib": Workspace(
            "Workspace (MiB)", "Scratch memory for building; automatic: the library's default", experiment.workspace_mib
        ),
        "tf32": field(
            dropdown, "TF32", "NVIDIA GPUs: FP32 matrix products may round their inputs to TF32", experiment.tf32,
            options=YES_NO,
        ),
        "cuda_graph": field(
            dropdown, "CUDA graph", "NVIDIA GPUs: record the launches of one run and replay them", experiment.cuda_graph,
            options=YES_NO,
        ),
        "streams": field(
            integer, "Streams", "NVIDIA GPUs: calls in flight at once; with several, throughput is measured, not latency",
            experiment.streams,
        ),
        "build_options": field(
            widgets.Text, "Build options", "Options of a backend by name, with commas; empty: none",
            ",".join(experiment.build_options),
        ),
        "protocol": field(
            dropdown, "Protocol",
            "trtexec: its region, duration, copies, waiting and percentiles; mlperf: LoadGen drives every engine too, unofficially",
            experiment.protocol, options=[("own settings", ""), *((each, each) for each in PROTOCOLS if each)],
        ),
        "baseline": field(
            dropdown, "Compare with", "The variant that all others are compared with", experiment.baseline,
            options=[("automatic", ""), *([(experiment.baseline,) * 2] if experiment.baseline else [])],
        ),
        **load.controls(experiment),
        "cores": field(
            widgets.Text, "Cores", "Hold every engine to these cores, such as 0,2 or 0-3; empty: any",
            experiment.cores, continuous_update=False, placeholder="any; such as 0,2 or 0-3",
        ),
        "clocks": field(
            dropdown, "Clocks", "Time each engine over every region, in turn: what conversions and calls cost",
            experiment.clocks, options=YES_NO,
        ),
        "roofline": field(
            dropdown, "Roofline", "Measure what this machine can do at most, once, and the share that each variant gets",
            experiment.roofline, options=YES_NO,
        ),
        "layers": field(
            dropdown, "Time per layer", "Time every layer of every engine that can tell, in a pass of its own: about 4 s a row",
            experiment.layers, options=YES_NO,
        ),
    }  # fmt: skip

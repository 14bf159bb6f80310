"""The words of the panel and the report."""

from __future__ import annotations

from markupsafe import Markup

from workbench.display.html import facts

WORDS = {
    "Variant": "a backend with a precision and settings of the build",
    "Engine": "what a backend builds from the model for a variant; it is built once and kept in the store",
    "Batch": "samples in one call",
    "Row": "a variant at one batch size: what is measured and compared",
    "Baseline": "the variant that all others are compared with",
    "Round": "one turn of all variants, in a random order",
    "Block": "the timed calls of one variant in one round",
    "Launch": "a start of the engine's process; the interval of a speed-up is over launches",
    "Speed-up": "time of the baseline divided by the time of the variant; above 1 is faster",
    "Verdict": "faster, slower, or cannot tell where the 95 % interval of the speed-up includes 1 or the launches are too few",
    "Calibration samples": "samples from which the ranges of INT8 numbers are determined; they are not used for accuracy",
    "Test samples": "samples that are timed and scored",
    "Agreement": "share of samples with the same answer as the source model",
    "Budget": "what a variant may lose in accuracy against the source model and still be recommended",
    "Workspace": "scratch memory that a build may use; more of it leaves a library more choices",
}


def glossary() -> Markup:
    """The words with their meanings."""
    return facts((word, [meaning]) for word, meaning in WORDS.items())

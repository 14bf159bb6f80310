"""Metrics of real values: the parts of each sample, and the value of parts. Outputs and labels have the same shape, (n, ...)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.accuracy.truth import Truth
from workbench.errors import InputError

if TYPE_CHECKING:
    import numpy as np

CEILING_DB = 100.0
"""PSNR in dB where there is no error and the formula gives infinity: above all values that 32-bit floats can give."""


def _difference(outputs: np.ndarray, truth: Truth) -> np.ndarray:
    import numpy as np

    return np.asarray(outputs.astype(np.float64) - truth.values)


def squared_error_parts(outputs: np.ndarray, truth: Truth) -> np.ndarray:
    """Squared errors: (n, k) for labels (n, k), else their mean over each sample's values, (n, 1)."""
    import numpy as np

    squares = np.square(_difference(outputs, truth))
    return np.asarray(squares if squares.ndim == 2 else squares.reshape(len(squares), -1).mean(axis=1, keepdims=True))


def root_mean_square(parts: np.ndarray) -> float:
    """Mean over columns of the square root of the mean over samples, as scikit-learn's ``root_mean_squared_error``."""
    import numpy as np

    return float(np.sqrt(parts.mean(axis=0)).mean())


def absolute_error_parts(outputs: np.ndarray, truth: Truth) -> np.ndarray:
    """Mean absolute error of each sample, (n,)."""
    import numpy as np

    return np.asarray(np.abs(_difference(outputs, truth)).reshape(len(truth), -1).mean(axis=1))


def cosine_parts(outputs: np.ndarray, truth: Truth) -> np.ndarray:
    """Cosine of the angle between output and label of each sample, (n,); 0 where either is all zeros."""
    import numpy as np
    from sklearn.preprocessing import normalize

    ours, theirs = (normalize(each.reshape(len(each), -1).astype(np.float64)) for each in (outputs, truth.values))
    return np.asarray((ours * theirs).sum(axis=1))


def peak_parts(outputs: np.ndarray, truth: Truth) -> np.ndarray:
    """Mean squared error of each sample, and the squared span of all labels, (n, 2)."""
    import numpy as np

    peak = float(truth.values.max()) - float(truth.values.min())
    if peak == 0:
        raise InputError(
            f"'psnr' is measured against the span of the labels, and all of them are {float(truth.values.flat[0]):g}. Give labels that "
            "are not blank, or choose 'rmse' or 'mae'."
        )
    errors = np.square(_difference(outputs, truth)).reshape(len(truth), -1).mean(axis=1)
    return np.stack([errors, np.full(len(truth), peak**2)], axis=1)


def peak_signal_to_noise(parts: np.ndarray) -> float:
    """10 log₁₀(peak² / mean squared error) over all samples, at most :data:`CEILING_DB`."""
    import numpy as np

    error, peak = parts[:, 0].mean(), parts[0, 1]
    return min(CEILING_DB, float(10 * np.log10(peak / error))) if error > 0 else CEILING_DB

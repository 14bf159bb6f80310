"""Labels of usual kinds through the command line: the metric has the value of an independent computation, or is refused."""

from __future__ import annotations

import re

import case_runs
import numpy as np
import pytest
from case_runs import FLOAT, report
from sklearn.metrics import average_precision_score, f1_score, jaccard_score

pytestmark = pytest.mark.long
RNG = np.random.default_rng


def softmax(values):
    raised = np.exp(values - values.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def test_a_probability_a_little_above_one_moves_no_threshold(tmp_path):
    rng = RNG(11)
    weights = rng.normal(0, 2, (6, 10)).astype(np.float32)
    nodes = [("MatMul", ["x", "w"], ["z"], {}), ("Softmax", ["z"], ["p"], {}), ("MatMul", ["p", "all"], ["any"], {})]
    rest = np.array([[0]] + [[np.nextafter(np.float32(1), np.float32(2))]] * 9, np.float32)
    case_runs.network(tmp_path / "m.onnx", nodes, [("x", FLOAT, (6,))], [("any", FLOAT, (1,))], w=weights, all=rest)
    import onnxruntime

    x = rng.normal(0, 1, (2000, 6)).astype(np.float32)
    found = onnxruntime.InferenceSession(tmp_path / "m.onnx").run(None, {"x": x})[0][:, 0]
    assert 1 < found.max() < 1.00001  # or the case shows nothing
    labels = case_runs.noisy((found > 0.5).astype(int), 2, 0.2, rng)
    np.savez(tmp_path / "d.npz", x=x, y=labels)
    done = report(tmp_path, "m.onnx", "d.npz")
    assert done.gives(float(((found > 0.5) == labels).mean()))
    shown = done.text + (tmp_path / "out.html").read_text(encoding="utf-8")
    assert re.search(r"threshold|above 0\.5 counts as yes", shown)


def tagger(folder, rng, bias=0.0, tags=5):
    """A network with a probability for each of several tags, its inputs, and those probabilities."""
    weights = rng.normal(0, 1.5, (6, tags)).astype(np.float32)
    nodes = [("Gemm", ["x", "w", "b"], ["z"], {}), ("Sigmoid", ["z"], ["tags"], {})]
    constants = {"w": weights, "b": np.full(tags, bias, np.float32)}
    case_runs.network(folder / "m.onnx", nodes, [("x", FLOAT, (6,))], [("tags", FLOAT, (tags,))], **constants)
    x = rng.normal(0, 1, (400, 6)).astype(np.float32)
    return x, 1 / (1 + np.exp(-(x @ weights + bias)))


def test_f1_of_several_labels_is_the_mean_over_the_labels(tmp_path):
    rng = RNG(12)
    x, found = tagger(tmp_path, rng, bias=-3)
    labels = (rng.uniform(size=found.shape) < found).astype(np.int64)
    np.savez(tmp_path / "d.npz", x=x, y=labels)
    done = report(tmp_path, "m.onnx", "d.npz", "--metric", "f1")
    assert done.gives(f1_score(labels, found > 0.5, average="macro"))


@pytest.mark.parametrize("metric", ["f1", "map"])
def test_smoothed_labels_are_not_cut_to_whole_numbers(tmp_path, metric):
    rng = RNG(13)
    x, found = tagger(tmp_path, rng, tags=3)
    labels = case_runs.noisy((found > 0.5).astype(int), 2, 0.2, rng) * 0.9 + 0.05
    np.savez(tmp_path / "d.npz", x=x, y=labels)
    done = report(tmp_path, "m.onnx", "d.npz", "--metric", metric)
    assert done.is_refused(r"0\.05|soft|0 or 1|0 and 1")


def segmenter(folder, rng):
    """A network with three classes for each pixel (channels last), its inputs and its answers."""
    weights = rng.normal(0, 1, (3, 3, 1, 1)).astype(np.float32)
    nodes = [
        ("Transpose", ["x"], ["first"], {"perm": [0, 3, 1, 2]}),
        ("Conv", ["first", "w"], ["scores"], {}),
        ("Transpose", ["scores"], ["mask"], {"perm": [0, 2, 3, 1]}),
    ]
    case_runs.network(folder / "m.onnx", nodes, [("x", FLOAT, (6, 7, 3))], [("mask", FLOAT, (6, 7, 3))], w=weights)
    x = rng.normal(0, 1, (120, 6, 7, 3)).astype(np.float32)
    return x, (x @ weights[:, :, 0, 0].T).argmax(-1)


def test_masks_saved_one_hot_give_the_iou_of_class_numbers(tmp_path):
    rng = RNG(14)
    x, found = segmenter(tmp_path, rng)
    truth = case_runs.noisy(found, 3, 0.4, rng)
    np.savez(tmp_path / "d.npz", x=x, y=np.eye(3, dtype=np.int64)[truth])
    done = report(tmp_path, "m.onnx", "d.npz", "--metric", "iou")
    assert done.gives(jaccard_score(truth.ravel(), found.ravel(), average="macro")) or done.is_refused("one-hot")


def test_void_pixels_are_left_out_of_the_iou(tmp_path):
    rng = RNG(15)
    x, found = segmenter(tmp_path, rng)
    truth = case_runs.noisy(found, 3, 0.3, rng)
    truth[:, 0] = truth[:, -1] = 255
    np.savez(tmp_path / "d.npz", x=x, y=truth)
    done = report(tmp_path, "m.onnx", "d.npz", "--metric", "iou")
    known = truth != 255
    assert done.gives(jaccard_score(truth[known], found[known], average="macro")) or done.is_refused("255")


@pytest.mark.parametrize("metric", ["map", "f1"])
def test_rows_labelled_minus_one_are_left_out(tmp_path, metric):
    rng = RNG(16)
    weights = rng.normal(0, 1, (6, 4)).astype(np.float32)
    case_runs.linear(tmp_path / "m.onnx", weights, "Softmax", output="p")
    x = rng.normal(0, 1, (300, 6)).astype(np.float32)
    scores = softmax(x @ weights)
    labels = case_runs.noisy(scores.argmax(1), 4, 0.3, rng)
    labels[::5] = -1
    np.savez(tmp_path / "d.npz", x=x, y=labels)
    done = report(tmp_path, "m.onnx", "d.npz", "--metric", metric)
    known = labels >= 0
    right = {
        "map": average_precision_score(np.eye(4)[labels[known]], scores[known], average="macro"),
        "f1": f1_score(labels[known], scores[known].argmax(1), average="macro"),
    }[metric]
    assert done.gives(right, 1e-5) or done.is_refused("start at 0|-1")


def test_a_blank_truth_has_no_psnr(tmp_path):
    image = ("x", FLOAT, (5, 5, 1))
    nodes = [("Add", ["x", "b"], ["out"], {})]
    case_runs.network(tmp_path / "m.onnx", nodes, [image], [("out", *image[1:])], b=np.float32(0.5))
    x = RNG(17).uniform(0, 1, (60, 5, 5, 1)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=np.zeros_like(x))
    done = report(tmp_path, "m.onnx", "d.npz", "--metric", "psnr")
    peak_of_one = float(-10 * np.log10(((x + 0.5) ** 2).mean()))
    assert done.gives(peak_of_one, 0.5) or "psnr" in done.text.lower()
    assert not done.gives(100.0, 1.0)
    assert done.gives(peak_of_one, 0.5) or (not done.scores or np.isnan(done.scores).all())
    assert "'psnr' is measured against the span of the labels, and all of them are 0" in " ".join(done.text.split())


def test_a_truth_with_its_axes_in_another_order_is_not_reshaped(tmp_path):
    image = ("x", FLOAT, (3, 5, 5))
    nodes = [("Mul", ["x", "one"], ["out"], {})]
    case_runs.network(tmp_path / "m.onnx", nodes, [image], [("out", *image[1:])], one=np.float32(1))
    x = RNG(18).uniform(0, 1, (60, 3, 5, 5)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=x, y=x.transpose(0, 2, 3, 1))
    done = report(tmp_path, "m.onnx", "d.npz", "--metric", "rmse")
    assert done.gives(0.0) or done.is_refused("3 × 5 × 5|3, 5, 5", "5 × 5 × 3|5, 5, 3")

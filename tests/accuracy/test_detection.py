"""Boxes as labels, and which outputs hold the boxes that a model found."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from workbench.accuracy.box_labels import cropped, from_arrays
from workbench.accuracy.detection import parse_roles
from workbench.accuracy.label_settings import Reading
from workbench.accuracy.metrics import METRICS
from workbench.accuracy.score import score
from workbench.data.dataset import dataset
from workbench.data.labels import Labelling
from workbench.errors import InputError
from workbench.records import Model, TensorSpec

RNG = np.random.default_rng(3)
BOXES = np.array([[2, 3, 20, 30], [10, 10, 40, 44], [5, 5, 25, 25], [30, 4, 60, 22]], np.float32)
CLASSES, IMAGES = np.array([1, 2, 1, 2]), np.array([0, 0, 1, 2])
TRUTH = {"y_boxes": BOXES, "y_class": CLASSES, "y_image": IMAGES}


def outputs(names=("boxes", "scores", "classes")):
    """All boxes found as they are but the last, and one too many."""
    boxes = np.zeros((3, 3, 4), np.float32)
    scores, classes = np.zeros((3, 3), np.float32), np.zeros((3, 3), np.float32)
    for image, place, box, number in (
        (0, 0, BOXES[0], 1),
        (0, 1, BOXES[1], 2),
        (1, 0, BOXES[2], 1),
        (2, 0, BOXES[0], 2),
    ):
        boxes[image, place], scores[image, place], classes[image, place] = box, 0.9 - 0.1 * image, number
    return dict(zip(names, (boxes, scores, classes), strict=True))


def model(names=("boxes", "scores", "classes")):
    shapes = ((None, 3, 4), (None, 3), (None, 3))
    specs = tuple(TensorSpec(name, "float32", shape) for name, shape in zip(names, shapes, strict=True))
    return Model("m", "m", "onnx", (TensorSpec("x", "float32", (None, 64, 64, 3)),), specs, 1, 1, "d")


LABELLING = Labelling(METRICS["box-map"])


def test_boxes_of_an_npz_are_scored(tmp_path):
    np.savez(tmp_path / "d.npz", x=RNG.random((3, 64, 64, 3)).astype(np.float32), **TRUTH)
    data = dataset(str(tmp_path / "d.npz"), model(), 0, 0, demo=False, labelling=LABELLING)
    assert data.description == "3 samples of d.npz; labels: boxes, 4 in 3 images"
    found = score("k", outputs(), outputs(), data.test.truth, METRICS["box-map"])
    # class 1: both boxes found; class 2: one of two, found first, so that precision is 1 up to a recall of 0.5
    assert found.value == pytest.approx((1 + 51 / 101) / 2)
    worse = outputs()
    worse["boxes"][1, 0] += 15
    assert score("k", worse, outputs(), data.test.truth, METRICS["box-map"]).loss > 0.1
    assert data.test.take([1, 2]).truth.images.tolist() == [0, 1]
    with pytest.raises(InputError, match=r"the labels of 'd.npz' are boxes\. Set 'metric' to one of: box-map"):
        dataset(str(tmp_path / "d.npz"), model(), 0, 0, demo=False)


def coco(names=None):
    images = [{"id": 10 + row, "width": 64, "height": 64, "file_name": name} for row, name in enumerate(names or "abc")]
    annotations = [
        {"id": place, "image_id": 10 + int(IMAGES[place]), "category_id": int(CLASSES[place]), "iscrowd": 0,
         "bbox": [float(b[0]), float(b[1]), float(b[2] - b[0]), float(b[3] - b[1])]}
        for place, b in enumerate(BOXES)
    ]  # fmt: skip
    return {"images": images, "annotations": annotations, "categories": [{"id": 1}, {"id": 2}]}


def test_cocos_json_beside_an_npz_says_the_same(tmp_path):
    np.savez(tmp_path / "d.npz", x=RNG.random((3, 64, 64, 3)).astype(np.float32))
    (tmp_path / "d.json").write_text(json.dumps(coco()))
    truth = dataset(str(tmp_path / "d.npz"), model(), 0, 0, demo=False, labelling=LABELLING).test.truth
    assert truth.values[:, :4].tolist() == BOXES.tolist()
    assert truth.values[:, 4].tolist() == CLASSES.tolist()
    assert truth.images.tolist() == IMAGES.tolist()


def test_cocos_json_in_a_folder_goes_by_file_names_and_follows_the_crop(tmp_path):
    names = ["a.png", "b.png", "c.png"]
    for place, name in enumerate(names):
        Image.fromarray(np.full((64, 128, 3), 80 * place, np.uint8)).save(tmp_path / name)
    content = coco(names)
    for image in content["images"]:
        image["width"] = 128
    (tmp_path / "truth.json").write_text(json.dumps(content))
    test = dataset(str(tmp_path), model(), 0, 0, demo=False, labelling=LABELLING).test
    gray = test.inputs["x"][:, 0, 0, 0]
    order = [round(float(value) * 255 / 80) for value in gray]  # of the images, which are shuffled
    # the middle 64 of 128 columns are kept: 32 are cut off at the left
    wanted = {
        (order.index(int(image)), *np.clip(box - np.array([32, 0, 32, 0]), 0, 64).tolist())
        for box, image in zip(BOXES, IMAGES, strict=True)
        if box[2] > 32
    }
    assert {
        (image, *row[:4]) for image, row in zip(test.truth.images.tolist(), test.truth.values.tolist(), strict=True)
    } == wanted


def test_the_crop_is_pillows():
    from PIL import ImageOps

    image = np.zeros((90, 200), np.uint8)
    image[30:60, 100:140] = 255
    seen = np.asarray(ImageOps.fit(Image.fromarray(image), (50, 60), Image.Resampling.BILINEAR)) > 127
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    found = cropped(200, 90, 50, 60)((100, 30, 140, 60))
    assert found == pytest.approx((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1), abs=1)
    assert cropped(200, 90, 50, 60)((0, 0, 20, 20)) is None


def test_outputs_are_recognised_by_name_or_named():
    names = ("StatefulPartitionedCall/detection_boxes:0", "detection_scores", "detection_classes")
    truth = from_arrays(TRUTH, 3, {}, "'d.npz'")
    plain = score("k", outputs(), outputs(), truth, METRICS["box-map"]).value
    assert score("k", outputs(names), outputs(names), truth, METRICS["box-map"]).value == plain
    odd = outputs(("a", "b", "c"))
    with pytest.raises(InputError, match=r"no output was recognized for scores, classes"):
        score("k", odd, odd, truth, METRICS["box-map"])
    roles = parse_roles("boxes=a,scores=b,classes=c")
    assert score("k", odd, odd, from_arrays(TRUTH, 3, roles, "'d.npz'"), METRICS["box-map"]).value == plain
    assert Reading(box_outputs=roles).box_outputs["scores"] == "b"


@pytest.mark.parametrize(
    "text", ["boxes=a", "boxes=a,scores=b,classes=", "nonsense", "boxes=a,scores=b,classes=c,more=d"]
)
def test_half_of_the_names_is_refused(text):
    with pytest.raises(InputError, match="Write boxes=NAME,scores=NAME,classes=NAME"):
        parse_roles(text)


@pytest.mark.parametrize(("change", "says"), [
    ({"y_boxes": BOXES[:, [2, 3, 0, 1]]}, "4 of 4 boxes of 'd.npz' have x2 < x1 or y2 < y1"),
    ({"y_boxes": BOXES[:, :3]}, r"y_boxes float32 \[4 × 3\]"),
    ({"y_image": IMAGES + 1}, "'y_image' of 'd.npz' goes from 1 to 3, and there are 3 samples"),
    ({"y_class": CLASSES[:2]}, r"y_class int64 \[2\]"),
    ({"y_boxes": np.full((4, 4), np.nan)}, "hold NaN or infinity"),
])  # fmt: skip
def test_boxes_in_another_form_are_refused(change, says):
    with pytest.raises(InputError, match=says):
        from_arrays(TRUTH | change, 3, {}, "'d.npz'")
    with pytest.raises(InputError, match="lack the array 'y_class'"):
        from_arrays({"y_boxes": BOXES}, 3, {}, "'d.npz'")


@pytest.mark.parametrize(("change", "says"), [
    (lambda found: found["boxes"].__imul__(1 / 64), "the model seems to give shares of the image"),
    (lambda found: found["boxes"].__setitem__(slice(None), found["boxes"][..., [2, 1, 0, 3]]), "found boxes have x2 < x1 or y2 < y1"),
    (lambda found: found["classes"].__iadd__(90), "have none in common"),
])  # fmt: skip
def test_found_boxes_in_another_form_score_no_silent_zero(change, says):
    found = outputs()
    change(found)
    with pytest.raises(InputError, match=says):
        score("k", found, found, from_arrays(TRUTH, 3, {}, "'d.npz'"), METRICS["box-map"])


def test_a_class_of_boxes_that_is_lost_is_named():
    rng = np.random.default_rng(0)
    n, k = 40, 5
    corners = rng.uniform(0, 300, (n * k, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(20, 80, (n * k, 2))], axis=1)
    classes = rng.choice([3, 7, 9], n * k)  # class numbers that do not start at 0
    truth = from_arrays({"y_boxes": boxes, "y_class": classes, "y_image": np.repeat(np.arange(n), k)}, n, {}, "d")
    source = {"boxes": boxes.reshape(n, k, 4), "scores": rng.uniform(0.5, 1, (n, k)), "classes": classes.reshape(n, k)}
    lost = (source["classes"] == 7) & (rng.random((n, k)) < 0.6)
    engine = {**source, "boxes": source["boxes"] + 400 * lost[..., None]}
    worst, *others = score("k", engine, source, truth, METRICS["box-map"]).by
    assert (worst.by, worst.name, worst.of, worst.source_value) == ("class", "7", 3, 1)
    assert worst.samples == (source["classes"] == 7).any(axis=1).sum()
    assert worst.loss == pytest.approx(lost.sum() / (classes == 7).sum())
    assert 0 < worst.low < worst.loss < worst.high
    assert {part.loss for part in others} == {0}


@pytest.mark.parametrize(
    ("saved", "line"),
    [
        (lambda b: b[:, [1, 0, 3, 2]], r"y_boxes = y_boxes\[:, \[1, 0, 3, 2\]\]"),
        (lambda b: np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1), r"y_boxes\[:, 2:\] \+= y_boxes\[:, :2\]"),
    ],
)
def test_labels_in_another_order_than_the_models_are_refused_with_the_line(saved, line):
    """They were scored without a word, far too low."""
    rng = np.random.default_rng(4)
    n, k = 30, 4
    corners = rng.uniform(0, (100, 60), (n * k, 2))  # width and height still lie beyond the corner
    boxes = np.concatenate([corners, corners + rng.uniform((180, 65), (300, 90), (n * k, 2))], axis=1)
    classes = rng.integers(1, 4, n * k)
    found = {"boxes": boxes.reshape(n, k, 4) + rng.normal(0, 2, (n, k, 4)), "scores": rng.uniform(0.5, 1, (n, k)),
             "classes": classes.reshape(n, k)}  # fmt: skip
    arrays = {"y_boxes": saved(boxes), "y_class": classes, "y_image": np.repeat(np.arange(n), k)}
    truth = from_arrays(arrays, n, {}, "d")
    with pytest.raises(InputError, match=line):
        score("k", found, found, truth, METRICS["box-map"])
    right = from_arrays({**arrays, "y_boxes": boxes}, n, {}, "d")
    assert score("k", found, found, right, METRICS["box-map"]).value > 0.5


def test_class_numbers_of_another_meaning_are_refused_with_the_line():
    """Labels from 1 to 5 for a model that counts from 0: an mAP of 0, because four of the numbers are in both."""
    rng = np.random.default_rng(5)
    n, k = 20, 3
    corners = rng.uniform(0, 300, (n * k, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(30, 60, (n * k, 2))], axis=1)
    classes = rng.integers(0, 5, n * k)
    found = {"boxes": boxes.reshape(n, k, 4), "scores": rng.uniform(0.5, 1, (n, k)), "classes": classes.reshape(n, k)}
    arrays = {"y_boxes": boxes, "y_image": np.repeat(np.arange(n), k)}
    with pytest.raises(InputError, match=r"write y_class = y_class - 1\."):
        score("k", found, found, from_arrays({**arrays, "y_class": classes + 1}, n, {}, "d"), METRICS["box-map"])
    with pytest.raises(InputError, match=r"Save 'y_class' with the model's numbers\."):
        score("k", found, found, from_arrays({**arrays, "y_class": (classes + 3) % 5}, n, {}, "d"), METRICS["box-map"])
    right = from_arrays({**arrays, "y_class": classes}, n, {}, "d")
    assert score("k", found, found, right, METRICS["box-map"], losses=False).value == pytest.approx(1)
    none = {**found, "scores": 0 * found["scores"]}  # an engine that finds nothing is not refused for that
    assert score("k", none, found, right, METRICS["box-map"], losses=False).value == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda c: c["annotations"][0].update(image_id=99),
            "has a box of the image 99, which is not among its 'images'",
        ),
        (lambda c: c["images"][1].update(id=10), "lists the image 10 more than once"),
    ],
)
def test_boxes_of_no_image_or_of_two_are_refused(tmp_path, change, says):
    content = coco()
    change(content)
    np.savez(tmp_path / "d.npz", x=RNG.random((3, 64, 64, 3)).astype(np.float32))
    (tmp_path / "d.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=says):
        dataset(str(tmp_path / "d.npz"), model(), 0, 0, demo=False, labelling=LABELLING)


def test_shares_of_the_image_and_another_reading_are_refused(tmp_path):
    np.savez(tmp_path / "d.npz", x=RNG.random((3, 64, 64, 3)).astype(np.float32), **{**TRUTH, "y_boxes": BOXES / 64})
    truth = dataset(str(tmp_path / "d.npz"), model(), 0, 0, demo=False, labelling=LABELLING).test.truth
    with pytest.raises(InputError, match="the labels seem to be shares of the image"):
        score("k", outputs(), outputs(), truth, METRICS["box-map"])
    other = Labelling(METRICS["box-map"], Reading(labels="classes"))
    with pytest.raises(InputError, match="'labels' is set to 'classes'"):
        dataset(str(tmp_path / "d.npz"), model(), 0, 0, demo=False, labelling=other)

"""Folders of images: the values that a model sees, whatever the depth of the images and the type of the input."""

from __future__ import annotations

import re
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from workbench.data.dataset import dataset
from workbench.data.images import preparation, read_images
from workbench.errors import InputError
from workbench.records import Model, TensorSpec

GRAY = TensorSpec("x", "float32", (None, 4, 4, 1))
COLOR = TensorSpec("x", "float32", (None, 4, 4, 3))


def model(spec, classes=2):
    return Model("m", "m", "onnx", (spec,), (TensorSpec("o", "float32", (None, classes)),), 1, 1, "d")


def saved(root, *images, ending="png", **options):
    root.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
        picture.save(root / f"{number}.{ending}", **options)
    return root


def fed(folder, spec, pixels="auto", classes=2):
    found = dataset(str(folder), model(spec, classes), 0, 0, demo=False, pixels=pixels)
    return found.test.inputs["x"], found.description


def one(value, dtype, size=(4, 4)):
    return np.full(size, value, dtype)


@pytest.mark.parametrize(("dtype", "pixels", "white"), [
    ("uint8", "auto", 255), ("int16", "auto", 255), ("uint16", "auto", 255), ("int32", "auto", 255), ("int64", "auto", 255),
    ("uint8", "0..255", 255), ("int8", "-128..127", 127), ("float32", "auto", 1), ("float16", "0..255", 255),
])  # fmt: skip
@pytest.mark.parametrize("first", [True, False])
def test_the_type_of_the_input_decides_what_pixels_become(tmp_path, dtype, pixels, white, first):
    ramp = np.linspace(0, 255, 16).astype(np.uint8).reshape(4, 4)
    spec = TensorSpec("x", dtype, (None, 3, 4, 4) if first else (None, 4, 4, 3))
    (image,), reported = fed(saved(tmp_path, np.stack([ramp, ramp, ramp], -1)), spec, pixels)
    black = -128 if dtype == "int8" else 0
    wanted = black + ramp.astype(float) / 255 * (white - black)
    found = (image[0] if first else image[..., 0]).astype(float)
    np.testing.assert_allclose(found, wanted, atol=0.51 if image.dtype.kind in "iu" else 1e-3 * white)
    if dtype == "uint8":
        np.testing.assert_array_equal(found, ramp)
    assert ("0 to 255 as they are" in reported) == (image.dtype.kind in "iu" and pixels == "auto")


@pytest.mark.parametrize(("pixels", "white"), [("auto", 255), ("0..1", 1)])
def test_a_model_that_rescales_gets_the_pixels_that_it_rescales(tmp_path, pixels, white):
    """Keras' usual form: a Rescaling layer of 1/255 first. Pixels of 0..1 would be nearly black to it, and every answer the same."""
    spec = TensorSpec("x", "float32", (None, 4, 4, 3), low=0.0, high=255.0)  # as the reader of Keras files declares it
    ramp = np.linspace(0, 255, 16).astype(np.uint8).reshape(4, 4)
    (image,), reported = fed(saved(tmp_path, np.stack([ramp, ramp, ramp], -1)), spec, pixels)
    np.testing.assert_allclose(image[..., 0], ramp.astype(float) / 255 * white, atol=1e-3 * white)
    assert ("0 to 255 as 0..255, which the model itself scales" in reported) == (pixels == "auto")
    assert preparation(spec, pixels)["multiply"] == pytest.approx([white / 255] * 3)


@pytest.mark.parametrize(("dtype", "pixels", "says"), [
    ("int8", "auto", r"takes -128 to 127, and pixels go up to 255\. Give the values of black and white, such as -128\.\.127"),
    ("uint8", "0..1", r"'pixels' is '0\.\.1', which leaves too few levels after rounding\. Give 0\.\.255 \(option --pixels\)"),
    ("uint8", "imagenet", "'pixels' is 'imagenet', which leaves too few levels"),
    ("int32", "-1..1", r"'pixels' is '-1\.\.1', which leaves too few levels"),
    ("uint8", "0..300", r"takes 0 to 255, and 'pixels' is '0\.\.300'"),
    ("bool", "auto", "does not take images"),
])  # fmt: skip
def test_ranges_that_whole_numbers_do_not_hold_are_refused(tmp_path, dtype, pixels, says):
    saved(tmp_path, one(9, np.uint8))
    with pytest.raises(InputError, match=says):
        fed(tmp_path, TensorSpec("x", dtype, (None, 4, 4, 1)), pixels)


@pytest.mark.parametrize(("dtype", "scale", "zero", "pixels", "gray"), [
    ("uint8", 1 / 255, 0, "auto", 100),
    ("uint8", 1 / 128, 128, "auto", 100),
    ("int8", 1 / 255, -128, "auto", -28),
    ("int8", 1.0, -128, "auto", -28),
    ("uint8", 1 / 255, 0, "0..1", 100),
    ("uint8", 2 / 255, 128, "-1..1", 100),
    ("int16", 1 / 32767, 0, "auto", round(100 / 255 * 32767)),
])  # fmt: skip
def test_a_quantized_input_gets_pixels_as_it_stores_them(tmp_path, dtype, scale, zero, pixels, gray):
    saved(tmp_path, one(100, np.uint8))
    (image,), _ = fed(tmp_path, TensorSpec("x", dtype, (None, 4, 4, 1), scale=scale, zero_point=zero), pixels)
    assert image.dtype == np.dtype(dtype)
    assert abs(int(image[0, 0, 0]) - gray) <= (1 if pixels == "-1..1" else 0)


def test_a_range_far_off_a_quantized_input_is_refused(tmp_path):
    saved(tmp_path, one(100, np.uint8))
    with pytest.raises(
        InputError, match=r"represents values from 0 to 1, .* values from 100 to 100, which would be clipped"
    ):
        fed(tmp_path, TensorSpec("x", "uint8", (None, 4, 4, 1), scale=1 / 255), "0..255")


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("spec", [GRAY, COLOR, TensorSpec("x", "float32", (None, 3, 4, 4))])
def test_16_bits_keep_their_range(tmp_path, ending, spec):
    ramp = np.linspace(0, 65535, 16).astype(np.uint16).reshape(4, 4)
    (image,), reported = fed(saved(tmp_path, ramp, ending=ending), spec)
    channels = image.transpose(1, 2, 0) if spec.shape[1] == 3 else image
    for channel in range(channels.shape[-1]):
        np.testing.assert_allclose(channels[..., channel], ramp / 65535, atol=1e-6)
    assert "0 to 65535 (1 of 16 bits) as 0..1" in reported


@pytest.mark.parametrize(("most", "bits", "factor"), [(200, 8, 256), (1023, 10, 64), (4095, 12, 16)])
def test_fewer_bits_in_files_of_16_are_refused_unless_black_and_white_are_set(tmp_path, most, bits, factor):
    """Images of 12 bits were nearly black: 0 to 4095 of 65535, and half of the answers were wrong."""
    saved(tmp_path, one(most, np.uint16), one(0, np.uint16))
    with pytest.raises(
        InputError, match=rf"is {most:,}, as in images of {bits} bits.*multiply their values by {factor} or"
    ):
        fed(tmp_path, GRAY)
    images, _ = fed(tmp_path, GRAY, "0..1")
    assert images.max() == pytest.approx(most / 65535)
    whole, _ = fed(tmp_path, TensorSpec("x", "uint16", (None, 4, 4, 1)))  # values as they are
    assert whole.max() == most


def test_16_bits_of_which_13_are_used_are_taken(tmp_path):
    images, _ = fed(saved(tmp_path, one(4096, np.uint16)), GRAY)
    assert images.max() == pytest.approx(4096 / 65535)


@pytest.mark.parametrize(("dtype", "wanted"), [("uint8", 40000 / 257), ("uint16", 40000), ("int32", 40000)])
def test_16_bits_for_whole_numbers(tmp_path, dtype, wanted):
    (image,), _ = fed(saved(tmp_path, one(40000, np.uint16)), TensorSpec("x", dtype, (None, 4, 4, 1)))
    assert image[0, 0, 0] == round(wanted)


def test_images_of_8_and_16_bits_together_have_one_white(tmp_path):
    saved(tmp_path / "0", one(255, np.uint8))
    saved(tmp_path / "1", one(65535, np.uint16))
    images, reported = fed(tmp_path, GRAY)
    assert images.min() == images.max() == 1
    assert "0 to 255 (1 of 8 bits), 0 to 65535 (1 of 16 bits) as 0..1" in reported
    with pytest.raises(InputError, match="contains images of different depths"):
        fed(tmp_path, TensorSpec("x", "uint16", (None, 4, 4, 1)))


@pytest.mark.parametrize(("values", "white"), [([0.0, 0.25], 1), ([3.0, 200.0], 255), ([0.5, 40000.0], 65535)])
def test_floating_point_images_keep_their_range(tmp_path, values, white):
    saved(tmp_path, *(one(value, np.float32) for value in values), ending="tiff")
    images, reported = fed(tmp_path, GRAY)
    np.testing.assert_allclose(sorted(images[:, 0, 0, 0]), np.array(values) / white, rtol=1e-6)
    assert f"0 to {white} (2 of floating-point numbers) as 0..1" in reported


@pytest.mark.parametrize("values", [[-1.0, 1.0], [0.0, 1e6], [0.0, float("nan")]])
def test_floating_point_images_of_another_range_are_refused(tmp_path, values):
    saved(tmp_path, *(one(value, np.float32) for value in values), ending="tif")
    with pytest.raises(InputError, match=r"holds values from .*; accepted are 0 to 1, 0 to 255 and 0 to 65535"):
        fed(tmp_path, GRAY)


@pytest.mark.parametrize(
    ("ending", "dtype"),
    [
        *((ending, np.uint8) for ending in ("jpg", "png", "tif", "webp")),
        *((ending, np.uint16) for ending in ("png", "tif")),
    ],
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(tmp_path, ending, dtype, orientation):
    upright = np.zeros((8, 8), dtype)
    upright[:4, :4] = np.iinfo(dtype).max  # white: upper left; half white: upper right
    upright[:4, 4:] = np.iinfo(dtype).max // 2
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.T, 6: np.rot90(upright),
        7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"exif": exif, "quality": 100, "lossless": True} if ending in ("jpg", "webp") else {"exif": exif}
    saved(tmp_path, np.ascontiguousarray(stored), ending=ending, **options)
    (image,), _ = fed(tmp_path, TensorSpec("x", "float32", (None, 8, 8, 1)))
    np.testing.assert_allclose(image[[1, 1, 6, 6], [1, 6, 1, 6], 0], [1, 0.5, 0, 0], atol=0.03)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "LA"])
@pytest.mark.parametrize("spec", [GRAY, COLOR])
def test_other_modes_are_read_as_before(tmp_path, mode, spec):
    ending = "tif" if mode == "CMYK" else "png"
    white = Image.new("RGB", (4, 4), (255, 255, 255))
    images, _ = fed(saved(tmp_path, white.convert(mode), ending=ending), spec)
    assert images.min() > 0.99


def sixteen_bit_colour(path, value):
    """A PNG file of 4 × 4 pixels with 16 bits per channel, which Pillow does not write (PNG specification, section 11)."""
    rows = b"".join(b"\0" + np.full((4, 3), value, ">u2").tobytes() for _ in range(4))

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def test_colour_images_of_16_bits_are_reported_and_refused_where_the_input_takes_whole_numbers(tmp_path):
    sixteen_bit_colour(tmp_path / "a.png", 30000)
    images, reported = fed(tmp_path, COLOR)
    np.testing.assert_allclose(images, 30000 / 65535, atol=1 / 255)
    assert "1 colour images of 16 bits per channel, read at 8 bits" in reported
    wide = TensorSpec("x", "uint16", (None, 4, 4, 3))
    with pytest.raises(InputError, match=r"16 bits per channel, of which 8 are read.*npz"):
        fed(tmp_path, wide)
    assert fed(tmp_path, TensorSpec("x", "uint8", (None, 4, 4, 3)))[0].max() == 30000 >> 8


@pytest.mark.parametrize(("values", "white"), [((0, 200), 255), ((0, 30000), 65535)])
def test_images_of_32_bit_integers_have_the_smallest_white_that_holds_the_folder(tmp_path, values, white):
    images, reported = fed(saved(tmp_path, *(one(value, "int32") for value in values), ending="tif"), GRAY)
    assert sorted(images.max(axis=(1, 2, 3))) == pytest.approx([value / white for value in values])
    assert f"0 to {white} (2 of 32-bit integers)" in reported


def test_images_of_16_bits_where_0_is_white_are_inverted(tmp_path):
    saved(tmp_path, one(10000, "uint16"), ending="tif", tiffinfo={262: 0})
    with Image.open(tmp_path / "0.tif") as image:
        assert image.tag_v2[262] == 0
    assert fed(tmp_path, GRAY)[0].max() == pytest.approx((65535 - 10000) / 65535)


@pytest.mark.parametrize("names", [
    ("train2017", "val2017"), ("train_images", "test_images"), ("trainset", "testset"), ("training_data", "validation_data"),
    ("trn", "tst"), ("train", "val", "notes"),
])  # fmt: skip
def test_names_of_parts_are_known_in_their_usual_forms(tmp_path, names):
    with pytest.raises(InputError, match="are parts of a data set, not classes"):
        read_images(folders(tmp_path, *names), model(COLOR, len(names)), "auto", 2**30)


@pytest.mark.parametrize("names", [("train", "bus"), ("valid", "invalid"), ("dev", "prod"), ("fold0", "fold1")])
def test_classes_with_such_names_are_classes(tmp_path, names):
    arrays, _ = read_images(folders(tmp_path, *names), model(COLOR, len(names)), "auto", 2**30)
    assert set(arrays["y"].tolist()) == {0, 1}


def folders(root, *names):
    for number, name in enumerate(names):
        saved(root / name, one(number, np.uint8))
    return root


@pytest.mark.parametrize(("names", "says"), [
    (["train/no", "train/yes", "val/no", "val/yes"], "(train, val) are parts of a data set, not classes. Choose one of them, such as '{}/val'"),
    (["train", "val"], "are parts of a data set, not classes"),
    (["Train/no", "Train/yes", "Test/no", "Test/yes"], "are parts of a data set, not classes. Choose one of them, such as '{}/Test'"),
    (["training/a", "validation/a"], "are parts of a data set"),
    (["train/no", "train/yes"], "such as '{}/train'"),
    (["2021/no", "2021/yes", "2022/no", "2022/yes"], "lie one level deeper than its sub-folders (2021/no, 2021/yes, 2022/no, 2022/yes)"),
    (["set/no", "set/yes"], "lie one level deeper"),
    (["0/a", "0/b", "1"], "lie one level deeper than its sub-folders (0/a, 0/b)"),
    (["images", "masks"], "look like images and their truth, not classes"),
    (["00", "0"], "stand for the same class number"),
])  # fmt: skip
def test_sub_folders_that_are_not_classes_are_refused_with_the_choice(tmp_path, names, says):
    with pytest.raises(InputError, match=re.escape(says.format(tmp_path))):
        fed(folders(tmp_path, *names), GRAY)


@pytest.mark.parametrize("names", [["plane", "train"], ["no/images", "yes/images"], ["0", "1"], ["images", "texts"]])
def test_sub_folders_that_are_classes_are_taken(tmp_path, names):
    found = dataset(str(folders(tmp_path, *names)), model(GRAY), 0, 0, demo=False)
    assert sorted(found.test.labels.tolist()) == [0, 1]
    values = (found.test.inputs["x"][:, 0, 0, 0] * 255).round().astype(int)
    assert values.tolist() == found.test.labels.tolist()


def test_the_path_of_every_image_is_handed_on(tmp_path):
    folders(tmp_path, "no", "yes")
    arrays, _ = read_images(tmp_path, model(GRAY), "auto", 2**20)
    assert [int(name.startswith("yes/")) for name in arrays["image files"]] == arrays["y"].tolist()
    assert "not used" not in dataset(str(tmp_path), model(GRAY), 0, 0, demo=False).description


def test_images_beside_the_classes_are_reported(tmp_path):
    folders(tmp_path, "no", "yes")
    saved(tmp_path, one(3, np.uint8))
    images, reported = fed(tmp_path, GRAY)
    assert len(images) == 2
    assert "1 images outside the sub-folders are left out" in reported


def test_a_folder_over_the_limit_is_refused_with_the_option(tmp_path):
    saved(tmp_path, one(3, np.uint8), one(4, np.uint8))
    large = TensorSpec("x", "float32", (None, 512, 512, 1))
    with pytest.raises(
        InputError, match=r"2 images of 512 × 512 take 2\.0 MiB, and the limit is 1\.0 MiB\. .*--data-mib 2\)"
    ):
        dataset(str(tmp_path), model(large), 0, 0, demo=False, data_mib=1)


def test_a_file_of_another_format_starts_no_program(tmp_path, monkeypatch):
    """Pillow gives EPS files to Ghostscript, whatever their names end in."""
    program = tmp_path / "bin" / "gs"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n%%EOF\n")
    with pytest.raises(InputError, match=r"a\.png' cannot be read"):
        dataset(str(folder), model(GRAY), 0, 0, demo=False)
    assert not (tmp_path / "started").exists()

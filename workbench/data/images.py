"""A folder of images as one array, with values scaled to the range of the model's input."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.data.classes import IMAGES, classes, is_image
from workbench.data.inputs import bounds, converted
from workbench.data.limits import check_size
from workbench.errors import InputError, brief
from workbench.records import TEXT, Model, TensorSpec
from workbench.settings.pixels import AUTO, IMAGENET, scaling

if TYPE_CHECKING:
    import numpy as np

FILES = "image files"
"""The array with the path of each image within the folder."""
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
"""Pillow's names of the formats that are read, whatever the file's ending: for others, such as EPS, Pillow would start a program."""
BYTE, WORD = 255.0, 65535.0
"""White in images of 8 and of 16 bits for each channel."""
FLOATS, INTEGERS, WORDS = "of floating-point numbers", "of 32-bit integers", "of 16 bits"
"""Kinds of images by their type, which determines the value of white for the last only."""
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0
"""The tag of a TIFF file that gives the meaning of 0, and its value where 0 is white (TIFF 6.0)."""
FEWER_BITS = (8, 10, 12)
"""Usual depths of cameras and scanners whose values are stored in 16 bits without being scaled to them."""
LEVELS = 16
"""Fewest levels of a range of integers: with fewer, images lose their content."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's training images from 0 to 1, by channel, for torchvision's pretrained models."""


def read_images(folder: Path, model: Model, pixels: str, limit: int) -> tuple[dict[str, np.ndarray], str]:
    """All images below ``folder`` by the name of the model's input, labels as ``y``, paths as :data:`FILES`; and a phrase that
    describes their preparation.

    Images are turned upright (EXIF), converted to the model's number of channels, cropped to the middle and resized
    (bilinear). They are shuffled with a fixed seed. A sub-folder is a class.

    Args:
        folder: the folder.
        model: it takes one input of shape [batch, height, width, channels] or [batch, channels, height, width].
        pixels: the values of black and white, see :mod:`workbench.settings.pixels`. White is 255, in images of 16 bits 65535; in
            images of floating-point numbers 1, 255 or 65535, and in those of 32-bit integers 255 or 65535, the smallest that
            is not below any value of the folder. Of colour images with 16 bits per channel Pillow reads the upper 8.
        limit: largest size of the array, in bytes.

    Raises:
        InputError: the model does not take images, or the folder, an image or ``pixels`` does not fit it.
    """
    import numpy as np

    if len(model.inputs) != 1:
        raise InputError(
            f"A folder of images feeds one input, and the model has {len(model.inputs)}. Give an .npz file with the arrays by name."
        )
    spec = model.inputs[0]
    height, width, channels, first = _layout(spec)
    numbers = classes(folder, model)
    files = _files(folder, numbers)
    size = height * width * channels * np.dtype(spec.dtype).itemsize * len(files)
    what = f"{len(files):,} images of {height} × {width} take"
    check_size(what, size, limit, "give a folder with fewer images")
    depths = _depths_of([path for path, _ in files])
    becomes = _becomes(spec, pixels, set(depths.whites.values()))
    _check_no_bits_lost(depths, spec, folder, pixels)
    _check_white(depths, spec, folder, pixels)
    order = np.random.default_rng(0).permutation(len(files))
    images = np.empty((len(files), *((channels, height, width) if first else (height, width, channels))), spec.dtype)
    for place, number in enumerate(order):
        path = files[number][0]
        pixel = becomes(_shares(path, depths.whites[path], height, width, channels))
        images[place] = pixel.transpose(2, 0, 1) if first else pixel
    names = np.array([files[number][0].relative_to(folder).as_posix() for number in order])
    arrays = {spec.name: images, FILES: names}
    fitted = "of" if depths.sizes == {(width, height)} else "cropped to the middle and resized to"
    text = f"; images {fitted} {width} × {height}, {depths.text} {becomes.text}"
    if list(numbers) != ["."]:
        arrays["y"] = np.array([files[number][1] for number in order])
        text += _classes_text(folder, numbers)
    return arrays, text


def _check_no_bits_lost(depths: _Depths, spec: TensorSpec, folder: Path, pixels: str) -> None:
    if depths.cut and spec.dtype[0] in "iu" and not spec.scale and bounds(spec.dtype)[1] > BYTE and pixels == AUTO:
        raise InputError(
            f"{depths.cut:,} colour images of '{folder}' have 16 bits per channel, of which 8 are read, and the input {spec} takes whole "
            "numbers of more bits. Save the images as an .npz file."
        )


def _check_white(depths: _Depths, spec: TensorSpec, folder: Path, pixels: str) -> None:
    """Refuse images of 16 bits whose values need 12 or fewer, unless the user chose the values of black and white."""
    unchanged = spec.dtype[0] in "iu" and not spec.scale and bounds(spec.dtype)[1] > BYTE
    bits = next((bits for bits in FEWER_BITS if depths.deepest < 2**bits), 0)
    if depths.deepest and bits and not unchanged and pixels == AUTO:
        raise InputError(
            f"The largest value in the images of 16 bits of '{folder}' is {depths.deepest:,.0f}, as in images of {bits} bits, and {WORD:,.0f} "
            f"is taken as white. If white is {2**bits - 1:,}, multiply their values by {2 ** (16 - bits)} or save them as an .npz file; if "
            "they are that dark, set 'pixels' to 0..1 (option --pixels)."
        )


def preparation(spec: TensorSpec, pixels: str) -> dict[str, Any]:
    """How images of 8 bits become an input, as JSON: what :func:`read_images` does to each.

    Returns:
        ``size`` is [width, height], ``mode`` Pillow's, ``layout`` the order of the axes; a value is ``pixel * multiply + add``, with one
        number for each channel. ``round`` says whether it is rounded to a whole number, and ``dtype`` what it is stored as.

    Raises:
        InputError: the input does not take images, or ``pixels`` does not fit it.
    """
    height, width, channels, first = _layout(spec)
    becomes = _becomes(spec, pixels, {BYTE})
    low, high = becomes.ends or (None, None)
    if low is None or high is None:
        scales = [(1 / (BYTE * each), -mean / each) for mean, each in zip(MEAN, DEVIATION, strict=True)][:channels]
    else:
        scales = [((high - low) / BYTE, low)] * channels
    return {
        "steps": [
            "turn upright by EXIF",
            "convert to mode",
            "crop to the middle",
            "resize",
            "multiply and add",
            "order axes",
        ],
        "mode": "L" if channels == 1 else "RGB",
        "size": [width, height],
        "resample": "bilinear",
        "multiply": [multiply for multiply, _ in scales],
        "add": [add for _, add in scales],
        "round": not spec.dtype.startswith(("float", "bfloat")) and (not spec.scale or becomes.stored),
        "quantize": [spec.scale, spec.zero_point] if spec.scale and not becomes.stored else None,
        "layout": "NCHW" if first else "NHWC",
        "dtype": spec.dtype,
    }


def _files(folder: Path, numbers: dict[str, int]) -> list[tuple[Path, int]]:
    """Every image with its class number, in the order of names."""
    files = sorted(
        (path, number) for name, number in numbers.items() for path in (folder / name).rglob("*") if is_image(path)
    )
    if not files:
        raise InputError(
            f"'{folder}' contains no images ({', '.join(IMAGES)}). Add images, in one sub-folder for each class."
        )
    return files


def _classes_text(folder: Path, numbers: dict[str, int]) -> str:
    shown = list(numbers.items())[:5]
    text = f"; classes by folder: {', '.join(f'{name} is {number}' for name, number in shown)}"
    text += " …" if len(numbers) > len(shown) else ""
    outside = sum(is_image(path) for path in folder.iterdir())
    return text + (f"; {outside} images outside the sub-folders are left out" if outside else "")


def _layout(spec: TensorSpec) -> tuple[int, int, int, bool]:
    """Height, width, channels, and whether the channels come first."""
    shape = spec.sized(1)
    if len(shape) != 4 or spec.batch_axis != 0 or spec.dtype in (TEXT, "bool"):
        raise InputError(
            f"The input {spec} does not take images, which have the shape [batch × height × width × channels] or the channels second. "
            "Give an .npz file."
        )
    first = shape[3] not in (1, 3)
    channels, height, width = (shape[1], shape[2], shape[3]) if first else (shape[3], shape[1], shape[2])
    if channels not in (1, 3):
        raise InputError(
            f"Images have 1 or 3 channels, and neither the first nor the last axis of the input {spec} has that size. Give an .npz file."
        )
    return height, width, channels, first


@dataclass(frozen=True)
class _Depths:
    """The depths of the values in the images of a folder."""

    whites: dict[Path, float]  # the value of white in each file
    text: str  # the ranges from 0 to white, for messages
    cut: int  # number of colour images of 16 bits per channel, of which Pillow reads the upper 8
    deepest: float = 0.0  # the largest value in the images of 16 bits
    sizes: frozenset[tuple[int, int]] = frozenset()  # width and height


def _depths_of(files: list[Path]) -> _Depths:
    """The value of white in each file, and the ranges from 0 to white as text."""
    from PIL import Image

    whites: dict[Path, float] = {}
    highest = {FLOATS: 0.0, INTEGERS: 0.0, WORDS: 0.0}
    kinds: dict[Path, str] = {}
    sizes: set[tuple[int, int]] = set()
    cut = 0
    for path in files:
        try:
            with Image.open(path, formats=FORMATS) as image:
                sizes.add(image.size)
                words = ";16" in _stored_as(image)
                deep = _is_deep(image)
                low, high = _ends(image) if deep else (0.0, BYTE)
        except Exception as cause:
            raise _unreadable(path, cause) from cause
        if not 0 <= low <= high <= WORD:  # also true for NaN
            raise InputError(
                f"The image '{path}' holds values from {low:.6g} to {high:.6g}; accepted are 0 to 1, 0 to 255 and 0 to 65535. "
                "Prepare the images as in training and save them as an .npz file."
            )
        whites[path] = WORD if deep else BYTE
        kinds[path] = "of 8 bits" if not deep else FLOATS if image.mode == "F" else WORDS if words else INTEGERS
        cut += words and not deep
        if kinds[path] in highest:
            highest[kinds[path]] = max(highest[kinds[path]], high)
    deepest = highest.pop(WORDS)
    for kind, most in highest.items():
        white = next(each for each in (1.0, BYTE, WORD) if most <= each and (kind == FLOATS or each > 1))
        whites |= {path: white for path, found in kinds.items() if found == kind}
    return _Depths(whites, _depths_text(whites, kinds, cut), cut, deepest, frozenset(sizes))


def _depths_text(whites: dict[Path, float], kinds: dict[Path, str], cut: int) -> str:
    found = Counter((white, kinds[path]) for path, white in whites.items())
    text = ", ".join(f"0 to {white:.0f} ({count:,} {kind})" for (white, kind), count in sorted(found.items()))
    text = "0 to 255" if list(found) == [(BYTE, "of 8 bits")] else text
    return text + (f" ({cut:,} colour images of 16 bits per channel, read at 8 bits)" if cut else "")


def _is_deep(image: Any) -> bool:
    """Whether Pillow holds the values of an image in more than 8 bits."""
    return bool(image.mode == "F" or image.mode.startswith("I"))


def _stored_as(image: Any) -> str:
    """Pillow's name of the form in which a file stores its values, such as "RGB;16B"; "" where the format has none.

    It is the first of the arguments of the decoder (``Image.tile``).
    """
    arguments = image.tile[0][3] if image.tile else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _ends(image: Any) -> tuple[float, float]:
    """The smallest and largest value of an image of more than 8 bits; NaN where a value is NaN."""
    import numpy as np

    values = np.asarray(image)
    return float(values.min()), float(values.max())


def _unreadable(path: Path, cause: Exception) -> InputError:
    return InputError(f"The image '{path}' cannot be read: {brief(cause, 150)}. Remove it from the folder.")


def _shares(path: Path, white: float, height: int, width: int, channels: int) -> np.ndarray:
    """One image, float32, [height, width, channels], 0 is black and 1 is white."""
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(path, formats=FORMATS) as image:
            deep = _is_deep(image)
            # Pillow inverts 8 bits only
            inverted = deep and getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO
            upright = ImageOps.exif_transpose(image)
            if deep:  # Pillow would clip such values at 255
                values = np.asarray(upright).astype(np.float32)
                upright = Image.fromarray(np.float32(white) - values if inverted else values)
            else:
                upright = upright.convert("L" if channels == 1 else "RGB")
            fitted = np.asarray(ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR), np.float32)
    except Exception as cause:
        raise _unreadable(path, cause) from cause
    values = np.broadcast_to(fitted[..., None], (height, width, channels)) if fitted.ndim == 2 else fitted
    return np.asarray(values / np.float32(white))


@dataclass(frozen=True)
class _Becomes:
    """The conversion from shares of white to values of the input."""

    spec: TensorSpec
    ends: tuple[float, float] | None  # the values of black and white; None: ImageNet's mean and deviation
    text: str
    stored: bool = False  # the ends are the stored integers of a quantized file

    def __call__(self, shares: np.ndarray) -> np.ndarray:
        import numpy as np

        if self.ends is None:
            channels = shares.shape[-1]
            mean, deviation = (np.array(each[:channels], np.float32) for each in (MEAN, DEVIATION))
            values = (shares - mean) / deviation
        else:
            values = shares * np.float32(self.ends[1] - self.ends[0]) + np.float32(self.ends[0])
        if self.spec.dtype.startswith(("float", "bfloat")):
            return np.asarray(values.astype(self.spec.dtype))
        if self.spec.scale and not self.stored:
            return converted(self.spec, values, f"an image scaled to {self.text.removeprefix('as ')}")
        return np.asarray(np.round(values).astype(self.spec.dtype))


def _becomes(spec: TensorSpec, pixels: str, whites: set[float]) -> _Becomes:
    """The conversion that ``pixels`` means for this input and images with these values of white.

    Raises:
        InputError: the input holds whole numbers, and the range does not fit them.
    """
    ends = scaling(pixels)
    if spec.dtype.startswith(("float", "bfloat")):
        if pixels == AUTO and spec.low is not None and spec.high is not None:
            return _Becomes(
                spec, (spec.low, spec.high), f"as {spec.low:g}..{spec.high:g}, which the model itself scales"
            )
        return _Becomes(spec, ends, f"as {'0..1' if pixels == AUTO else pixels}")
    low, high = bounds(spec.dtype)
    if spec.scale:
        if pixels != AUTO or high - low != BYTE:
            return _Becomes(spec, ends, f"as {'0..1' if pixels == AUTO else pixels}")
        real = [spec.scale * (end - spec.zero_point) for end in (low, high)]
        text = f"as the stored {low}..{high}, which stand for {real[0]:.4g}..{real[1]:.4g}"
        return _Becomes(spec, (low, high), text, stored=True)
    if pixels == AUTO:
        return _whole(spec, whites, (low, high))
    if ends is None or pixels == IMAGENET or any(end != round(end) for end in ends) or ends[1] - ends[0] < LEVELS - 1:
        raise InputError(
            f"The input {spec} takes whole numbers, and 'pixels' is '{pixels}', which leaves too few levels after rounding. Give 0..255 "
            "(option --pixels), or auto."
        )
    if ends[0] < low or ends[1] > high:
        raise InputError(
            f"The input {spec} takes {low} to {high}, and 'pixels' is '{pixels}'. Give a range within these limits (option --pixels)."
        )
    return _Becomes(spec, ends, f"as {pixels}")


def _whole(spec: TensorSpec, whites: set[float], held: tuple[int, int]) -> _Becomes:
    """Unchanged pixels for an input of integers; 16 bits are scaled to 0 to 255 where the input type holds no more."""
    deepest = max(whites)
    white = BYTE if held[1] == BYTE or deepest <= BYTE else WORD
    if len(whites) > 1 and white != BYTE:
        raise InputError(
            f"The folder contains images of different depths, and the input {spec} takes whole numbers. Give one range for all of "
            "them, such as 0..255 (option --pixels)."
        )
    if white > held[1]:
        raise InputError(
            f"The input {spec} takes {held[0]} to {held[1]}, and pixels go up to {white:.0f}. Give the values of black and white, such as "
            f"{held[0]}..{held[1]} (option --pixels)."
        )
    return _Becomes(spec, (0.0, white), "as they are" if whites == {white} else f"as 0..{white:.0f}")

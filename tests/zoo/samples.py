"""Inputs like those that each model of the zoo was trained for, made rather than downloaded: arrays by input name.

Every array has one sample per row of its first axis, whatever axis the model counts samples on; inputs without a batch
are given as they are fed. Class numbers, where they follow from how a sample was made, are called ``y``. How inputs are
scaled is what the code beside each model does.
"""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

Arrays = dict[str, "np.ndarray"]

AUDIO_LENGTH, AUDIO_RATE = 43_844, 22_050
FONTS = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "STIXGeneral.ttf")
PALACE, DAISY = 698, 985  # ImageNet's numbers
WORDS = (  # noqa: SIM905 - forty quoted words would be no easier to read
    "permission is hereby granted free of charge to any person obtaining a copy of this software and associated "
    "documentation files The above copyright notice shall be included in all copies or substantial portions Section 4 "
    "Redistribution WARRANTY 2024 Invoice No. 31572 Total 18.90 EUR"
).split()


def chords(count: int) -> Arrays:
    """Two seconds of one to three notes, each with its overtones and its decay: float32 [n, 43844, 1], -1 to 1."""
    import numpy as np

    rng = np.random.default_rng(1)
    t = np.arange(AUDIO_LENGTH) / AUDIO_RATE
    rows = np.zeros((count, AUDIO_LENGTH), np.float32)
    for row in rows:
        sound = np.zeros_like(t)
        for note in rng.choice(np.arange(40, 84), rng.integers(1, 4), replace=False):
            frequency = 440 * 2 ** ((note - 69) / 12)  # equal temperament: MIDI note 69 is 440 Hz
            begin = rng.uniform(0, 0.8)
            loud = np.where(t >= begin, np.exp(-2 * (t - begin)), 0)
            sound += sum(loud * np.sin(2 * np.pi * frequency * k * t) / k**1.5 for k in (1, 2, 3, 4))
        row[:] = 0.7 * sound / np.abs(sound).max()
    rows += rng.normal(0, 1e-3, rows.shape).astype(np.float32)  # recordings are never quite silent
    return {"x": rows[:, :, None]}


def voice(count: int, size: int) -> Arrays:
    """Frames at 16 kHz, every other one voiced (a buzz through formants), the rest faint noise; a state of zeros.

    ``input`` is float32 [n, size], the state float32 [n, 2, 128], ``sr`` int64 without axes. Without
    labels: from a state of zeros one frame is too short to be recognized as a voice.
    """
    import numpy as np
    from scipy.signal import lfilter

    rng = np.random.default_rng(2)
    rows = rng.normal(0, 1e-3, (count, size)).astype(np.float32)
    voiced = np.arange(count) % 2 == 0
    for row in rows[voiced]:
        t = np.arange(size + 800) / 16_000  # the first 50 ms are left out: the filters begin at rest
        pitch = rng.uniform(90, 220)
        buzz = np.where(np.diff(np.floor(pitch * t), prepend=-1) > 0, 1.0, 0.0) + rng.normal(0, 0.01, t.size)
        for formant, width in ((rng.uniform(300, 800), 80), (rng.uniform(900, 2200), 110), (2600, 160)):
            radius = np.exp(-np.pi * width / 16_000)
            buzz = lfilter([1], [1, -2 * radius * np.cos(2 * np.pi * formant / 16_000), radius**2], buzz)
        buzz = buzz[-size:]
        row[:] = row + 0.4 * buzz / np.abs(buzz).max()
    zeros = np.zeros((count, 2, 128), np.float32)
    return {"input": rows, "state": zeros, "sr": np.array(16_000, np.int64)}


def text_lines(count: int, width: int, upside_down: bool) -> Arrays:
    """Words on a light ground, 48 high, scaled to -1..1, zeros to the right: ``x`` float32 [n, 3, 48, width].

    With ``upside_down`` every other line is turned by 180 degrees before it is scaled, and ``y`` is 1 for those.
    """
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(3)
    rows = np.zeros((count, 3, 48, width), np.float32)
    turned = np.arange(count) % 2 if upside_down else np.zeros(count, int)
    for row, turn in zip(rows, turned, strict=True):
        line = _line(" ".join(rng.choice(WORDS, rng.integers(2, 4))), rng)
        wide = min(width, round(48 * line.width / line.height))
        line = line.resize((wide, 48), Image.Resampling.BILINEAR)
        pixels = np.asarray(line.rotate(180) if turn else line, np.float32)
        row[:, :, :wide] = (pixels / 127.5 - 1).transpose(2, 0, 1)
    return {"x": rows} | ({"y": turned.astype(np.int64)} if upside_down else {})


def text_pages(count: int, size: int) -> Arrays:
    """Several lines on a page, scaled to -1..1: ``x`` float32 [n, 3, size, size]."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(4)
    rows = np.empty((count, 3, size, size), np.float32)
    for row in rows:
        page = Image.new("RGB", (size, size), tuple(int(v) for v in rng.integers(225, 256, 3)))
        top = int(rng.integers(5, 40))
        while top < size - 40:
            line = _line(" ".join(rng.choice(WORDS, rng.integers(1, 5))), rng)
            high = int(rng.integers(16, 36))
            line = line.resize((round(high * line.width / line.height), high), Image.Resampling.BILINEAR)
            page.paste(line, (int(rng.integers(0, size // 3)), top))
            top += high + int(rng.integers(4, 40))
        row[:] = (np.asarray(page, np.float32) / 127.5 - 1).transpose(2, 0, 1)
    return {"x": rows}


def _line(text: str, rng: np.random.Generator) -> Image:
    """Dark text on a light ground with a few pixels around it, in one of matplotlib's own fonts."""
    import matplotlib as mpl
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(Path(mpl.get_data_path(), "fonts", "ttf", str(rng.choice(FONTS))), 40)
    left, top, right, bottom = font.getbbox(text)
    ground, ink = (tuple(int(v) for v in rng.integers(low, high, 3)) for low, high in ((225, 256), (0, 90)))
    image = Image.new("RGB", (int(right - left) + 16, int(bottom - top) + 12), ground)
    ImageDraw.Draw(image).text((8 - left, 6 - top), text, font=font, fill=ink)
    return image


def file_bytes(count: int, config: Path) -> Arrays:
    """First and last 1,024 bytes of small files of kinds with a known name: ``bytes`` int32 [n, 2048], ``y`` their kind.

    White space at both ends does not count, and 256 stands where a file is too short.
    """
    import numpy as np

    kinds = json.loads(config.read_text(encoding="utf-8"))["target_labels_space"]
    makers = list(_files().items())
    rows, labels = np.full((count, 2048), 256, np.int32), np.empty(count, np.int64)
    for number, row in enumerate(rows):
        kind, make = makers[number % len(makers)]
        content = make(np.random.default_rng(number))
        first, last = content[:4096].lstrip()[:1024], content[-4096:].rstrip()[-1024:]
        if len(content) <= 4096:
            first, last = content.strip()[:1024], content.strip()[-1024:]
        row[: len(first)], row[2048 - len(last) :] = list(first), list(last)
        labels[number] = kinds.index(kind)
    return {"bytes": rows, "y": labels}


def _files() -> dict[str, Callable[[np.random.Generator], bytes]]:
    """Writers of small files by kind; every call gives another file."""
    return {
        "python": _python,
        "html": _page,
        "csv": _table,
        "json": _data,
        "png": partial(_picture, "png"),
        "jpeg": partial(_picture, "jpeg"),
        "zip": _archive,
        "gzip": _packed,
    }


def _words(rng: np.random.Generator, number: int) -> list[str]:
    return [str(word).strip(".").lower() for word in rng.choice(WORDS, number)]


def _python(rng: np.random.Generator) -> bytes:
    lines = ["import os", "import sys", ""]
    for a, b in zip(_words(rng, 15), _words(rng, 15), strict=True):
        lines += [f"def {a}({b}, size=None):", f"    if {b} is None:", f"        raise ValueError('{a}')"]
        lines += [f"    return os.path.join({b}, '{a}')", "", ""]
    return "\n".join(lines).encode()


def _page(rng: np.random.Generator) -> bytes:
    head = f"<!DOCTYPE html>\n<html>\n<head><title>{_words(rng, 1)[0]}</title></head>\n<body>\n"
    rows = "".join(f"<p class='{a}'>{' '.join(_words(rng, 12))}</p>\n" for a in _words(rng, 20))
    return f"{head}{rows}</body>\n</html>".encode()


def _table(rng: np.random.Generator) -> bytes:
    rows = [f"{word},{rng.integers(100)},{rng.uniform(1, 9):.2f}" for word in _words(rng, 80)]
    return "\r\n".join(["name,count,price", *rows]).encode()


def _data(rng: np.random.Generator) -> bytes:
    return json.dumps([{"name": word, "size": int(rng.integers(999))} for word in _words(rng, 80)], indent=2).encode()


def _picture(kind: str, rng: np.random.Generator) -> bytes:
    import numpy as np
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(file, kind)
    return file.getvalue()


def _archive(rng: np.random.Generator) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zipped:
        for number, word in enumerate(_words(rng, 6)):
            zipped.writestr(f"{number}-{word}.txt", " ".join(_words(rng, 200)))
    return file.getvalue()


def _packed(rng: np.random.Generator) -> bytes:
    return gzip.compress(" ".join(_words(rng, 900)).encode(), mtime=0)


def photo_crops(count: int, size: int, *, low: float) -> Arrays:
    """Random square crops of scikit-learn's two photographs, scaled from ``low`` to 1: ``x`` float32 [n, size, size, 3].

    ``y`` is the ImageNet class of what the photograph shows, a palace or a daisy.
    """
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(5)
    rows = np.empty((count, size, size, 3), np.float32)
    photos = list(photographs())
    labels = np.array([PALACE, DAISY], np.int64)[np.arange(count) % len(photos)]
    for number, row in enumerate(rows):
        photo = photos[number % len(photos)]
        side = int(rng.uniform(0.6, 1) * min(photo.size))
        left, top = (int(rng.integers(0, length - side + 1)) for length in photo.size)
        crop = photo.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
        row[:] = low + np.asarray(crop, np.float32) * (1 - low) / 255
    return {"x": rows, "y": labels}


def photographs() -> Iterator[Image]:
    """A palace in China and a flower, RGB; scikit-learn ships them."""
    import sklearn
    from PIL import Image

    for file in ("china.jpg", "flower.jpg"):
        yield Image.open(Path(sklearn.__file__).parent / "datasets" / "images" / file).convert("RGB")


def drawn_faces(count: int, size: int, *, gray: bool, low: float) -> Arrays:
    """Drawn faces of many expressions, float32 [n, size, size, 3 or 1] from ``low`` to 1."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFilter

    rng = np.random.default_rng(6)
    rows = np.empty((count, size, size, 1 if gray else 3), np.float32)
    for row in rows:
        skin, dark = int(rng.integers(150, 240)), int(rng.integers(10, 60))
        image = Image.new("RGB", (128, 128), (int(rng.integers(40, 140)),) * 3)
        draw = ImageDraw.Draw(image)
        draw.ellipse((14, 4, 114, 126), fill=(skin, int(skin * 0.85), int(skin * 0.75)))
        draw.pieslice((12, -20, 116, 60), 180, 360, fill=(dark,) * 3)  # hair
        open_eyes, brow, smile = rng.integers(2, 9), rng.integers(-6, 7), rng.integers(-14, 15)
        for x, inward in ((44, 1), (84, -1)):
            draw.ellipse((x - 9, 54 - open_eyes, x + 9, 54 + open_eyes), fill=(245, 245, 245))
            draw.ellipse((x - 4, 50, x + 4, 58), fill=(dark,) * 3)
            draw.line((x - 11, 40 - inward * brow, x + 11, 40 + inward * brow), fill=(dark,) * 3, width=4)
        draw.polygon((64, 58, 57, 80, 71, 80), fill=(int(skin * 0.8),) * 3)
        mouth = [(40 + 4 * i, 98 + smile * (1 - ((i - 6) / 6) ** 2)) for i in range(13)]
        draw.line([(x, float(y)) for x, y in mouth], fill=(120, 30, 30), width=int(rng.integers(3, 9)))
        image = image.rotate(float(rng.uniform(-12, 12))).filter(ImageFilter.GaussianBlur(1.2))
        image = image.resize((size, size), Image.Resampling.BILINEAR)
        pixels = np.asarray(image.convert("L") if gray else image, np.float32).reshape(size, size, -1)
        row[:] = low + pixels * (1 - low) / 255
    return {"x": rows}

"""Mutants of small data files: arrays, a table, and a folder of images."""

from __future__ import annotations

import io
import shutil
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzzing import Draw, bytes_mutant
from PIL import Image

from workbench.records import Model, TensorSpec
from workbench.runs.sources import data_of
from workbench.settings.experiment import Experiment

ROWS, CLASSES = 24, 3
INPUTS = {"npz": (None, 4, 4, 1), "csv": (None, 4), "images": (None, 4, 4, 3)}
"""The shape of the one input of the model that each kind of data feeds."""


def originals(folder: Path) -> dict[str, Path]:
    """A sound file or folder of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    made = {"npz": folder / "d.npz", "csv": folder / "d.csv", "images": folder / "d"}
    x, y = draw.random((ROWS, 4, 4, 1), np.float32), draw.integers(0, CLASSES, ROWS)
    np.savez(made["npz"], x=x, y=y)
    lines = ["x_0,x_1,x_2,x_3,y", *(",".join([*map(str, draw.random(4).round(3)), str(label)]) for label in y)]
    made["csv"].write_text("\n".join(lines) + "\n")
    for number, name in enumerate(("a.png", "b.png", "c.jpg", "d.bmp", "e.gif", "f.tif")):
        into = made["images"] / f"class{number % CLASSES}"
        into.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (6, 6, 3)).astype(np.uint8)).save(into / name)
    return made


def opens(kind: str) -> Callable[[Path], object]:
    """What reads a data file as a run does, for a model with the input that this kind feeds."""
    spec, output = TensorSpec("x", "float32", INPUTS[kind]), TensorSpec("o", "float32", (None, CLASSES))
    model = Model("m", "m.onnx", "onnx", (spec,), (output,), 1, 1, "d")

    def reads(path: Path) -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # NumPy's, such as of a number that does not fit
            return data_of(Experiment(model="m.onnx", data=str(path), calibration_samples=4), model, calibrating=True)

    return reads


def npz_mutant(content: bytes, draw: Draw) -> bytes:
    """The archive packed again around a changed part, so that its checksums are right; or its bytes changed."""
    if draw.random() < 0.3:
        return bytes_mutant(content, draw)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name, kind = draw.choice(sorted(parts)), draw.randrange(6)
    if kind == 0:
        parts[draw.choice(("../x.npy", "/x.npy", "x", "x.npy/", " ", "x" * 300 + ".npy", "\x1b[2J.npy"))] = parts.pop(
            name
        )
    elif kind == 1:
        parts[name] = bytes_mutant(parts[name], draw)
    elif kind == 2:
        parts[name] = _header_mutant(parts[name], draw)
    elif kind == 3:
        parts[name] = _odd_array(draw)
    elif kind == 4:
        del parts[name]
    else:
        parts[draw.choice(("y_boxes.npy", "calibration_x.npy", "labels.npy", "y_class.npy"))] = _odd_array(draw)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", draw.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for each, data in parts.items():
            archive.writestr(each, data)
    return packed.getvalue()


def _header_mutant(part: bytes, draw: Draw) -> bytes:
    """An array whose header says something else than its bytes."""
    swaps = (
        (b"(24,", draw.choice((b"(-1,", b"(0, ", b"(9**9,", b"(2**62,", b"(True,", b"('a',", b"(24.0,"))),
        (b"<f4", draw.choice((b"|O", b"<f8", b">f4", b"<c8", b"<U4", b"|V4", b"<M8[s]", b"|b1", b"<f2"))),
        (b"<i8", draw.choice((b"|O", b"<u8", b"<U2", b"|b1", b"<f8"))),
        (b"False", draw.choice((b"True ", b"None ", b"1/0  "))),
    )
    old, new = draw.choice(swaps)
    return part.replace(old, new.ljust(len(old)), 1)


def _odd_array(draw: Draw) -> bytes:
    """A valid array of an unexpected kind."""
    values = draw.choice((
        np.float32(1), np.zeros(0), np.zeros((0, 4, 4, 1), np.float32), np.full((ROWS, 4, 4, 1), np.nan),
        np.full((ROWS, 4, 4, 1), 1e308), np.arange(ROWS) * 10**15, -np.arange(ROWS), np.array(["ü\n"] * ROWS),
        np.array([b"\xff"] * ROWS), np.zeros(ROWS, "M8[s]"), np.zeros(ROWS, complex), np.zeros((ROWS,) + (1,) * 20),
        np.zeros(ROWS, [("a", "f4"), ("b", "i4")]), np.zeros((ROWS, 3)), np.array([True] * ROWS), np.zeros(10**6, np.int8),
    ))  # fmt: skip
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


CELLS = (
    "",
    "NaN",
    "1e999",
    "-1",
    "9" * 400,
    "0x10",
    "1_000",
    "1,5",
    '"',
    '"a',
    "\x00",
    "ü",
    "\u202e",
    "True",
    "=1+1",
    " ",
    "1 2",
    "\t",
)


def csv_mutant(content: bytes, draw: Draw) -> bytes:
    """A table with cells, lines, separators, line ends or its encoding changed; or its bytes."""
    if draw.random() < 0.3:
        return bytes_mutant(content, draw)
    rows = [line.split(",") for line in content.decode().splitlines()]
    for _ in range(draw.choice((1, 1, 2, 5))):
        row, kind = draw.choice(rows), draw.randrange(6)
        if kind <= 1 and row:
            row[draw.randrange(len(row))] = draw.choice(CELLS)
        elif kind == 2:
            rows[0] = [draw.choice((name, "x", "y", "", "x_0")) for name in rows[0]]
        elif kind == 3:
            rows.insert(draw.randrange(len(rows)), draw.choice(([], ["#"], ["1"] * 400, ['"' + "a" * 5000])))
        elif kind == 4:
            del rows[draw.randrange(1, len(rows)) :]
        else:
            del row[draw.randrange(len(row) + 1) :]
    text = draw.choice(("\n", "\r\n", "\r")).join(draw.choice((",", ",", ";", "\t", "|")).join(row) for row in rows)
    encoding = draw.choice(("utf-8", "utf-8", "utf-16", "latin-1", "utf-8-sig", "utf-32", "utf-7"))
    return text.encode(encoding, errors="replace")


def image_mutant(content: bytes, draw: Draw) -> bytes:
    """An image with its bytes changed; of a PNG also a chunk with the right checksum."""
    if not content.startswith(b"\x89PNG") or draw.random() < 0.4:
        return bytes_mutant(content, draw)
    chunks, place = [], 8
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    number = draw.randrange(len(chunks))
    name, data = chunks[number]
    kind = draw.randrange(4)
    if kind == 0:
        chunks[number] = (name, bytes_mutant(data, draw))
    elif kind == 1:
        sizes = (0, 1, 6, 2**16, 2**31 - 1)
        chunks[0] = (b"IHDR", struct.pack(">II", draw.choice(sizes), draw.choice(sizes)) + data[8:13].ljust(5, b"\0"))
    elif kind == 2:
        chunks[0] = (
            b"IHDR",
            content[16:24] + bytes([draw.choice((1, 2, 8, 16, 99)), draw.randrange(8), 0, 0, draw.randrange(3)]),
        )
    else:
        chunks.insert(number, (draw.choice((b"zTXt", b"iCCP", b"tRNS", b"eXIf", b"acTL", b"IEND")), draw.randbytes(40)))
    packed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return content[:8] + b"".join(packed)


def write(kind: str, original: Path, into: Path, draw: Draw) -> Path:
    """One mutant of ``original`` in the folder ``into``."""
    place = into / original.name
    if kind != "images":
        place.write_bytes({"npz": npz_mutant, "csv": csv_mutant}[kind](original.read_bytes(), draw))
        return place
    shutil.copytree(original, place)
    files = sorted(path for path in place.rglob("*") if path.is_file())
    chosen, how = draw.choice(files), draw.random()
    if how < 0.8:
        chosen.write_bytes(image_mutant(chosen.read_bytes(), draw))
    elif how < 0.9:
        chosen.rename(chosen.with_suffix(draw.choice((".png", ".gif", ".tif", ".txt", ".PNG", ".npy"))))
    else:
        (chosen.parent / draw.choice(("\x1b[2J.png", "a\nb.png", "-rf.png", "\udcff.png"))).write_bytes(
            chosen.read_bytes()
        )
    return place

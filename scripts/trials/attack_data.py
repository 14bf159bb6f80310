"""Data that are made to do harm when they are read: start a program, read elsewhere, or take all memory or time.

Each function writes a file or folder into ``folder`` and returns its path.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import trial_model

Make = Callable[[Path, Path], Path]


def _npz(folder: Path, **parts: bytes) -> Path:
    """An ``.npz`` file with a sound ``x`` and other parts as they are given."""
    sound = io.BytesIO()
    np.save(sound, trial_model.samples(4))
    with zipfile.ZipFile(folder / "d.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", sound.getvalue())
        for name, content in parts.items():
            archive.writestr(f"{name}.npy", content)
    return folder / "d.npz"


def _npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def npz_nested_header(folder: Path, _target: Path) -> Path:
    """A header of many brackets, which Python's parser would go down into."""
    return _npz(folder, y=_npy("{'descr': " + "(" * 9000 + "}"))


def npz_header_is_a_program(folder: Path, target: Path) -> Path:
    return _npz(
        folder,
        y=_npy(
            f"{{'descr': __import__('os').system('touch {target}/planted'), 'fortran_order': False, 'shape': (4,)}}"
        ),
    )


def npz_objects(folder: Path, _target: Path) -> Path:
    """A structure with a field of Python objects, which would be unpickled."""
    return _npz(
        folder, y=_npy("{'descr': [('a', '<f4'), ('b', '|O')], 'fortran_order': False, 'shape': (4,)}", b"\x80\x04N.")
    )


def npz_grows(folder: Path, _target: Path) -> Path:
    """Zeros that unpack to 2 GiB."""
    path = _npz(folder)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("y.npy", "w", force_zip64=True) as part,
    ):
        part.write(_npy("{'descr': '|i1', 'fortran_order': False, 'shape': (2147483648,)}"))
        for _ in range(2**31 // 2**24):
            part.write(bytes(2**24))
    return path


def npz_is_a_pipe(folder: Path, _target: Path) -> Path:
    os.mkfifo(folder / "d.npz")
    return folder / "d.npz"


def npz_is_a_device(folder: Path, _target: Path) -> Path:
    (folder / "d.npz").symlink_to("/dev/zero")
    return folder / "d.npz"


def csv_is_a_device(folder: Path, _target: Path) -> Path:
    (folder / "d.csv").symlink_to("/dev/zero")
    return folder / "d.csv"


def csv_one_long_line(folder: Path, _target: Path) -> Path:
    """A line of 4 GiB without an end, which takes no space on the disk."""
    with (folder / "d.csv").open("wb") as file:
        file.write(b"x_0,y\n")
        file.truncate(2**32)
    return folder / "d.csv"


def csv_many_columns(folder: Path, _target: Path) -> Path:
    """Two lines of a million cells."""
    (folder / "d.csv").write_text(",".join(f"x_{n}" for n in range(10**6)) + "\n" + ",".join(["0"] * 10**6) + "\n")
    return folder / "d.csv"


def _images(folder: Path) -> Path:
    (folder / "d").mkdir()
    return folder / "d"


def image_is_a_program(folder: Path, _target: Path) -> Path:
    """A program in PostScript under the name of an image, which Pillow would give to Ghostscript."""
    place = _images(folder)
    (place / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    return place


def _png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    whole = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), *chunks, (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in whole
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def image_of_many_pixels(folder: Path, _target: Path) -> Path:
    """A picture of 4 thousand million pixels in a few kilobytes."""
    place = _images(folder)
    (place / "a.png").write_bytes(_png(65000, 65000, (b"IDAT", zlib.compress(bytes(10**6)))))
    return place


def image_text_grows(folder: Path, _target: Path) -> Path:
    """A remark in a picture that unpacks to 1 GiB."""
    place = _images(folder)
    packer = zlib.compressobj()
    text = b"".join(packer.compress(bytes(2**24)) for _ in range(64)) + packer.flush()
    (place / "a.png").write_bytes(_png(8, 8, (b"zTXt", b"a\0\0" + text), (b"IDAT", zlib.compress(bytes(72)))))
    return place


def image_is_a_pipe(folder: Path, _target: Path) -> Path:
    place = _images(folder)
    os.mkfifo(place / "a.png")
    return place


def image_links(folder: Path, target: Path) -> Path:
    """Links to a file that is not an image, to nothing and to itself."""
    place = _images(folder)
    for name, to in (("a.png", str(target / "secret")), ("b.png", "/nonexistent"), ("c.png", "c.png")):
        (place / name).symlink_to(to)
    return place


def folder_holds_itself(folder: Path, _target: Path) -> Path:
    """A folder with links to itself."""
    place = _images(folder)
    (place / "0").symlink_to(".")
    (place / "1").symlink_to("..")
    (place / "a.png").write_bytes(_png(8, 8, (b"IDAT", zlib.compress(bytes(72)))))
    return place


def npz_size_overflows(folder: Path, _target: Path) -> Path:
    """A part of 2^64 values, whose number of bytes is 0 in 64 bits."""
    return _npz(folder, y=_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}"))


def npz_many_parts(folder: Path, _target: Path) -> Path:
    """Ten thousand parts."""
    part = _npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4,)}", bytes(16))
    return _npz(folder, **{f"y{n}": part for n in range(10**4)})


def csv_many_digits(folder: Path, _target: Path) -> Path:
    """A label of ten million digits."""
    (folder / "d.csv").write_text("x_0,y\n1.0," + "9" * 10**7 + "\n")
    return folder / "d.csv"


def image_profile_grows(folder: Path, _target: Path) -> Path:
    """A description of colours in a picture that unpacks to 1 GiB."""
    place = _images(folder)
    packer = zlib.compressobj()
    profile = b"".join(packer.compress(bytes(2**24)) for _ in range(64)) + packer.flush()
    (place / "a.png").write_bytes(_png(8, 8, (b"iCCP", b"a\0\0" + profile), (b"IDAT", zlib.compress(bytes(72)))))
    return place


DATA: dict[str, Make] = {
    make.__name__: make
    for make in (
        npz_nested_header, npz_header_is_a_program, npz_objects, npz_grows, npz_is_a_pipe, npz_is_a_device, csv_is_a_device,
        csv_one_long_line, csv_many_columns, image_is_a_program, image_of_many_pixels, image_text_grows, image_is_a_pipe,
        image_links, folder_holds_itself, npz_size_overflows, npz_many_parts, csv_many_digits, image_profile_grows,
    )
}  # fmt: skip

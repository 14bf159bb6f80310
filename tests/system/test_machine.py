import importlib.util
from dataclasses import replace

import pytest

from workbench.system import machine


def test_the_gpu_comes_with_its_driver(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "NVIDIA", tmp_path)
    assert machine._gpu() == ""
    (tmp_path / "gpus" / "0000:00:06.0").mkdir(parents=True)
    (tmp_path / "gpus" / "0000:00:06.0" / "information").write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ: 33\n")
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (root)\n"
        "GCC version:  gcc version 15.3.0 (GCC)\n"
    )
    assert machine._gpu() == "NVIDIA H100 80GB HBM3, driver 580.159.04"


@pytest.mark.parametrize(
    ("kind", "instructions", "expected"),
    [("x86_64", ("avx2",), True), ("x86_64", ("avx2", "avx512_vnni"), False), ("aarch64", ("asimd",), False)],
)
def test_8_bit_products_saturate_on_x86_without_vnni(kind, instructions, expected, monkeypatch):
    here = replace(machine.this_machine(), instructions=instructions)
    monkeypatch.setattr(machine, "this_machine", lambda: here)
    monkeypatch.setattr(machine.platform, "machine", lambda: kind)
    assert machine.int8_saturates() is expected


def test_a_folder_that_has_the_name_of_a_package_is_none(tmp_path, monkeypatch):
    (tmp_path / "some_engine_library").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert importlib.util.find_spec("some_engine_library")
    assert not machine.is_package("some_engine_library")
    assert machine.is_package("numpy")
    assert not machine.is_package("no_such_package")

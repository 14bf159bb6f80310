"""Which of the two packages of ONNX Runtime the files belong to, by pip's records."""

from importlib import metadata

import pytest

from workbench import backends, cli
from workbench.backends.onnxruntime import backend
from workbench.backends.onnxruntime.session import GPU_PACKAGE, REPAIR, overwritten
from workbench.protocols import AVAILABLE


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package with the CUDA provider as pip leaves it: files, and a RECORD of their sizes."""
    notes, capi = tmp_path / "onnxruntime_gpu-1.31.1.dist-info", tmp_path / "onnxruntime" / "capi"
    notes.mkdir()
    capi.mkdir(parents=True)
    (notes / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {GPU_PACKAGE}\nVersion: 1.31.1\n")
    for name in ("libonnxruntime_providers_cuda.so", "onnxruntime_pybind11_state.so"):
        (capi / name).write_bytes(b"of the GPU package")
    (capi / "_pybind_state.py").write_text("")
    lines = [f"onnxruntime/capi/{file.name},sha256=x,{file.stat().st_size}" for file in capi.iterdir()]
    (notes / "RECORD").write_text("\n".join(lines))
    monkeypatch.setattr(metadata, "files", lambda name: metadata.Distribution.at(notes).files)
    return capi


def test_files_as_they_were_installed_are_not_overwritten(installed):
    (installed / "_pybind_state.py").write_text("both packages have the same, up to a line")
    assert not overwritten()


@pytest.mark.parametrize("name", ["onnxruntime_pybind11_state.so", "libonnxruntime_providers_cuda.so"])
def test_the_other_package_over_it_is_noticed(installed, name):
    (installed / name).write_bytes(b"of the CPU package, of another size")
    assert overwritten()
    (installed / name).unlink()
    assert overwritten()


def test_without_the_package_nothing_was_overwritten():
    try:
        metadata.version(GPU_PACKAGE)
    except metadata.PackageNotFoundError:
        assert not overwritten()


def test_the_backend_names_the_line_that_repairs_it(monkeypatch, tmp_path):
    """The provider's library lies there still; only the sizes tell."""
    (tmp_path / "capi").mkdir()
    (tmp_path / "capi" / "libonnxruntime_providers_cuda.so").touch()
    spec = type("Spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr(backend, "find_spec", lambda _: spec)
    monkeypatch.setattr(backend.gpu, "here", lambda: AVAILABLE)
    monkeypatch.setattr(backend, "overwritten", lambda: True)
    able = backends.get("onnxruntime").status("cuda")
    assert able.reason == "the package 'onnxruntime' was installed over 'onnxruntime-gpu' and replaced its files"
    assert able.fix == REPAIR == "pip install --force-reinstall --no-deps onnxruntime-gpu"
    assert backends.get("onnxruntime").status()  # on the CPU either runs
    monkeypatch.setattr(backend, "overwritten", lambda: False)
    assert backends.get("onnxruntime").status("cuda")


def test_the_doctor_tells_it_too(monkeypatch, tmp_path, capsys):
    for found in (False, True):
        monkeypatch.setattr(backend, "overwritten", lambda found=found: found)
        cli.main(["doctor", "--store", str(tmp_path)])
        assert (f"fix: {REPAIR}\n" in capsys.readouterr().out) == found

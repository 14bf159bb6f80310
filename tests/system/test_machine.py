from workbench.system import machine


def test_the_gpu_comes_with_its_driver(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "NVIDIA", tmp_path)
    assert machine._gpu() == ""
    (tmp_path / "gpus" / "0000:00:06.0").mkdir(parents=True)
    (tmp_path / "gpus" / "0000:00:06.0" / "information").write_text("Model: \t\t NVIDIA H100 80GB HBM3\nIRQ: 33\n")
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (somebody)\n"
        "GCC version:  gcc version 15.3.0 (GCC)\n"
    )
    assert machine._gpu() == "NVIDIA H100 80GB HBM3, driver 580.159.04"

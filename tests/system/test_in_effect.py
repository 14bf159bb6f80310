"""Settings as they are in a process."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import onnxruntime
import pytest
import small_onnx
from onnx import TensorProto, helper

from workbench import backends
from workbench.records import EngineRecord, EngineSpec, Precision
from workbench.system import in_effect


def test_cores_are_written_as_the_kernel_writes_them_and_back():
    assert in_effect.ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"
    assert in_effect.ranges([]) == ""
    assert in_effect.expanded("0-2, 5,7-8") == [0, 1, 2, 5, 7, 8]


@pytest.mark.parametrize("text", ["a", "3-1", "-1", "1,,2", ""])
def test_what_is_not_a_list_of_cores_is_refused(text):
    with pytest.raises(ValueError):
        in_effect.expanded(text)


def test_threads_that_are_bound_are_counted_and_variables_reported(tmp_path):
    for thread, cores in (("1", "0-3"), ("2", "0-3"), ("3", "2")):
        (tmp_path / "task" / thread).mkdir(parents=True)
        (tmp_path / "task" / thread / "status").write_text(f"Name:\tx\nCpus_allowed_list:\t{cores}\n")
    environment = {"XLA_FLAGS": "--xla_dump_to=x", "TF_ENABLE_ONEDNN_OPTS": "", "HOME": "/"}
    reported = {each.name: each.value for each in in_effect.of_process(tmp_path, environment)}
    assert reported["threads bound to cores"] == "1 of 3 threads"
    assert reported["XLA_FLAGS"] == "--xla_dump_to=x"
    assert not {"TF_ENABLE_ONEDNN_OPTS", "HOME"} & set(reported)
    assert reported["cores"] == in_effect.ranges(sorted(os.sched_getaffinity(0)))


FLUSH = """
import ctypes, mmap, sys
from workbench.system import in_effect
code = bytes.fromhex("0fae17c3")  # ldmxcsr [rdi]; ret
place = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
place.write(code)
address = ctypes.addressof(ctypes.c_char.from_buffer(place))
load = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)
print(in_effect.denormals())
for bits in (0x8000, 0x0040, 0x8040):  # FTZ, DAZ, both
    load(ctypes.addressof(ctypes.c_uint32(0x1F80 | bits)))
    print(in_effect.denormals())
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="sets the bits of an x86 processor")
def test_a_thread_that_flushes_denormals_is_found():
    ran = subprocess.run([sys.executable, "-c", FLUSH], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["kept", "results flushed to zero", "operands taken as zero", "flushed to zero"]


def halved(name, folder, bare_first):
    """What an engine says of denormals, and whether it gave none: a convolution of one weight halves the smallest normal number."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, (1, 1, 1, 1), [0.5])
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    shape = (None, 1, 4, 4)
    path = small_onnx.saved(
        folder / "half.onnx", [node], [("x", TensorProto.FLOAT, shape)], [("y", TensorProto.FLOAT, shape)], [weight]
    )
    if bare_first:
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    backend, spec = backends.get(name), EngineSpec(name, Precision.FP32)
    into = folder / "engine"
    into.mkdir()
    built = backend.build(small_onnx.source(path, ("x", TensorProto.FLOAT, shape)), spec, into, lambda _: None)
    record = EngineRecord(spec, "key", built.library, built.library_version, built.realized, 1, 1.0)
    with backend.open(into, record) as session:
        reported = {each.name: each.value for each in session.in_effect()}
        (found,) = session.run({"x": np.full((1, 1, 4, 4), np.finfo(np.float32).tiny, np.float32)}).values()
    return reported["threads"], reported["denormals"], not found.view(np.uint32).any()


@pytest.mark.parametrize(
    ("name", "bare_first", "reported"),
    [
        ("onnxruntime", False, "flushed to zero"),
        ("onnxruntime", True, "kept"),  # by a process's first session, for good, in the thread that computes
        ("openvino", False, "flushed to zero"),
    ],
)
def test_what_an_engine_is_said_to_do_with_denormals_is_what_it_does(name, bare_first, reported, tmp_path):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
        assert fresh.submit(halved, name, tmp_path, bare_first).result() == (
            "1",
            reported,
            reported == "flushed to zero",
        )

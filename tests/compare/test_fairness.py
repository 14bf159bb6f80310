"""Which differences between engines are reported."""

from __future__ import annotations

from dataclasses import replace

from peaked import reported
from recorded import measured, on_gpu, results

from workbench.compare.fairness import differences

SAME = {"threads": "1", "cores": "0-1", "denormals": "kept", "threads_bound_to_cores": "none"}


def row(label: str, **changes: str):
    return measured(label, timing_in_effect=reported(**(SAME | changes)))


def test_equal_settings_are_not_a_difference():
    assert differences(results([row("onnxruntime fp32"), row("openvino fp32", precision_hint="float32")])) == []


def test_a_difference_names_both_values_and_who_does_not_tell():
    silent = measured("litert fp32", timing_in_effect=reported(threads="1", cores="0-1"))
    rows = [row("tensorflow fp32", denormals="flushed to zero"), row("onnxruntime fp32"), row("openvino int8"), silent]
    assert differences(results(rows)) == [
        "Denormals differ between engines: flushed to zero (tensorflow), kept (onnxruntime, openvino); not reported by litert."
    ]


def test_how_many_threads_are_bound_is_not_a_difference_but_whether_any_is():
    bound = [row("onnxruntime fp32", threads_bound_to_cores=f"{count} of 9 threads") for count in (1, 2)]
    assert differences(results(bound)) == []
    (told_,) = differences(results([bound[0], row("openvino fp32")]))
    assert told_ == "Threads bound to cores differ between engines: some (onnxruntime), none (openvino)."


def test_an_engine_that_takes_more_cores_than_threads_is_named():
    greedy = row("tensorflow fp32")
    blocks = tuple(replace(block, cpu_s=1.7 * block.wall_s) for block in greedy.timing.blocks)
    greedy = replace(greedy, timing=replace(greedy.timing, blocks=blocks))
    assert differences(results([greedy, row("onnxruntime fp32")])) == [
        "tensorflow kept up to 1.7 cores busy, more than the requested threads."
    ]


def test_a_gpu_is_not_held_against_the_cpu():
    gpu = replace(on_gpu("onnxruntime:cuda fp32"))
    gpu = replace(gpu, timing=replace(gpu.timing, in_effect=reported(threads="9")))
    assert differences(results([gpu, row("onnxruntime fp32")])) == []


def test_equal_rows_of_the_settings_stand_once():
    table = results([row("onnxruntime fp32"), row("onnxruntime int8")]).settings().frame()
    assert table["setting"].tolist() == [name.replace("_", " ") for name in SAME]
    assert set(table["engine"]) == {"onnxruntime"}

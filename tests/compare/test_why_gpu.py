"""Why a lower precision is not faster on a GPU, from layers as TensorRT reports them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import recorded

from workbench.records.layers import LayerProfile, LayerTime

FP32, FP16, INT8 = "tensorrt fp32", "tensorrt fp16", "tensorrt int8"


def layer(name, op, kind, precision, us, sizes="1×96×56×56", came=None, **more):
    tensors = {"inputs": f"{came or precision} {sizes}", "outputs": f"{precision} {sizes}"}
    return LayerTime(name, op, kind, precision, (int(us * 1000),) * 3, origin=(name,), scope=name, **tensors | more)


def profile(label, *layers, call_us=None):
    call = int(1000 * (call_us or sum(each.median_s * 1e6 for each in layers)))
    return LayerProfile(f"key-{label}", label, 1, layers, (call,) * 3, (call,) * 3, "p", "s", "now")


def mobilenet(precision, *, pointwise_us, depthwise_us, **more):
    """Four blocks of MobileNetV2: short pointwise and depthwise convolutions, as they are at batch 1."""
    found = []
    for number in range(4):
        found.append(
            layer(
                f"expand{number}",
                "CaskConvolution",
                "weights",
                precision,
                pointwise_us,
                flops=2_000_000,
                weight_elements=2304,
            )
        )
        found.append(
            layer(
                f"depthwise{number}",
                "CaskConvolution",
                "weights",
                precision,
                depthwise_us,
                flops=5_400_000,
                weight_elements=864,
            )
        )
    return found


def results(int8, fp16, fp32=None, *, ms=(0.60, 0.19, 0.25), graph=True):
    rows = [recorded.on_gpu(name, median_ms=each) for name, each in zip((FP32, FP16, INT8), ms, strict=True)]
    if not graph:
        rows = [
            replace(row, timing=replace(row.timing, device=replace(row.timing.device, graph=False))) for row in rows
        ]
    profiles = tuple(each for each in (fp32, fp16, int8) if each)
    return replace(recorded.results(rows, baseline=FP32), layer_profiles=profiles)


def against_fp16(*found, **more):
    (card,) = [card for card in results(*found, **more).why_not_faster() if card.sibling == FP16]
    return card


def test_int8_is_held_against_fp16_on_a_gpu_only():
    cards = results(profile(INT8, *mobilenet("int8", pointwise_us=4, depthwise_us=5)), None).why_not_faster()
    assert [(card.variant, card.sibling) for card in cards] == [(INT8, FP16)]
    assert cards[0].headline.startswith("tensorrt int8, batch 1: ×0.7")
    on_cpu = [recorded.measured(name, median_ms=each) for name, each in ((FP32, 0.6), (FP16, 0.19), (INT8, 0.25))]
    assert recorded.results(on_cpu, baseline=FP32).why_not_faster() == ()


def test_mobilenet_at_batch_1_is_explained_by_reformats_short_kernels_and_memory():
    """INT8 pays for reformats, and its kernels are too short to be faster."""
    reformats = [layer(f"copy{n}", "Reformat", "layout", "int8", 3, came="fp16") for n in range(6)]
    int8 = profile(
        INT8,
        *mobilenet("int8", pointwise_us=3.9, depthwise_us=5.3),
        *reformats,
        layer("head", "gemm", "weights", "fp16", 6, flops=2_560_000, weight_elements=1_280_000),
    )
    fp16 = profile(
        FP16,
        *mobilenet("fp16", pointwise_us=4.0, depthwise_us=5.0),
        layer("head", "gemm", "weights", "fp16", 6, flops=2_560_000, weight_elements=1_280_000),
    )
    card = against_fp16(int8, fp16)
    causes = {each.cause: each for each in card.evidence}
    total = 4 * 3.9 + 4 * 5.3 + 18 + 6
    reformat = causes["reformats: layers that change a layout or a number format"]
    assert reformat.share == pytest.approx(18 / total, abs=0.01)
    assert "6 of 15 layers compute nothing" in reformat.text
    assert "6 of them change the number format" in reformat.text
    stayed = causes["layers with weights that stayed in FP16"]
    assert stayed.share == pytest.approx(6 / total, abs=0.01)
    assert "1 of 9 take" in stayed.text
    short = causes["layers that are as fast in FP16"]
    assert "of them at most 10 µs" in short.text
    assert "Together they lose 0.001 ms" in short.text
    memory = causes["memory: few operations for each byte that is moved"]
    assert "9 of 9 layers with weights do" in memory.text
    assert "Measure batch 64" in short.experiment


def test_kernels_that_the_host_starts_one_by_one():
    layers = mobilenet("int8", pointwise_us=4, depthwise_us=5)
    waiting = profile(INT8, *layers, call_us=300)
    first = against_fp16(waiting, None, graph=False).evidence[0]
    assert first.cause == "the host starts kernels one by one"
    assert first.share == pytest.approx(1 - 36 / 300)
    assert "The 8 layers take 0.036 of the 0.300 ms of a call" in first.text
    assert first.experiment.startswith("Measure with cuda_graph=true")
    busy = against_fp16(profile(INT8, *layers, call_us=40), None, graph=False)
    assert "the host starts kernels one by one" not in {each.cause for each in busy.evidence}


def test_long_layers_that_gain_are_not_evidence():
    int8 = profile(INT8, layer("conv", "CaskConvolution", "weights", "int8", 100, flops=10**10, weight_elements=2304))
    fp16 = profile(FP16, layer("conv", "CaskConvolution", "weights", "fp16", 200, flops=10**10, weight_elements=2304))
    assert against_fp16(int8, fp16).evidence == ()

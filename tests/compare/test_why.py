"""Why a variant is not faster: evidence by rule, ranked, with the experiment that would confirm it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import recorded

from workbench.display.why import Explanations
from workbench.records import Machine
from workbench.records.layers import LayerProfile, LayerTime

FP32, INT8 = "onnxruntime fp32", "onnxruntime int8"


def layer(name, op, kind, precision, us, **more):
    return LayerTime(name, op, kind, precision, (us * 1000,) * 3, origin=(name,), scope=name, **more)


def profile(label, *layers, call_us=None):
    call = call_us or sum(each.times_ns[0] for each in layers) // 1000
    return LayerProfile(f"key-{label}", label, 1, layers, (call * 1000,) * 3, (call * 1000,) * 3, "p", "s", "now")


def conv(us, precision="fp32", flops=20_000_000, elements=1000, name="conv"):
    return layer(name, "Conv", "weights", precision, us, flops=flops, weight_elements=elements)


def results(mine, other, *, ms=1.1, profiles=True, **changes):
    rows = [recorded.measured(FP32, 1, median_ms=1.0), recorded.measured(INT8, 1, median_ms=ms)]
    rows = [replace(row, spec=replace(row.spec, **changes)) for row in rows] if changes else rows
    found = recorded.results(rows, baseline=FP32)
    return replace(found, layer_profiles=(other, mine) if profiles else ())


def causes(mine, other=None):
    (card,) = results(mine, other or profile(FP32, conv(100))).why_not_faster()
    return {each.cause: each for each in card.evidence}


def test_rows_for_which_no_cause_is_known_are_one_list():
    shown = str(results(None, None, ms=1.6, profiles=False).why_not_faster().html())
    assert shown.count("<details") == 1
    assert "no known cause: 1" in shown
    assert "onnxruntime int8, batch 1: " in shown


def test_only_what_is_not_faster_gets_a_card():
    one, other = profile(INT8, conv(90, "int8")), profile(FP32, conv(100))
    assert results(one, other, ms=0.5).why_not_faster() == ()
    (card,) = results(one, other, ms=1.6).why_not_faster()
    assert card.variant == INT8
    assert card.verdict == "slower"
    assert card.headline.startswith("onnxruntime int8, batch 1: ×0.6")
    assert card.headline.endswith(", slower than onnxruntime fp32")
    assert card.missing == ""
    assert card.evidence == ()  # nothing speaks for anything


def test_conversions_by_their_share_and_the_worst_place():
    found = causes(
        profile(
            INT8,
            layer("q", "QuantizeLinear", "convert", "fp32", 10), conv(60, "int8"),
            layer("dq", "DequantizeLinear", "convert", "int8", 30), conv(100, "int8", name="next"),
        )
    )["conversions between number formats"]  # fmt: skip
    assert found.share == pytest.approx(40 / 200)
    assert "2 layers that quantize, dequantize or cast take 20% of the layers' time" in found.text
    assert "between conv and next (0.030 ms)" in found.text
    assert "mixed_precision" in found.experiment


def test_layers_that_stayed_in_float():
    found = causes(profile(INT8, conv(50, "int8"), conv(50, "fp32", name="kept")))
    reported = found["layers with weights that stayed in FP32"]
    assert reported.share == pytest.approx(0.5)
    assert "1 of 2 take 50% of the layers' time: kept (Conv)." in reported.text


def test_layers_that_are_slower_than_in_fp32():
    mine = profile(INT8, conv(300, "int8"), conv(100, "int8", name="fast"))
    found = causes(mine, profile(FP32, conv(200), conv(300, name="fast")))["layers that are slower than in FP32"]
    assert found.share == pytest.approx(100 / 400)
    assert "1 layers with weights take longer" in found.text
    assert "worst: conv (0.200 → 0.300 ms)" in found.text


def test_products_that_are_too_small_and_weights_that_are_read_for_little():
    small = conv(50, "int8", flops=1_000_000, elements=1000)
    assert causes(profile(INT8, small))["matrix products that are too small"].share == 1
    dense = layer("dense", "Gemm", "weights", "int8", 100, flops=8_000_000, weight_elements=4_000_000)
    found = causes(profile(INT8, dense))["memory: weights are read for few operations at batch 1"]
    assert "1 layers read 4.00 MB of weights for under 8 operations a byte" in found.text
    assert "(40.0 GB/s)" in found.text
    assert "Measure batch 8" in found.experiment
    big = causes(profile(INT8, conv(50, "int8")))
    assert not big


def test_time_that_no_precision_changes_and_time_outside_all_layers():
    found = causes(profile(INT8, conv(60, "int8"), layer("t", "Transpose", "layout", "int8", 40), call_us=200), None)
    assert found["work that no precision makes faster"].share == pytest.approx(0.4)
    assert found["time outside all layers"].share == pytest.approx(0.5)


def test_the_strongest_comes_first_and_what_touches_everything_before_it():
    mine = profile(INT8, conv(40, "int8"), conv(60, "fp32", name="kept"), call_us=130)
    found = results(mine, profile(FP32, conv(100)))
    found = replace(found, machine=Machine("old", 2, ("avx2",), 2**30, "Linux", "3.11"))
    (card,) = found.why_not_faster()
    assert [each.cause for each in card.evidence] == [
        "this CPU has no instruction that multiplies in INT8",
        "layers with weights that stayed in FP32",
        "time outside all layers",
    ]
    assert "It has avx2, and would need one of avx512_vnni" in card.evidence[0].text


def test_threads_that_wait_and_threads_without_a_core():
    found = results(profile(INT8, conv(90, "int8")), profile(FP32, conv(100)), threads=8)
    (card,) = found.why_not_faster()
    reported = {each.cause: each.text for each in card.evidence}
    assert "8 threads on 2 cores." in reported["there are more threads than cores"]
    assert "8 threads kept 1.0 cores busy." in reported["its threads wait for one another"]


def test_weights_alone_are_not_meant_to_be_faster():
    found = results(profile(INT8, conv(90, "fp32")), profile(FP32, conv(100)), ms=1.6)
    row = found.rows[1]
    found = replace(found, rows=(found.rows[0], replace(row, spec=replace(row.spec, method="weights"))))
    found = replace(found, machine=Machine("old", 2, ("avx2",), 2**30, "Linux", "3.11"))
    (card,) = found.why_not_faster()
    assert [each.cause for each in card.evidence] == ["it computes in floats"]
    assert card.evidence[0].text.startswith("int8-weights stores its weights in fewer bits")


def test_without_times_per_layer_it_says_what_is_missing():
    (card,) = results(None, None, profiles=False).why_not_faster()
    assert card.missing == "Times per layer would show more: run again with 'layers' set to true."
    assert "Times per layer would show more" in Explanations((card,)).text()


def named(label, *, mine=None, layers=(), **changes):
    """The one card of a variant that is slower than FP32 of its backend; ``layers``: of the FP32 engine."""
    backend = label.split()[0]
    rows = [recorded.measured(f"{backend} fp32", median_ms=1.0), recorded.measured(label, median_ms=1.6)]
    rows[1] = replace(rows[1], spec=replace(rows[1].spec, **changes))
    profiles = (profile(f"{backend} fp32", *layers), *([mine] if mine else [])) if layers else ()
    found = replace(recorded.results(rows, baseline=f"{backend} fp32"), layer_profiles=profiles)
    (card,) = found.why_not_faster()
    return card


def test_times_per_layer_are_not_recommended_where_they_are_not_available():
    card = named("litert fp16", method="weights")
    assert card.missing == (
        "Times per layer would show more, and litert fp16-weights does not report layers: LiteRT has no profiler with a Python interface."
    )
    card = named("tensorflow:xla int8")
    assert "its profiler does not see layers inside tensorflow:xla" in card.missing
    card = named(INT8, layers=(conv(100),))
    assert card.missing == "The layers of onnxruntime int8 could not be timed; the run's log says why."


@pytest.mark.parametrize(
    ("label", "method", "says"),
    [
        (INT8, "", "workbench.mixed_precision(backend='onnxruntime') searches for the best such list"),
        ("openvino int8", "entropy", "workbench.mixed_precision(backend='openvino') searches for the best such list"),
        (INT8, "dynamic", " in 'keep', which leaves them in FP32, and measure again."),
        ("openvino int8", "nncf", "OpenVINO chooses by itself what it computes in int8-nncf: measure another backend"),
        ("openvino bf16", "", "OpenVINO chooses by itself what it computes in bf16: measure another backend"),
    ],
)
def test_what_is_to_be_tried_can_be_done_with_the_variants_method(label, method, says):
    kept = layer("q", "QuantizeLinear", "convert", "fp32", 100)
    mine = profile(label, conv(300, "int8"), kept)
    card = named(label, mine=mine, layers=(conv(100),), method=method)
    found = {each.cause: each.experiment for each in card.evidence}
    assert says in found["conversions between number formats"]
    slower = found["layers that are slower than in FP32"]
    assert ("Name exactly these (conv) in 'keep', which leaves them in FP32" in slower) == ("chooses" not in says)
    assert says in slower
    assert ("mixed_precision" in slower) == ("mixed_precision" in says)


def test_cards_as_text_and_as_html_without_scripts():
    mine = profile(INT8, conv(50, "int8"), conv(50, "fp32", name="<script>"))
    cards = results(mine, profile(FP32, conv(100))).why_not_faster()
    assert "<script>" not in cards.html()
    assert "&lt;script&gt; (Conv)" in cards.html()
    assert "To confirm: " in cards.html()
    assert (
        cards.text()
        .splitlines()[1]
        .startswith("  1. layers with weights that stayed in FP32 (at most 50% of its time)")
    )
    assert Explanations().html() == ""

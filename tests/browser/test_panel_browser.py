"""The panel in a real JupyterLab, by real clicks."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from clicks import await_end, cell, go, rows, run_cell, shot, shown_run
from lab import SMALL, SPARE_CELL, Lab, idle, menu, open_panel, put_notebook
from playwright.sync_api import Locator, Page, expect

from workbench.runs.pipeline import run
from workbench.settings.experiment import Experiment
from workbench.store import Store

pytestmark = [pytest.mark.browser, pytest.mark.slow]

HOSTILE = "<img src=x onerror=alert(1)>"
LONG_MS = 180_000
OTHERWISE = {"budget": "1 %", "metric": "f1"}
"""Settings that judge the results again."""


def jobs_alive(store_root: Path) -> list[psutil.Process]:
    """Processes of jobs in this store, and their workers."""
    here = [p for p in psutil.process_iter(["cmdline"]) if str(store_root) in " ".join(p.info["cmdline"] or [])]
    found = []
    for job in (p for p in here if "workbench.jobs.process" in p.info["cmdline"]):
        with contextlib.suppress(psutil.NoSuchProcess):  # one that has just ended has no children
            found += [job, *job.children(recursive=True)]
    return [p for p in found if is_alive(p)]


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.long
def test_a_first_result_by_one_click_and_what_can_be_done_with_it(panel: Locator, page: Page) -> None:
    expect(cell(page, 'view.display("summary")')).to_contain_text("This cell shows the last run of the panel")
    expect(panel.locator(".wb-cancel")).to_be_disabled()
    shot(panel, "1-model")
    before = shown_run(panel)
    panel.locator(".wb-benchmark").click()
    expect(panel.locator(".wb-state")).to_be_visible()
    expect(panel.locator(".wb-run").first).to_be_visible(timeout=LONG_MS)
    shot(panel, "4-run-while-it-runs")
    await_end(panel, before)  # on the page Compare, by itself
    expect(panel.locator('.wb-table tr[data-status="done"]')).to_have_count(2)
    expect(panel.locator(".wb-message").first).to_contain_text("2 done.")
    expect(panel.locator(".wb-table").first).to_contain_text(re.compile(r"int8.*9\d\.\d%"))
    expect(panel.locator(".wb-table").first).to_contain_text("= baseline")
    expect(panel.locator(".wb-winner, td .wb-baseline")).to_have_count(1)  # whether INT8 wins depends on the CPU
    expect(panel.locator(".wb-canvas canvas").first).to_be_visible()
    within_limits(panel, page)
    side_by_side_and_figures(panel, page)
    measured_again(panel)
    taken_away(panel, page)
    expect(run_cell(page, 'view.display("summary")')).to_contain_text("onnxruntime int8")
    expect(run_cell(page, 'view.display("speed")').locator(".jp-OutputArea img").first).to_be_visible()


def measured_again(panel: Locator) -> None:
    """Nothing is built, but timed again, and judged by another metric and budget."""
    go(panel, "Configure")
    panel.get_by_role("button", name="More settings").click()
    for name, value in OTHERWISE.items():
        control = panel.get_by_label(name.title(), exact=True)
        control.fill(value)
        control.press("Enter")
    expect(panel.locator(".wb-plan").first).to_contain_text(
        "0 variants to build (2 are in the store), 2 rows to take from the store"
    )
    panel.get_by_label("Measure again").check()
    expect(panel.locator(".wb-plan").first).to_contain_text("(2 are in the store), 2 rows to measure")
    panel.locator(".wb-benchmark").click()
    expect(panel.locator(".wb-message").first).to_contain_text(
        "built 0 (reused 2), measured 2 (reused 0), scored 2 (reused 0)", timeout=LONG_MS
    )
    expect(panel.locator(".wb-table tr[data-row]").first).to_contain_text(re.compile(r"f1 9\d"))


def within_limits(panel: Locator, page: Page) -> None:
    limit = panel.locator(".wb-limit").first
    limit.locator("input[type=checkbox]").check()
    expect(limit.locator("[disabled]")).to_have_count(0)
    limit.locator(".noUi-handle").focus()
    page.keyboard.press("Home")  # nothing is that fast
    expect(panel.get_by_text("No row keeps these limits.")).to_be_visible()
    expect(panel.locator("tr.wb-out[data-row]")).to_have_count(2)
    expect(panel.locator(".wb-why-out").first).to_contain_text("out: p50 is")
    shot(panel, "5-compare-nothing-within-the-limits")
    limit.locator("input[type=checkbox]").uncheck()


def side_by_side_and_figures(panel: Locator, page: Page) -> None:
    panel.get_by_label("Baseline").select_option("onnxruntime int8")
    expect(panel.locator('tr[data-row="onnxruntime int8 @1"]')).to_contain_text("= baseline")
    sorted_by_keyboard(panel, page)
    panel.get_by_role("button", name="Show what differs").click()
    expect(panel.locator(".wb-gallery:not(.wb-samples) figure").first).to_contain_text("right:", timeout=30_000)
    for name in ("Throughput", "Accuracy and speed"):
        panel.get_by_role("button", name=name, exact=True).click()
        expect(panel.locator(".wb-canvas canvas:visible")).to_have_count(2, timeout=10_000)
    page.wait_for_timeout(700)
    canvas = panel.locator(".wb-canvas:visible canvas").first.bounding_box()
    assert canvas
    for across in range(8, 60, 2):  # over the points: one of them is named below the figure
        page.mouse.move(canvas["x"] + canvas["width"] * across / 100, canvas["y"] + canvas["height"] * 0.35)
    shot(panel, "5-compare")


def sorted_by_keyboard(panel: Locator, page: Page) -> None:
    medians = panel.locator(".wb-table tr[data-row] td:nth-child(4)")
    head = panel.locator(".wb-head", has_text="Median ms")
    head.focus()
    for sign, reported in (("▲", "ascending"), ("▼", "descending")):
        page.keyboard.press("Enter")
        expect(head).to_have_text(f"Median ms {sign}")
        expect(panel.locator(".wb-table th[aria-sort]")).to_have_attribute("aria-sort", reported)
        expect(head).to_be_focused()
        shown = [float(text.split()[0]) for text in medians.all_inner_texts()]
        assert shown == sorted(shown, reverse=reported == "descending")
    heads = [each.bounding_box() for each in panel.locator(".wb-head").all()]
    cells = [each.bounding_box() for each in panel.locator(".wb-table tr[data-row]").first.locator("td").all()]
    assert [(round(a["x"]), round(a["width"])) for a in heads] == [(round(b["x"]), round(b["width"])) for b in cells]


def taken_away(panel: Locator, page: Page) -> None:
    go(panel, "Layers")
    expect(panel.locator(".wb-page:visible")).to_contain_text("Layers with weights")
    shot(panel, "6-layers")
    go(panel, "Export")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    panel.get_by_role("button", name="Copy").first.click()
    assert "workbench report --backends onnxruntime" in page.evaluate("navigator.clipboard.readText()")
    panel.locator(".wb-copyable").filter(has_text="With papermill").get_by_role("button", name="Copy").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "notebooks/workbench.ipynb out.ipynb -r backends onnxruntime" in copied
    assert "-r budget '1 %' -r metric f1" in copied
    for kind, name, line in (
        ("csv", "table.csv", "onnxruntime fp32,1,cpu,done"),
        ("markdown", "table.md", "| onnxruntime fp32 | 1 | "),
        ("latex", "table.tex", r"onnxruntime fp32 & 1 & "),
    ):
        panel.get_by_label("Format").select_option(kind)
        with page.expect_download() as saved:
            panel.get_by_role("button", name="Make the file").click()
            panel.locator(f'a.wb-download[download="{name}"]').click()
        assert any(each.startswith(line) for each in Path(saved.value.path()).read_text().splitlines())
    panel.get_by_role("button", name="Save as notebook").click()
    expect(panel.get_by_text(re.compile(r"Saved as .*experiment\.ipynb"))).to_be_visible()
    shot(panel, "7-export")
    compared_across_runs(panel)


def compared_across_runs(panel: Locator) -> None:
    """This run and one made without a panel, in the same store."""
    store = Store(re.search(r"store: (\S+)", panel.locator(".wb-top").inner_text())[1])
    run(Experiment(**SMALL | OTHERWISE | {"backends": "openvino", "precisions": "fp32"}), store=store)
    go(panel, "History")
    panel.get_by_role("button", name="Look again").click()
    lines = panel.locator(".wb-history option")
    expect(lines.first).to_contain_text("openvino · fp32 · batches 1 · without a panel")
    expect(lines.first).to_contain_text("fastest: no row shown to be faster @1")
    expect(panel.locator(".wb-compare-runs")).to_be_disabled()
    panel.locator(".wb-history select").focus()
    for key, disabled in (("ArrowDown", True), ("Shift+ArrowDown", False)):
        panel.page.keyboard.press(key)  # which JupyterLab would take for itself
        expect(panel.locator(".wb-compare-runs")).to_be_enabled(enabled=not disabled)
    panel.locator(".wb-compare-runs").press("Enter")
    expect(panel.locator(".wb-page:visible .wb-table tr.wb-first")).to_have_count(3, timeout=20_000)
    expect(panel.locator(".wb-remarks")).to_contain_text("No verdict: these runs were not measured in turn")
    expect(panel.locator(".wb-page:visible .wb-table")).not_to_contain_text(re.compile("faster|slower"))
    shot(panel, "8-history")
    panel.get_by_role("button", name="Measure them in one run").click()
    expect(panel.locator(".wb-page:visible h3")).to_have_text("Configure")
    expect(panel.locator(".wb-message").first).to_contain_text("Press Run to measure them in turn.")
    expect(panel.get_by_label("ONNX Runtime", exact=True)).to_be_checked()
    expect(panel.get_by_label("OpenVINO", exact=True)).to_be_checked()
    shot(panel, "8-history-in-one-run")


@pytest.mark.long
def test_every_control_says_what_it_is_and_bad_values_are_sentences(panel: Locator, page: Page) -> None:
    go(panel, "Data")
    for name, hint in (
        ("Random", "Accuracy cannot, and INT8"),
        ("Digits", "handwritten digits"),
        ("Automatic", "random inputs"),
    ):
        panel.get_by_role("button", name=name, exact=True).click()
        expect(panel.locator(".wb-page:visible .wb-hint", has_text=hint).first).to_be_visible()
    shot(panel, "2-data")
    go(panel, "Configure")
    chips = panel.locator(".wb-chips").first
    chips.locator("input").fill("many")
    chips.locator("input").press("Enter")
    expect(panel.get_by_role("alert")).to_contain_text('found "many". Choose for example 1,8,32.')
    chips.locator("input").fill("24")
    chips.locator("input").press("Enter")
    expect(chips.locator(".wb-chip.mod-active", has_text="24")).to_be_visible()
    expect(panel.get_by_role("alert")).to_have_count(0)
    panel.get_by_role("button", name="More settings").click()
    for control in panel.locator(".wb-control:visible").all():
        assert len(control.locator(".wb-hint").inner_text()) > 10
    panel.get_by_label("Threads").fill("0")
    panel.get_by_label("Threads").press("Enter")
    expect(panel.get_by_role("alert")).to_have_text(
        "'Threads' must be a whole number from 1 to 1024; found 0. Choose for example 2."
    )
    expect(panel.locator(".wb-benchmark")).to_be_disabled()
    shot(panel, "3-configure-bad-value")
    panel.get_by_label("Threads").fill("1")
    panel.get_by_label("Threads").press("Enter")
    expect(panel.get_by_role("alert")).to_have_count(0)
    expect(panel.locator(".wb-benchmark")).to_be_enabled()
    panel.get_by_label("INT8 calibration").select_option("entropy")
    panel.get_by_label("TensorRT · rtx").check()  # what has a workspace
    workspace = panel.locator(".wb-chips").nth(1)
    workspace.get_by_role("button", name="256").click()
    expect(workspace.locator(".wb-chip.mod-active")).to_have_text(["default", "256"])
    panel.get_by_label("TensorRT · rtx").uncheck()
    go(panel, "Export")
    expect(panel.locator(".wb-copyable").filter(has_text="With papermill")).to_contain_text(
        re.compile(r"-r batches 1,24 -r workspace_mib 0,256 -r calibration entropy")
    )
    panel.locator(".wb-build").click()
    expect(rows(panel, "built")).to_have_count(4, timeout=LONG_MS)
    expect(panel.locator(".wb-message").first).to_contain_text("4 built.")
    expect(panel.locator(".wb-plan").first).to_contain_text("0 variants to build (2 are in the store)")


@pytest.mark.long
def test_a_run_outlives_reload_and_restart_and_is_cancelled_row_by_row(
    lab: Lab, page: Page, store_root: Path, request: pytest.FixtureRequest
) -> None:
    name = put_notebook(lab, "outlives.ipynb", **SMALL | {"measure_s": 90})
    panel = open_panel(page, lab, name)
    panel.locator(".wb-benchmark").click()
    expect(rows(panel, "measuring").first).to_be_visible(timeout=LONG_MS)
    asked = time.monotonic()
    expect(run_cell(page, SPARE_CELL).locator(".jp-OutputArea")).to_contain_text("42", timeout=5_000)
    assert time.monotonic() - asked < 5  # the kernel is free
    (job,) = [p for p in jobs_alive(store_root) if "workbench.jobs.process" in p.cmdline()]

    page.reload()
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    idle(page)
    page.wait_for_timeout(500)
    menu(page, "Kernel", "Restart Kernel and Run All Cells…")
    page.locator(".jp-Dialog button", has_text="Restart").click()
    panel = page.locator(".wb").first
    expect(rows(panel, "measuring").first).to_be_visible(timeout=60_000)
    assert job.is_running()  # the very same process
    expect(panel.locator(".wb-cancel")).to_be_enabled()
    panel.get_by_role("button", name="Log").first.click()
    expect(panel.locator(".wb-log")).to_be_visible()
    shot(panel, "4-run-after-a-restart")

    panel.locator(".wb-row", has_text="int8").get_by_role("button", name="Cancel").click()
    panel.locator(".wb-cancel").click()
    expect(rows(panel, "cancelled")).to_have_count(2, timeout=20_000)
    expect(panel.locator(".wb-message").first).to_contain_text("2 cancelled.")
    expect(panel.locator(".wb-benchmark")).to_be_enabled()
    go(panel, "Run")
    expect(panel.locator(".wb-row", has_text="int8").get_by_role("button", name="Retry")).to_be_enabled()
    shot(panel, "4-run-cancelled")
    psutil.wait_procs(jobs_alive(store_root), timeout=10)
    assert jobs_alive(store_root) == []


@pytest.mark.long
def test_one_row_is_cancelled_in_mid_build_and_one_fails(lab: Lab, page: Page, tmp_path: Path) -> None:
    """OpenVINO has no operator 'Inverse' of ONNX Runtime's; the file's name is an attack."""
    path = tmp_path / f"{HOSTILE.replace('/', '')}.onnx"
    weights = onnx.numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    sides = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 4, 4]) for name in ("x", "y")]
    nodes = [
        onnx.helper.make_node("MatMul", ["x", "w"], ["a"]),
        onnx.helper.make_node("Inverse", ["a"], ["y"], domain="com.microsoft"),
    ]
    graph = onnx.helper.make_graph(nodes, HOSTILE, sides[:1], sides[1:], [weights])
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    asked = SMALL | {"model": str(path), "data": "random", "backends": "onnxruntime,openvino", "precisions": "fp32"}
    panel = open_panel(page, lab, put_notebook(lab, "hostile.ipynb", **asked))
    panel.locator(".wb-benchmark").click()
    cancel = panel.locator(".wb-row", has_text="onnxruntime").get_by_role("button", name="Cancel")
    cancel.click(timeout=LONG_MS)
    expect(rows(panel, "cancelled")).to_have_count(1, timeout=LONG_MS)
    expect(rows(panel, "failed")).to_have_count(1, timeout=LONG_MS)
    expect(panel.locator(".wb-row-why").last).to_contain_text("Could not build openvino fp32")
    shot(panel, "4-run-a-failing-variant")
    panel.get_by_title(re.compile("^Retry onnxruntime")).click()
    expect(rows(panel, "done").or_(panel.locator('tr[data-status="done"]'))).to_have_count(1, timeout=LONG_MS)
    go(panel, "Model")
    expect(panel.locator(".wb-facts:visible")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("img[src=x]").count() == 0
    expect(page.get_by_text("Traceback")).to_have_count(0)

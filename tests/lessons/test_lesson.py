"""A learner's prediction beside what was measured: held, failed, open, or not made."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from recorded import failed, measured, results

from workbench import lessons
from workbench.errors import InputError
from workbench.lessons import check, verdict

BASE = measured("litert fp32", median_ms=0.4)
FAST = measured("litert int8", median_ms=0.1)
SAME = measured("litert fp16", median_ms=0.4)
ALL = results([BASE, FAST, SAME, failed("openvino fp32")], baseline="litert fp32")


@pytest.mark.parametrize("nothing", [None, "", "  "])
def test_without_a_prediction_the_answer_is_reported(nothing):
    assert check("How many?", nothing, 2, figures="Two of them.") == (
        "How many?\n→ No prediction was made. The answer of this run: 2.\nTwo of them."
    )


@pytest.mark.parametrize(
    ("predicted", "measured_", "within", "held"),
    [
        (4, 4, 0, True),
        ("4", 4.0, 0, True),
        (4, 5, 0, False),
        (4, 3.7, 0.1, True),
        (4, 3.6, 0.1, False),
        (-4, -3.7, 0.1, True),
        ("FP16 ", "fp16", 0, True),
        ("bf16", "fp16", 0, False),
        ("cannot tell", "cannot tell", 0, True),
        ("within", "cannot tell", 0, False),
    ],
)
def test_a_prediction_holds_or_fails(predicted, measured_, within, held):
    said = check("Which?", predicted, measured_, within=within)
    assert said.endswith(f"Your prediction {'held' if held else 'failed'}.")


def test_what_the_run_could_not_tell_makes_no_prediction_wrong():
    said = check("Is it faster?", "faster", "cannot tell", settled=False)
    assert said.endswith(
        "You predicted faster. This run says cannot tell: your prediction is neither confirmed nor refuted."
    )
    assert check("Is it faster?", "cannot tell", "cannot tell", settled=False).endswith("Your prediction held.")


def test_a_number_that_could_not_be_settled_makes_no_prediction_wrong():
    open_ = "your prediction is neither confirmed nor refuted."
    assert check("How many?", 2, 4, settled=False).endswith(f"You predicted 2. This run says 4: {open_}")
    assert check("How many?", 2, "none", settled=False).endswith(f"You predicted 2. This run says none: {open_}")
    assert check("How many?", "4.0", 4, settled=False).endswith("Your prediction held.")
    assert check("How many?", 4.2, 4, within=0.1, settled=False).endswith("Your prediction held.")


@pytest.mark.parametrize(
    ("predicted", "ends"), [(0, "failed."), (1, "refuted."), (2, "refuted."), (3, "held."), (4, "failed.")]
)
def test_below_the_smallest_that_was_found_only_what_was_ruled_out_is_wrong(predicted, ends):
    assert check("How many?", predicted, 3, open_from=1).endswith(ends)


def test_a_word_where_a_number_was_asked_for_is_reported():
    with pytest.raises(
        InputError, match=r"^This question asks for a number; found 'four'. Give for example 4 or 0\.5\.$"
    ):
        check("How many?", "four", 4)
    with pytest.raises(InputError, match="This question asks for a number"):
        check("How many?", "four", 4, settled=False)


def test_large_numbers_can_be_read():
    assert "this run says 1,000" in check("How many?", 1000, 1000)


def test_verdicts_come_with_their_figures():
    word, figures = verdict(ALL, "litert int8", "litert fp32")
    assert word == "faster"
    assert figures.startswith("litert int8 against litert fp32, batch 1: ×4.")
    assert figures.endswith(", faster.")
    assert verdict(ALL, "litert fp32", "litert int8")[0] == "slower"
    assert verdict(ALL, "litert fp16", "litert fp32")[0] == "cannot tell"


def test_what_was_not_measured_cannot_be_decided():
    word, why = verdict(ALL, "openvino fp32", "litert fp32")
    assert word == "cannot tell"
    assert why.startswith("openvino fp32 was not measured: ")
    assert verdict(ALL, "litert int8", "litert fp8") == (
        "cannot tell",
        "litert fp8 was not measured: it is not in this experiment.",
    )
    assert verdict(ALL, "litert int8", "litert fp32", 8)[0] == "cannot tell"


LESSONS = sorted((Path(__file__).resolve().parents[2] / "notebooks" / "lessons").glob("*.ipynb"))


@pytest.mark.parametrize("place", LESSONS, ids=lambda place: place.stem)
def test_a_lesson_uses_public_names_and_those_of_the_lessons_alone(place: Path) -> None:
    cells = json.loads(place.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    found = [node for node in ast.walk(ast.parse(code)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    plain = {alias.name for node in found if isinstance(node, ast.Import) for alias in node.names}
    assert {name for name in plain if name.startswith("workbench")} <= {"workbench"}
    ours = [node for node in found if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workbench")]
    assert {node.module for node in ours} == {"workbench.lessons"}
    assert {alias.name for node in ours for alias in node.names} <= set(lessons.__all__)


def test_every_name_of_the_lessons_is_used_by_one() -> None:
    text = "".join(place.read_text(encoding="utf-8") for place in LESSONS)
    assert [name for name in lessons.__all__ if not re.search(rf"\b{name}\b", text)] == []


def test_readiness_says_why_a_backend_is_not_ready() -> None:
    assert lessons.readiness("onnxruntime") == "ready"
    assert lessons.readiness("tensorrt:lean").startswith(("ready", "not ready: "))

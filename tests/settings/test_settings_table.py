"""Each setting is declared once: what is declared appears everywhere, and every value is read in one way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from workbench.errors import InputError
from workbench.settings.experiment import Experiment
from workbench.settings.kinds import Integers, Place, Texts, items, shown, whole
from workbench.settings.notebook import UNREADABLE
from workbench.settings.table import BACKEND_SETTINGS, RUN_SETTINGS, SETTINGS

ROOT = Path(__file__).resolve().parents[2]
EVERY = [*SETTINGS.values(), *RUN_SETTINGS.values()]
NEW = """
    favourite_colour: str = declared(Choice(
        default="blue",
        label="Favourite colour",
        help="colour of everything that is drawn",
        choices=("blue", "green"),
    ))  # fmt: skip
"""
LOOK = """
import json, sys
from workbench.settings.experiment import Experiment
from workbench.panel.settings import settings
control = settings(Experiment())["favourite_colour"]
print(json.dumps([control.description, control.tooltip, list(control.options), Experiment(favourite_colour="green").changes()]))
"""


@pytest.mark.parametrize("setting", EVERY, ids=lambda setting: setting.name)
def test_each_declaration_is_whole(setting) -> None:
    assert setting.label
    assert setting.group
    assert setting.help == setting.help.strip()
    assert not set(UNREADABLE) & set(setting.described(example=not set(UNREADABLE) & set(setting.example)))
    assert setting.parse(setting.default) == setting.default
    assert setting.parse(setting.parameter(setting.default)) == setting.default
    if setting.example:
        assert setting.parse(setting.parse(setting.example)) == setting.parse(setting.example)


def test_the_table_and_the_experiment_have_the_same_fields() -> None:
    assert {field.name for field in fields(Experiment)} == set(SETTINGS)
    assert {setting.name for setting in SETTINGS.values() if setting.backend_setting} == set(BACKEND_SETTINGS.values())


def test_every_backend_speaks_of_every_setting_that_backends_decide() -> None:
    from workbench import backends

    for name in backends.names():
        backend = backends.get(name)
        assert set(BACKEND_SETTINGS) <= set(backend.settings) | set(backend.without), name


def test_a_setting_that_is_declared_once_is_in_help_panel_notebook_and_reference(tmp_path: Path) -> None:
    for part in ("workbench", "notebooks", "scripts", "docs"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "*.png"))
    declared = tmp_path / "workbench" / "settings" / "accuracy.py"
    text = declared.read_text(encoding="utf-8")
    title = '    GROUP: ClassVar[str] = "Limits"\n'
    declared.write_text(text.replace(title, title + NEW), encoding="utf-8")

    def python(*words: str) -> str:
        command = [sys.executable, *words]
        env = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=env).stdout

    assert "--favourite-colour VALUE" in python("-m", "workbench", "report", "--help-all")
    label, tip, options, changes = json.loads(python("-c", LOOK))
    assert (label, tip) == ("Favourite colour", "Colour of everything that is drawn")
    assert options == [["blue", "blue"], ["green", "green"]]
    assert changes == {"favourite_colour": "green"}
    python("scripts/settings.py")
    cells = json.loads((tmp_path / "notebooks" / "workbench.ipynb").read_text(encoding="utf-8"))["cells"]
    written = "".join(next(cell for cell in cells if "parameters" in cell["metadata"].get("tags", ()))["source"])
    assert 'favourite_colour: str = "blue"  # colour of everything that is drawn; one of blue, green\n' in written
    assert "| `favourite_colour` | choice | `blue` |" in (tmp_path / "docs" / "settings.md").read_text(encoding="utf-8")


def test_what_is_made_from_the_table_is_up_to_date() -> None:
    command = [sys.executable, "scripts/settings.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "all up to date\n")


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("1, 8", ["1", "8"]),
        ("[1, 8]", [1, 8]),
        ("(1,8)", ["1", "8"]),
        ('["a,b", "c"]', ["a,b", "c"]),
        ("[a,b]", ["a", "b"]),
        ("f(x)", ["f(x)"]),
        (5, [5]),
        ((1, 2), [1, 2]),
        ("", []),
    ],
)
def test_lists_come_in_many_forms(given, found) -> None:
    assert items(given) == found


def test_names_with_commas_survive_the_way_through_text() -> None:
    setting = Texts(default=(), label="x", help="x", name="x")
    for value in (("a", "b"), ("a,b", "c"), ("f(x)",), ("[odd]",), (" led",), ()):
        assert setting.parse(setting.parameter(value)) == value


def test_whole_numbers_keep_all_their_digits() -> None:
    assert whole("1152921504606846977") == whole(1152921504606846977) == 1152921504606846977
    assert [whole(value) for value in (2.0, "+3", "-1", 1.5, "x", True, None, float("inf"))] == [2, 3, -1, *[None] * 5]
    assert [shown(value) for value in ("nan", 0, True, None, "")] == ["nan", "0", "true", "null", '""']


def test_numbers_may_have_names() -> None:
    setting = SETTINGS["optimization_level"]
    assert isinstance(setting, Integers)
    assert setting.parse("default, 3") == setting.parse([3, -1]) == (-1, 3)
    assert (setting.word(-1), setting.word(3)) == ("default", "3")


def test_the_home_folder_is_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert isinstance(SETTINGS["model"], Place)
    asked = Experiment(model="~/a.onnx", data=Path("~/b.npz"))
    assert (asked.model, asked.data) == ("/somewhere/a.onnx", "/somewhere/b.npz")
    assert Experiment(model="~no-user-of-this-name/a.onnx").model == "~no-user-of-this-name/a.onnx"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", 10**6),
        ("rounds", 10**9),
        ("optimization_level", "0,99"),
        ("workspace_mib", -1),
        ("calibration_samples", 0),
        ("max_measure_s", 1e9),
        ("step_memory_mib", -5),
        ("step_s", "soon"),
        ("data_mib", 1.5),
        ("labels", "rows"),
        ("ignore_label", "x"),
        ("class_axis", "last"),
        ("box_outputs", "output0"),
        ("signature", None),
        ("precisions", b"fp32"),
        ("keep", {"a": 1}),
        ("baseline", True),
    ],
)
def test_values_out_of_bounds_get_one_sentence(name, value) -> None:
    with pytest.raises(InputError) as caught:
        Experiment(**{name: value})
    assert str(caught.value).count("\n") == 0
    assert f"'{name}'" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("labels", "one-hot", "one-hot"),
        ("ignore_label", 255, "255"),
        ("ignore_label", "none", "none"),
        ("class_axis", -1, "-1"),
        ("box_outputs", "boxes=a,scores=b,classes=c", "boxes=a,scores=b,classes=c"),
        ("group_column", "patient", "patient"),
        ("step_memory_mib", "512", 512),
        ("step_s", 60, 60.0),
        ("data_mib", 64, 64),
    ],
)
def test_values_within_bounds_are_kept(name, given, kept) -> None:
    asked = Experiment(**{name: given})
    assert getattr(asked, name) == kept
    assert Experiment(**asked.parameters()) == asked

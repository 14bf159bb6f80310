"""The file of a grid: models, and groups of settings; each model with each group is one experiment.

Example:

.. code-block:: yaml

    models: {small: nets/small.onnx, large: {model: nets/large.onnx, data: large.npz}}
    common: {data: digits.npz, backends: [onnxruntime, openvino]}
    settings:
      fast: {precisions: [int8, int8-dynamic]}
      exact: {precisions: fp32, budget: none}
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from workbench.errors import InputError, brief
from workbench.settings.commands import BUILT_IN
from workbench.settings.experiment import Experiment
from workbench.settings.kinds import shown
from workbench.settings.table import SETTINGS

MODELS, COMMON, GROUPS = "models", "common", "settings"
PARTS = (MODELS, COMMON, GROUPS)
PATHS = ("model", "data")
MOST_BYTES = 2**20
SHAPE = "'models' is a list of paths, or a name with a path for each"


@dataclass(frozen=True)
class GridCell:
    """One experiment of a grid: the names of its model and of its group of settings."""

    model: str
    group: str
    experiment: Experiment

    @property
    def name(self) -> str:
        """Both names as one that a file can have."""
        return "--".join(re.sub(r"[^\w.+-]+", "-", each).strip("-.") or "x" for each in (self.model, self.group))


def read_grid(path: Path) -> list[GridCell]:
    """The experiments of a grid, all settings of a model after each other. Relative paths of models and data begin at the file's folder.

    Raises:
        InputError: the file cannot be read, is not YAML, or names a setting that does not exist or a value that is not valid.
    """
    content = _loaded(path)
    models = _models(path, content.get(MODELS))
    common = _settings(path, COMMON, content.get(COMMON) or {})
    groups = content.get(GROUPS) or {"all": {}}
    if not isinstance(groups, dict):
        raise InputError(f"{path}: '{GROUPS}' must be names, each with its settings. {_found(groups)}")
    checked = {str(name): _settings(path, f"{GROUPS}: {name}", group or {}) for name, group in groups.items()}
    cells = [
        GridCell(model, group, _experiment(path, f"{model}, {group}", {**common, **values, **own}))
        for model, own in models.items()
        for group, values in checked.items()
    ]
    for cell in cells:
        other = next(each for each in cells if each.name == cell.name)
        if other is not cell:
            raise InputError(
                f"{path}: '{other.model}, {other.group}' and '{cell.model}, {cell.group}' would have the same file, "
                f"{cell.name}.html. Choose names that differ in letters or digits."
            )
    return cells


def _loaded(path: Path) -> dict[Any, Any]:
    import yaml

    try:
        if path.stat().st_size > MOST_BYTES or not path.is_file():
            raise InputError(
                f"{path} is not the file of a grid: it is a folder, or larger than 1 MiB. Give a YAML file."
            )
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as cause:
        raise InputError(f"There is no file {path}. Give the path of a YAML file with '{MODELS}'.") from cause
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as cause:
        raise InputError(f"{path} cannot be read as YAML: {brief(cause, 200)}. Correct it there.") from cause
    if not isinstance(content, dict) or MODELS not in content:
        raise InputError(f"{path} has no '{MODELS}'. Its parts are {', '.join(PARTS)}; {SHAPE}.")
    if unknown := [str(name) for name in content if name not in PARTS]:
        raise InputError(f"{path}: there is no part '{unknown[0]}'. The parts are {', '.join(PARTS)}.")
    return content


def _models(path: Path, given: Any) -> dict[str, dict[str, Any]]:
    """The settings of each model, its path among them, by its name."""
    if isinstance(given, list) and given:
        short = {_stem(path, each): each for each in given}
        given = short if len(short) == len(given) else {each: each for each in given}
    if not isinstance(given, dict) or not given:
        raise InputError(f"{path}: {SHAPE}. {_found(given)}")
    found = {}
    for name, one in given.items():
        values = one if isinstance(one, dict) else {"model": one}
        if not isinstance(values.get("model"), str):
            raise InputError(f"{path}: {SHAPE}, and '{name}' has none. {_found(one)}")
        found[str(name)] = _settings(path, f"{MODELS}: {name}", values)
    return found


def _stem(path: Path, model: Any) -> str:
    if not isinstance(model, str):
        raise InputError(f"{path}: {SHAPE}. {_found(model)}")
    return Path(model).stem


def _settings(path: Path, where: str, given: Any) -> dict[str, Any]:
    """Settings by name, with paths that begin at the folder of the file."""
    if not isinstance(given, dict):
        raise InputError(f"{path}: '{where}' must be settings with their values. {_found(given)}")
    found: dict[str, Any] = {}
    for key, value in given.items():
        name = str(key).replace("-", "_")
        if name not in SETTINGS:
            near = get_close_matches(name, SETTINGS, 1)
            hint = f"Did you mean '{near[0]}'?" if near else "'workbench report --help-all' lists them."
            raise InputError(f"{path}: '{where}' has a setting '{key}', which does not exist. {hint}")
        if isinstance(value, (Mapping, type(None))):
            raise InputError(f"{path}: '{where}': '{key}' has no value that a setting can have. {_found(value)}")
        found[name] = tuple(value) if isinstance(value, list) else value
    for name in PATHS:
        value = found.get(name)
        if isinstance(value, str) and value not in BUILT_IN:
            found[name] = str(path.parent / Path(value).expanduser())
    return found


def _experiment(path: Path, where: str, values: dict[str, Any]) -> Experiment:
    try:
        return Experiment(**values).resolved()
    except InputError as error:
        raise InputError(f"{path}: '{where}': {error.message}") from error


def _found(value: Any) -> str:
    return f"Found {'nothing' if value is None else shown(value)}."

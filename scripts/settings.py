"""Write what is made from the table of settings into the repository: the notebooks' parameters cells and docs/settings.md.

Run it after a change of ``workbench/settings``: ``make settings``. ``--check`` writes nothing, names what is out of date and
ends with status 1 where anything is.
"""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path

from workbench import backends
from workbench.settings.kinds import Setting
from workbench.settings.notebook import parameters_cell
from workbench.settings.table import RUN_SETTINGS, SETTINGS

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = Path("docs/settings.md")
APP = {"backends": "tensorflow,tensorflow:xla,onnxruntime,openvino", "batches": "1,8"}
"""Defaults of the panel for teaching that differ from the table: it is to answer within a minute."""
APP_SETTINGS = ("model", "data", "backends", "precisions", "batches", "measure_s", "store")
HEAD = """# Settings

Every setting of an experiment. Each has the same name in `workbench.Experiment(...)`, in `papermill notebooks/workbench.ipynb out.ipynb
-p NAME VALUE` and, with hyphens, in `workbench report --name VALUE`. A list is a Python sequence or text with commas.

This page is made from `workbench/settings` by `make settings`.
"""


def main() -> int:
    """Write or check the files; 1 where a check found one out of date."""
    old = [
        path for path, text in made().items() if not (ROOT / path).exists() or (ROOT / path).read_text("utf-8") != text
    ]
    if "--check" in sys.argv[1:]:
        print("\n".join(f"{path} is out of date. Run: make settings" for path in old) or "all up to date")
        return 1 if old else 0
    for path in old:
        (ROOT / path).write_text(made()[path], encoding="utf-8")
        print(f"wrote {path}")
    return 0


def made() -> dict[Path, str]:
    """The text of each file by its path in the repository."""
    workbench, app = Path("notebooks/workbench.ipynb"), Path("notebooks/app.ipynb")
    return {
        REFERENCE: reference(),
        workbench: with_cell(ROOT / workbench, parameters_cell()),
        app: with_cell(ROOT / app, parameters_cell(APP, APP_SETTINGS)),
    }


def with_cell(notebook: Path, source: str) -> str:
    """A notebook as JSON with this source in its parameters cell."""
    content = json.loads(notebook.read_text(encoding="utf-8"))
    cell = next(cell for cell in content["cells"] if "parameters" in cell["metadata"].get("tags", ()))
    cell["source"] = source.splitlines(keepends=True)
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def reference() -> str:
    """The reference page, as Markdown."""
    parts = [HEAD]
    for group, settings in groupby([*SETTINGS.values(), *RUN_SETTINGS.values()], lambda setting: setting.group):
        parts.append(f"\n## {group}\n\n| name | type | default | values | meaning |\n| --- | --- | --- | --- | --- |\n")
        parts += [_line(setting) for setting in settings]
    parts.append("\n## Settings that depend on the backend\n")
    parts += [_who(setting) for setting in SETTINGS.values() if setting.backend_setting]
    return "".join(parts)


def _line(setting: Setting) -> str:
    default = setting.parameter(setting.default)
    meaning = setting.help + (f". {setting.none.capitalize()}: {setting.empty}" if setting.empty else "")
    values = setting.allowed + (f"{', ' * bool(setting.allowed)}such as `{setting.example}`" if setting.example else "")
    cells = (f"`{setting.name}`", setting.kind, "(empty)" if default == "" else f"`{default}`", values, meaning)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"


def _who(setting: Setting) -> str:
    """Which backends have a setting, what it is there, and why the others have none."""
    lines = [f"\n`{setting.name}`:\n\n"]
    for name in backends.own():
        backend = backends.get(name)
        has = backend.settings.get(setting.backend_setting)
        reported = has or f"no effect: {backend.without.get(setting.backend_setting, 'it has no such setting')}"
        lines.append(f"* {backend.title}: {reported}\n")
    return "".join(lines)


if __name__ == "__main__":
    sys.exit(main())

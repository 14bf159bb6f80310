"""Settings as options of a command line, and a parser that ends in one sentence where it is given something wrong."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from typing import Any, NoReturn

from workbench.settings_table.kinds import Setting
from workbench.settings_table.table import RUN_SETTINGS, SETTINGS

PROGRAM = "workbench"
_NEGATIVE = re.compile(r"-[\d.].*")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence and status 2. Help texts are plain: a ``%`` in them is a percent sign."""

    def error(self, message: str) -> NoReturn:
        end = "" if message.endswith(("?", ".")) else "."
        self.exit(2, f"{PROGRAM}: {message[:1].upper()}{message[1:]}{end} See: {self.prog} --help\n")

    def add_argument(self, *names: Any, **given: Any) -> argparse.Action:
        return super().add_argument(*names, **_plain(given))

    def read(self, words: Sequence[str] | None) -> argparse.Namespace:
        """The options in these words, by default those of the command line; ends the program where one is wrong."""
        words = joined(sys.argv[1:] if words is None else words)
        options, rest = self.parse_known_args(words)
        if rest:
            command = self._command(words)
            name = rest[0].partition("=")[0]
            close = difflib.get_close_matches(name, command._option_string_actions, n=1)  # noqa: SLF001
            command.error(f"there is no option '{name}'" + (f"; did you mean '{close[0]}'?" if close else ""))
        return options

    def _command(self, words: Sequence[str]) -> Parser:
        """The parser of the command that these words name."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - argparse has no other way to ask
                return next((action.choices[word] for word in words if word in action.choices), self)
        return self


def joined(words: Iterable[str]) -> list[str]:
    """The words of a command line with ``--name -1..1`` as ``--name=-1..1``: argparse takes such a value for an option."""
    found: list[str] = []
    for word in words:
        if found and _NEGATIVE.fullmatch(word) and found[-1].startswith("--") and "=" not in found[-1]:
            found[-1] += f"={word}"
        else:
            found.append(word)
    return found


def add_settings(parser: argparse.ArgumentParser, names: Collection[str] = (), *, prefix: str = "") -> None:
    """An option for each of these settings, by default for all of an experiment, grouped as the table groups them.

    Values stay text: the experiment reads and checks them, with one message for every way in. What is not given is ``None``.
    """
    chosen = [SETTINGS[name] for name in SETTINGS if not names or name in names]
    for title, settings in groupby(chosen, lambda setting: setting.group):
        group = parser.add_argument_group(title.lower())
        for setting in settings:
            group.add_argument(
                setting.option, dest=setting.name, metavar="VALUE", **_plain({"help": prefix + _help(setting)})
            )


def add_run_settings(parser: argparse.ArgumentParser, *names: str) -> None:
    """Options for these settings of a run: the store, and whether to measure again."""
    for name in names:
        setting = RUN_SETTINGS[name]
        if setting.annotation == "bool":
            parser.add_argument(setting.option, action="store_true", help=setting.help)
        else:
            parser.add_argument(setting.option, default=setting.default, metavar="FOLDER", help=_help(setting))


def given(options: argparse.Namespace, names: Collection[str] = ()) -> dict[str, Any]:
    """The settings that a command line gave."""
    values = {name: getattr(options, name, None) for name in names or SETTINGS}
    return {name: value for name, value in values.items() if value is not None}


def _help(setting: Setting) -> str:
    default = setting.parameter(setting.default)
    return f"{setting.described()} (default: {'empty' if default == '' else default})"


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ``add_argument`` whose help says ``%`` where argparse would replace it."""
    text = given.get("help")
    return given | {"help": text.replace("%", "%%")} if isinstance(text, str) else given

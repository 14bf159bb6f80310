"""Settings as options of a command line, and a parser whose errors are one sentence."""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

from workbench.settings.kinds import Place, Setting, home
from workbench.settings.table import RUN_SETTINGS, SETTINGS

PROGRAM = "workbench"
MAIN = (
    "model",
    "data",
    "label_column",
    "backends",
    "precisions",
    *(name for name, setting in SETTINGS.items() if setting.basic),
)
"""The settings that ``--help`` describes where a command takes many; ``--help-all`` describes the others too."""
MANY = 25
"""Number of settings above which a command has a short help."""
_ADVICE = re.compile(rf"\b([Ss]et) '({'|'.join(SETTINGS)})'(?=\s+(?:to|lower|below)\b)")
_NEGATIVE = re.compile(r"-[\d.].*")


def as_options(text: str) -> str:
    """A text for a terminal: the settings that it advises to set, as options of the command line.

    >>> as_options("Set 'class_order' to '1,0'.")
    "Set --class-order to '1,0'."
    """
    return _ADVICE.sub(lambda match: f"{match[1]} {SETTINGS[match[2]].option}", text)


class UsageExit(SystemExit):
    """The command line is not valid; ``message`` says why, and was printed. The status is 2."""

    def __init__(self, message: str) -> None:
        super().__init__(2)
        self.message = message


class HelpAll(argparse.Action):
    """Prints the help with the options that ``--help`` leaves out, and exits."""

    def __init__(
        self, option_strings: Sequence[str], dest: str, left_out: Mapping[argparse.Action, str], **given: Any
    ) -> None:
        super().__init__(option_strings, dest, nargs=0, **given)
        self.left_out = left_out

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        for option, text in self.left_out.items():
            option.help = text
        parser.print_help()
        parser.exit()


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence and status 2. Help texts are not formatted: a ``%`` in them is a percent sign.

    Attributes:
        passes_on: words after ``--`` are meant for another program, and become ``options.passed_on``.
    """

    passes_on = False

    def error(self, message: str) -> NoReturn:
        end = "" if message.endswith(("?", ".")) else "."
        whole = "--help-all" if "--help-all" in self._option_string_actions else "--help"
        said = f"{message[:1].upper()}{message[1:]}{end} See: {self.prog} {whole}"
        self._print_message(f"{PROGRAM}: {said}\n", sys.stderr)
        raise UsageExit(said)

    def add_argument(self, *names: Any, **given: Any) -> argparse.Action:
        return super().add_argument(*names, **_plain(given))

    def read(self, words: Sequence[str] | None) -> argparse.Namespace:
        """The options in these words, by default those of the command line; exits the program for an invalid one."""
        words = joined(sys.argv[1:] if words is None else words)
        own = words
        if self._command(words).passes_on and "--" in words:
            own = words[: words.index("--")]
        options, rest = self.parse_known_args(own)
        options.passed_on = words[len(own) + 1 :]
        if rest:
            command = self._command(words)
            name = rest[0].partition("=")[0]
            close = difflib.get_close_matches(name, command._option_string_actions, n=1)  # noqa: SLF001
            command.error(f"there is no option '{name}'" + (f"; did you mean '{close[0]}'?" if close else ""))
        return options

    def _command(self, words: Sequence[str]) -> Parser:
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 - argparse has no other way to ask
                return next((action.choices[word] for word in words if word in action.choices), self)
        return self


def path(text: str) -> Path:
    """A path on the command line."""
    return Path(home(text))


def joined(words: Iterable[str]) -> list[str]:
    """The words of a command line with ``--name -1..1`` as ``--name=-1..1``, because argparse reads such a value as an option.

    >>> joined(["report", "--pixels", "-1..1"])
    ['report', '--pixels=-1..1']
    """
    found: list[str] = []
    for word in words:
        if found and _NEGATIVE.fullmatch(word) and found[-1].startswith("--") and "=" not in found[-1]:
            found[-1] += f"={word}"
        else:
            found.append(word)
    return found


def add_settings(parser: argparse.ArgumentParser, names: Collection[str] = (), *, prefix: str = "") -> None:
    """Add an option for each of these settings, by default for all of an experiment, in the groups of the table.

    Of more than :data:`MANY` only :data:`MAIN` are in the help, and ``--help-all`` is added.

    Values remain text: the experiment reads and checks them, with the same messages for all sources. Missing options are ``None``.
    """
    chosen = [SETTINGS[name] for name in SETTINGS if not names or name in names]
    left_out: dict[argparse.Action, str] = {}
    for title, settings in groupby(chosen, lambda setting: setting.group):
        group = parser.add_argument_group(title.lower())
        for setting in settings:
            texts = _plain({"help": prefix + _help(setting)})
            option = group.add_argument(setting.option, dest=setting.name, metavar="VALUE", **texts)
            if len(chosen) > MANY and setting.name not in MAIN:
                left_out[option], option.help = texts["help"], argparse.SUPPRESS
    if left_out:
        said = f"show this help with {len(left_out)} more settings, and exit"
        parser.add_argument("--help-all", action=HelpAll, default=argparse.SUPPRESS, help=said, left_out=left_out)


def add_run_settings(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add options for these settings of a run: the store, and whether to measure again."""
    for name in names:
        setting = RUN_SETTINGS[name]
        if setting.annotation == "bool":
            parser.add_argument(setting.option, action="store_true", help=setting.help)
        else:
            metavar = "FOLDER" if isinstance(setting, Place) else "VALUE"
            parser.add_argument(setting.option, default=setting.default, metavar=metavar, help=_help(setting))


def given(options: argparse.Namespace, names: Collection[str] = ()) -> dict[str, Any]:
    """The settings that are given on a command line."""
    values = {name: getattr(options, name, None) for name in names or SETTINGS}
    return {name: value for name, value in values.items() if value is not None}


def command_line(command: str, values: Mapping[str, Any]) -> str:
    """The shell command with these settings as options."""
    words = [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return shlex.join([PROGRAM, command, *words])


def _help(setting: Setting) -> str:
    default = setting.parameter(setting.default)
    return f"{setting.described()} (default: {'empty' if default == '' else default})"


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ``add_argument`` with every ``%`` in the help escaped for argparse."""
    text = given.get("help")
    return given | {"help": text.replace("%", "%%")} if isinstance(text, str) else given

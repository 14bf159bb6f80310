"""The kinds of settings, which read, check and write values from all sources.

A value is a Python object (``Experiment(batches=(1, 8))``), text from a command line (``--batches 1,8``) or a number or text from
papermill (``-p batches 8``). All of them are read here, with the same messages.
"""

from __future__ import annotations

import json
import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

from workbench.errors import InputError

TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting. ``name``, ``group`` and an absent ``label`` are filled in from the class that declares it.

    Attributes:
        default: the value where none is given, as it is stored in an experiment.
        label: the panel's text above the control; by default the name in words.
        help: one line of text, without ``=`` and ``#``, at which papermill's reader of parameters stops.
        unit: the unit of a number.
        example: a value as a user types it.
        empty: the meaning of the empty text, or of a number that means "no value".
        suggestions: values that the panel offers in addition to free text.
        backend_setting: its name in ``Backend.settings`` and ``Backend.without``, where its effect depends on the backend.
        gpu: whether it has an effect on GPUs only.
        basic: whether the panel always shows it; the others are folded.
        condition: whether results with different values were measured under different conditions.
        read: function that converts the given object to the value, instead of the kind's own conversion.
        check: raises :class:`InputError` for a value that is not valid.
    """

    default: Any
    help: str
    label: str = ""
    name: str = ""
    group: str = ""
    unit: str = ""
    example: str = ""
    empty: str = ""
    suggestions: tuple[str, ...] = ()
    backend_setting: str = ""
    gpu: bool = False
    basic: bool = False
    condition: bool = True
    read: Callable[[Any], Any] | None = None
    check: Callable[[Any], object] | None = None

    kind: ClassVar[str] = "text"
    annotation: ClassVar[str] = "str"

    def parse(self, value: Any) -> Any:
        """The given value in the form in which an experiment stores it.

        Raises:
            InputError: the value is not valid; the message says which values are.
        """
        found = self.read(value) if self.read else self._parse(value)
        if self.check:
            self.check(found)
        return found

    def _parse(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise InputError(f"'{self.name}' must be text; found {shown(value)}.{self._such()}")
        return str(value)

    def parameter(self, value: Any) -> Any:
        """A stored value in the form of papermill and the command line: a number, a truth value, or text."""
        return value

    @property
    def option(self) -> str:
        """The name on the command line."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def allowed(self) -> str:
        """The bounds or the choices as text; "" where there are none."""
        return ""

    def described(self, *, example: bool = True) -> str:
        """The help with unit, choices and the meaning of an empty value."""
        parts = [self.help]
        if self.allowed:
            parts.append(self.allowed)
        if self.example and example:
            parts.append(f"such as {self.example}")
        if self.empty:
            parts.append(f"{self.none}: {self.empty}")
        return "; ".join(parts)

    @property
    def none(self) -> str:
        """The name in help texts of the value that means "no value"."""
        value = self.parameter(self.default)
        return "empty" if value == "" else f"{value:g}" if isinstance(value, float) else str(value)

    def _such(self) -> str:
        return f" Choose for example {self.example}." if self.example else ""


@dataclass(frozen=True, kw_only=True)
class Text(Setting):
    """Any text."""

    default: Any = ""


@dataclass(frozen=True, kw_only=True)
class Place(Setting):
    """A path, or one of a few names; ``~`` at its beginning is the home folder."""

    default: Any = ""
    kind = "path"

    def _parse(self, value: Any) -> str:
        if isinstance(value, (str, os.PathLike)):
            text = os.fspath(value)
            if isinstance(text, str):
                return home(text)
        raise InputError(
            f"'{self.name}' must be a path or a name; found a {type(value).__name__}. Pass objects of the notebook separately: "
            f"workbench.run(experiment, {self.name}=...)."
        )


@dataclass(frozen=True, kw_only=True)
class Choice(Setting):
    """One of a few words; the empty text means none of them where it is the default."""

    choices: tuple[str, ...]
    kind = "choice"

    def _parse(self, value: Any) -> str:
        found = str(value)
        if found or self.default:
            choose(self.name, [found], self.choices)
        return found

    @property
    def allowed(self) -> str:
        return f"one of {', '.join(self.choices)}"


@dataclass(frozen=True, kw_only=True)
class YesNo(Setting):
    """Yes or no."""

    default: Any = False
    kind, annotation = "yes or no", "bool"

    def _parse(self, value: Any) -> bool:
        found = TRUTH.get(str(value).strip().lower())
        if found is None:
            raise InputError(f"'{self.name}' must be true or false; found {shown(value)}.")
        return found

    @property
    def allowed(self) -> str:
        return "true or false"


@dataclass(frozen=True, kw_only=True)
class Integer(Setting):
    """An integer within bounds."""

    low: int
    high: int
    kind, annotation = "whole number", "int"

    def _parse(self, value: Any) -> int:
        number = whole(value)
        if number is None or not self.low <= number <= self.high:
            raise InputError(
                f"'{self.name}' must be a whole number {self.allowed}; found {shown(value)}. "
                f"Choose for example {self.example or self.default}."
            )
        return number

    @property
    def allowed(self) -> str:
        return f"from {self.low} to {self.high} {self.unit}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Number(Setting):
    """A number within bounds; ``open_low`` and ``open_high`` exclude the bound itself."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False
    kind, annotation = "number", "float"

    def _parse(self, value: Any) -> float:
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        above = number > self.low if self.open_low else number >= self.low
        below = number < self.high if self.open_high else number <= self.high
        if not (above and below):
            raise InputError(
                f"'{self.name}' must be a number {self.allowed}; found {shown(value)}. "
                f"Choose for example {self.example or self.default}."
            )
        return number

    @property
    def allowed(self) -> str:
        low, high = (f"{bound:.15g}" for bound in (self.low, self.high))
        if self.open_low:
            return f"above {low} and {'below' if self.open_high else 'at most'} {high} {self.unit}".rstrip()
        return f"from {low} to {'below ' if self.open_high else ''}{high} {self.unit}".rstrip()


@dataclass(frozen=True, kw_only=True)
class Texts(Setting):
    """Several texts, in the given order and each once. A single text is split at commas."""

    default: Any = ()
    choices: tuple[str, ...] = ()
    kind = "list"

    def _parse(self, value: Any) -> tuple[str, ...]:
        found: list[str] = []
        for item in items(value):
            if isinstance(item, bool) or not isinstance(item, (str, int, float)):
                raise InputError(f"'{self.name}' must be names separated by commas; found {shown(item)}.{self._such()}")
            found.append(str(item))
        if not found and self.default:
            raise InputError(f"'{self.name}' is empty. Give at least one value.")
        if self.choices:
            choose(self.name, found, self.choices)
        return tuple(dict.fromkeys(found))

    def parameter(self, value: Any) -> str:
        text = ",".join(value)
        return text if tuple(items(text)) == tuple(value) else json.dumps(list(value), ensure_ascii=False)

    @property
    def allowed(self) -> str:
        names = f": {', '.join(self.choices)}" if self.choices else ""
        return f"separated by commas{names}"


@dataclass(frozen=True, kw_only=True)
class Integers(Setting):
    """Several integers, ascending and each once. ``words`` are names for numbers."""

    low: int
    high: int
    usual: tuple[int, ...] = ()
    words: Mapping[str, int] = field(default_factory=dict)
    kind = "list of whole numbers"

    def _parse(self, value: Any) -> tuple[int, ...]:
        found = set()
        for item in items(value):
            number = self.words.get(item.strip().lower()) if isinstance(item, str) else None
            number = whole(item) if number is None else number
            if number is None or not self.low <= number <= self.high:
                raise InputError(
                    f"'{self.name}' must be whole numbers {self.allowed}; found {shown(item)}. "
                    f"Choose for example {self.example}."
                )
            found.add(number)
        if not found:
            raise InputError(f"'{self.name}' is empty. Give at least one value.")
        return tuple(sorted(found))

    def parameter(self, value: Any) -> str:
        return ",".join(map(str, value))

    @property
    def allowed(self) -> str:
        return f"{f'from {self.low} to {self.high} {self.unit}'.rstrip()}, separated by commas"

    def word(self, number: int) -> str:
        """The text of a number in the panel."""
        return next((word for word, value in self.words.items() if value == number), str(number))


def home(path: str) -> str:
    """A path with a leading ``~`` replaced by the home folder; the path of an unknown user does not change."""
    return os.path.expanduser(path)  # noqa: PTH111 - Path.expanduser raises for such a user


def choose(what: str, asked: Iterable[str], valid: Iterable[str]) -> None:
    """Raise :class:`InputError` with the first unknown value of ``asked`` and the valid ones, if there is one."""
    choices = [str(choice) for choice in valid]
    for value in asked:
        if value not in choices:
            raise InputError(f"Unknown value '{value}' for '{what}'. Choose from: {', '.join(choices)}.")


def items(value: Any) -> list[Any]:
    """The items of a list that was given as a sequence, a single value, ``"1,8,32"``, ``"[1, 8]"`` or JSON.

    >>> items("[1, 8]"), items(4)
    ([1, 8], [4])
    """
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("[") and text.endswith("]"):
            try:
                return list(json.loads(text))
            except ValueError:
                pass  # names without quotation marks
        if text[:1] + text[-1:] in ("[]", "()"):
            text = text[1:-1]
        return [part.strip() for part in text.split(",") if part.strip()]
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)):
        return list(value)
    return [value]


def whole(value: Any) -> int | None:
    """An integer that was given as an int, a NumPy integer, a float or text; ``None`` for other values.

    >>> whole("8"), whole(8.0), whole(8.5)
    (8, 8, None)
    """
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:
        pass
    try:
        return int(value) if isinstance(value, str) and value.strip().lstrip("+-").isdecimal() else _of_float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _of_float(value: Any) -> int | None:
    number = float(value)
    return int(number) if number == int(number) else None


def shown(value: Any) -> str:
    """A value for a message: numbers as they are, also numbers given as text, and other values as JSON."""
    if isinstance(value, (float, int)) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip():
        with suppress(ValueError):
            float(value)
            return value
    return json.dumps(value, default=str, ensure_ascii=False)

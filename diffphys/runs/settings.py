"""Typed settings: a frozen dataclass, overridden by presets and by `key=value` from the command line."""

import dataclasses
import difflib
import itertools
import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from diffphys.errors import InputError


Settings = TypeVar("Settings")


@dataclasses.dataclass(frozen=True)
class Rule:
    """What one setting accepts beyond its type; for a tuple the rule holds for each entry."""

    help: str
    minimum: int | float | None = None
    maximum: int | float | None = None
    above: int | float | None = None
    choices: tuple[Any, ...] | None = None
    increasing: int | None = None
    distinct: bool = False
    lengths: tuple[int, ...] = ()
    changes_results: bool = True


def setting(
    default: Any,
    *,
    help: str,
    minimum: int | float | None = None,
    maximum: int | float | None = None,
    above: int | float | None = None,
    choices: Sequence[Any] | None = None,
    increasing: int | None = None,
    distinct: bool = False,
    lengths: Sequence[int] = (),
    changes_results: bool = True,
) -> Any:
    """A field of a settings dataclass.

    Its annotation is one of `bool`, `int`, `float`, `str`, `tuple[T, ...]` or a tuple of fixed length such as
    `tuple[int, int]`; a list has one entry or more.

        @dataclass(frozen=True)
        class Settings:
            frames: int = setting(499, help="frames per test flow", minimum=1)
            test_reynolds: tuple[float, ...] = setting((73.2, 4687.5), help="Reynolds numbers of the tests", above=0.0)

    Args:
        default: The value where no preset and nobody says otherwise.
        help: One line for the user.
        minimum: The smallest number accepted.
        maximum: The largest number accepted.
        above: A number that must be exceeded, as 0.0 for a positive length.
        choices: The only values accepted.
        increasing: For a list: each entry is larger than the one before, and there are at least so many, as the grids
            of a convergence study are.
        distinct: For a list: no entry stands there twice, as the cases of a study.
        lengths: For a list: how many entries there may be, as (2, 3) for one along each axis. Default: any number.
        changes_results: False where the value changes nothing that is computed (how often to save, say), so that a
            run may go on with another value.
    """
    among = None if choices is None else tuple(choices)
    rule = Rule(help, minimum, maximum, above, among, increasing, distinct, tuple(lengths), changes_results)
    return dataclasses.field(default=default, metadata={"rule": rule})


def make_settings(cls: type[Settings], values: Mapping[str, Any]) -> Settings:
    """Settings of class `cls`: its defaults, overridden by `values`, everything checked.

    Raises:
        InputError: a name that is no setting, or a value of the wrong type, outside its range or not among its choices.
    """
    fields = _fields(cls)
    for name in values:
        _known(name, fields)
    chosen = {name: values.get(name, field.default) for name, field in fields.items()}
    hints = typing.get_type_hints(cls)
    return cls(**{name: _checked(name, value, hints[name], _rule(fields[name])) for name, value in chosen.items()})


def parse_overrides(cls: type, assignments: Iterable[str]) -> dict[str, Any]:
    """Texts of the form `key=value` as typed values; lists are separated by commas. A later text wins.

    Raises:
        InputError: a text without "=", a name that is no setting, or a value that is not accepted.
    """
    fields, hints = _fields(cls), typing.get_type_hints(cls)
    values = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f'"{assignment}" sets nothing: write key=value, where key is one of: {", ".join(fields)}')
        field = _known(name.strip(), fields)
        values[field.name] = _parsed(field.name, text.strip(), hints[field.name], _rule(field))
    return values


def results_settings(settings: Any) -> dict[str, Any]:
    """Those settings that change what is computed, by name."""
    fields = dataclasses.fields(settings)
    return {field.name: getattr(settings, field.name) for field in fields if _rule(field).changes_results}


@dataclasses.dataclass(frozen=True)
class DescribedSetting:
    """One setting in words: its name, its default as a user would write it, what it accepts, and what it means."""

    name: str
    default: str
    accepted: str
    help: str
    changes_results: bool


def described_settings(cls: type) -> list[DescribedSetting]:
    """Every setting of a class, in words."""
    hints = typing.get_type_hints(cls)
    described = []
    for name, field in _fields(cls).items():
        rule = _rule(field)
        accepted = _accepted(hints[name], rule)
        described.append(DescribedSetting(name, written(field.default), accepted, rule.help, rule.changes_results))
    return described


def written(value: Any) -> str:
    """A value as it is written after `key=`."""
    if isinstance(value, (tuple, list)):
        return ",".join(map(written, value))
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value != "" else '""'


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, and all of them."""
    known = list(known)
    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    hint = f': did you mean "{close[0]}"?' if close else ""
    return f"{hint} (known: {', '.join(known) or 'none'})"


def _fields(cls: type) -> dict[str, dataclasses.Field]:
    return {field.name: field for field in dataclasses.fields(cls)}


def _rule(field: dataclasses.Field) -> Rule:
    return field.metadata.get("rule", Rule(help=""))


def _known(name: str, fields: Mapping[str, dataclasses.Field]) -> dataclasses.Field:
    if name not in fields:
        raise InputError(f'there is no setting "{name}"{nearest(name, fields)}')
    return fields[name]


def _parsed(name: str, text: str, hint: Any, rule: Rule) -> Any:
    """The value a text stands for."""
    if typing.get_origin(hint) is tuple:
        parts = text.split(",") if text else []
        value = tuple(_scalar(part.strip(), _entry_type(hint)) for part in parts)
    else:
        value = _scalar(text, hint)
    return _checked(name, value, hint, rule, given=text)


def _scalar(text: str, kind: type) -> Any:
    """The scalar a text stands for, or the text itself where it stands for none (the check then refuses it)."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind is str:
        return text
    try:
        return kind(text)
    except ValueError:
        return text


def _checked(name: str, value: Any, hint: Any, rule: Rule, given: str | None = None) -> Any:
    """The value itself (lists as tuples, whole numbers as floats where floats are asked for), or InputError."""
    if typing.get_origin(hint) is tuple:
        kind, arguments = _entry_type(hint), typing.get_args(hint)
        entries = tuple(value) if isinstance(value, (list, tuple)) else (None,)
        lengths = rule.lengths if arguments[-1] is Ellipsis else (len(arguments),)
        right_length = len(entries) in lengths if lengths else len(entries) > 0
        accepted = right_length and all(_accepts(entry, kind, rule) for entry in entries)
        accepted = accepted and (rule.increasing is None or _increases(entries, rule.increasing))
        if accepted and not (rule.distinct and len(set(entries)) < len(entries)):
            return tuple(kind(entry) for entry in entries)
    elif _accepts(value, hint, rule):
        return hint(value)
    shown = given if given is not None else value
    raise InputError(f'the setting "{name}" accepts {_accepted(hint, rule)}, not "{shown}"')


def _increases(entries: Sequence[Any], least: int) -> bool:
    return len(entries) >= least and all(one < two for one, two in itertools.pairwise(entries))


def _entry_type(hint: Any) -> type:
    return typing.get_args(hint)[0]


def _accepts(value: Any, kind: type, rule: Rule) -> bool:
    if kind is float:
        right_type = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    else:
        right_type = type(value) is kind
    return bool(
        right_type
        and (rule.choices is None or value in rule.choices)
        and (rule.minimum is None or value >= rule.minimum)
        and (rule.maximum is None or value <= rule.maximum)
        and (rule.above is None or value > rule.above)
    )


_SINGULAR = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_PLURAL = {bool: "values true or false", int: "whole numbers", float: "numbers", str: "texts"}


def _accepted(hint: Any, rule: Rule) -> str:
    """What a setting accepts, in words."""
    if typing.get_origin(hint) is tuple:
        arguments = typing.get_args(hint)
        lengths = rule.lengths if arguments[-1] is Ellipsis else (len(arguments),)
        count = " or ".join(map(str, lengths)) or "one or more"
        if rule.increasing is not None:
            count = f"{rule.increasing} or more increasing"
        if rule.distinct:
            count += " different"
        each = f", each {_limits(rule)}" if _limits(rule) else ""
        return f"{count} {_PLURAL[arguments[0]]} separated by commas{each}"
    if rule.choices is not None:
        return _limits(rule)
    return f"{_SINGULAR[hint]} {_limits(rule)}".rstrip()


def _limits(rule: Rule) -> str:
    """The choices or the range of one value, in words; empty where there are none."""
    if rule.choices is not None:
        return f"one of: {', '.join(map(str, rule.choices))}"
    bounds = (("above", rule.above), ("at least", rule.minimum), ("at most", rule.maximum))
    return " and ".join(f"{word} {bound}" for word, bound in bounds if bound is not None)

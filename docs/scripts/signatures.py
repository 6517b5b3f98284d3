"""Signatures of Equinox modules on the pages of the interface: griffe by itself knows those of dataclasses only."""

from collections.abc import Iterator
from typing import Any

import griffe


class ModuleSignatures(griffe.Extension):
    """Gives each module the constructor that Equinox makes of its fields."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        modules = [one for one in classes(pkg) if is_module(one)]
        for one in [one for one in modules if not any("__init__" in part.members for part in lineage(one))]:
            given = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
            fields = {field.name: field for part in reversed(lineage(one)) for field in fields_of(part)}
            constructor = griffe.Function(
                "__init__", parameters=griffe.Parameters(given, *fields.values()), returns="None", parent=one
            )
            one.set_member("__init__", constructor)


def classes(part: griffe.Module | griffe.Class) -> Iterator[griffe.Class]:
    """All classes that are defined in a module or class."""
    for member in part.members.values():
        if not member.is_alias and isinstance(member, (griffe.Module, griffe.Class)):
            if isinstance(member, griffe.Class):
                yield member
            yield from classes(member)


def lineage(one: griffe.Class) -> list[griffe.Class]:
    """The class and those it inherits from, as far as they are in the package."""
    try:
        return [one, *one.mro()]
    except ValueError:
        return [one]


def is_module(one: griffe.Class) -> bool:
    """Whether it inherits from `equinox.Module`."""
    return any(getattr(base, "canonical_path", "") == "equinox.Module" for part in lineage(one) for base in part.bases)


def fields_of(one: griffe.Class) -> Iterator[griffe.Parameter]:
    """What a class adds to its constructor."""
    for member in one.members.values():
        if not isinstance(member, griffe.Attribute) or member.annotation is None:
            continue
        if "property" in member.labels or "instance-attribute" not in member.labels:  # the latter: a ClassVar
            continue
        value: Any = member.value
        if isinstance(value, griffe.ExprCall) and str(value.function).split(".")[-1] == "field":
            options = {option.name: option.value for option in value.arguments if hasattr(option, "name")}
            if str(options.get("init")) == "False":
                continue
            value = options.get("default", options.get("default_factory"))
        yield griffe.Parameter(
            member.name,
            annotation=member.annotation,
            kind=griffe.ParameterKind.positional_or_keyword,
            default=value,
        )

"""Numbers of a module, declared with their range where they are named.

    class Heat(Declared):
        diffusivity: Array = quantity(minimum=0.0)
        dt: Array = quantity(above=0.0)

What a user gives becomes a traced leaf of the default float type, and what is no number, not finite or out of its range
is refused in a sentence that names the class, the field and what is accepted.
"""

import dataclasses
from typing import Any

import equinox as eqx
import numpy as np

from diffphys.errors import InputError
from diffphys.grids.numbers import as_number, check_number


@dataclasses.dataclass(frozen=True)
class _Range:
    minimum: float
    above: float
    scalar: bool


def quantity(
    *, minimum: float = -np.inf, above: float = -np.inf, scalar: bool = True, default: Any = dataclasses.MISSING
) -> Any:
    """A field of a `Declared` module that holds a number.

    Args:
        minimum: It is at least this.
        above: It is greater than this.
        scalar: Whether it is one number; else it may be an array.
        default: Its value where none is given.
    """
    given: dict[str, Any] = {} if default is dataclasses.MISSING else {"default": default}
    return eqx.field(converter=_converted, metadata={"range": _Range(minimum, above, scalar)}, **given)


class Declared(eqx.Module):
    """A module whose numbers are checked as they were declared with `quantity`."""

    def __check_init__(self):
        owner = type(self).__name__
        for field in dataclasses.fields(self):
            allowed = field.metadata.get("range")
            if allowed is None:
                continue
            value = getattr(self, field.name)
            if isinstance(value, _NoNumber):
                raise InputError(f"{owner}: {field.name} is {value.given!r}; a number is accepted.")
            check_number(owner, field.name, value, minimum=allowed.minimum, above=allowed.above, scalar=allowed.scalar)


@dataclasses.dataclass(frozen=True)
class _NoNumber:
    """What could not be converted, kept until the class that it was given to can say so."""

    given: Any


def _converted(value: Any) -> Any:
    try:
        return as_number(value)
    except InputError:
        return _NoNumber(value)

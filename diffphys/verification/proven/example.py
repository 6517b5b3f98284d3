"""What an example is."""

from collections.abc import Callable
from typing import Any

from diffphys.grids import Periodic


Example = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function, and the arguments at which its derivatives are proven."""

PERIODIC = ((Periodic(), Periodic()),) * 2

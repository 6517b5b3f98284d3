"""What an example is."""

from collections.abc import Callable
from functools import partial
from typing import Any

from diffphys.grids import Periodic
from diffphys.poisson import FictitiousDomain


Example = tuple[Callable[..., Any], tuple[Any, ...]]
"""A function, and the arguments at which its derivatives are proven."""

PERIODIC = ((Periodic(), Periodic()),) * 2

TIGHT = partial(FictitiousDomain, tolerance=1e-14)
"""A solver for coefficients that vary, whose iteration leaves nothing that a proof would see."""

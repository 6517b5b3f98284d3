"""Fourier modes instead of differences."""

import dataclasses

from diffphys.errors import InputError
from diffphys.grids.numbers import as_number, check_number


@dataclasses.dataclass(frozen=True)
class Spectral:
    r"""Fourier modes: makes all of a flow in a periodic box pseudo-spectral (Orszag 1971; Canuto, Hussaini, Quarteroni,
    Zang 2006, chapter 3).

    Derivatives, pressure and diffusion are those of each wave; products are formed on the grid. There the product of
    two waves of numbers m and n on N cells looks like one of number m + n - N if m + n is above N / 2. With
    `dealiasing=2/3` only waves below N / 3 are kept, on which no such alias falls, so that what is computed is the
    Galerkin projection of the equations: it keeps energy and, in 2D, enstrophy, as they do.

    Args:
        dealiasing: Along each axis waves are kept whose number is below this part of the highest, N / 2. 2/3 removes
            all aliases; 1 removes none, has half more waves along each axis, and can blow up.

    Examples:
        >>> grid = dp.Grid((8, 8), (1.0, 1.0))
        >>> flow = dp.IncompressibleFlow(
        ...     grid, 1e-3, 0.01, dp.Periodic(), advection=dp.Spectral(), stepping=dp.RungeKutta(3)
        ... )
        >>> later = flow(flow.initial_state((1.0, 0.0)))
    """

    dealiasing: float = 2 / 3

    def __post_init__(self):
        part = as_number(self.dealiasing, "Spectral: dealiasing")
        check_number("Spectral", "dealiasing", part, above=0.0)
        if float(part) > 1:
            raise InputError(f"Spectral: dealiasing is {float(part):g}; a number above 0 and up to 1 is accepted.")
        object.__setattr__(self, "dealiasing", float(self.dealiasing))

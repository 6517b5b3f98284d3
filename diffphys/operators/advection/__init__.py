"""Advection schemes as values, so that a flow can be given any of them.

| scheme | family | order in space | keeps |
|---|---|---|---|
| `SemiLagrangian`, `CubicSemiLagrangian`, `MacCormack` | look-ups, for steps of any length | 1, 3, 2 | extremes |
| `Upwind`, `VanLeer` | fluxes | 1, 2 | the sum; no new extremes |
| `SkewSymmetric(order)` | fluxes | 2 or 4 | the sum, and the sum of squares |
| `Spectral` | Fourier modes, of a flow in a periodic box | any | the sum, and the sum of squares |

Every scheme but the last, which makes all of a flow its own, can `carry` a field over a step. A scheme of fluxes also
says how fast the carried field changes, which is what a Runge-Kutta method asks for.
"""

from diffphys.operators.advection.convection import control_volume, convection
from diffphys.operators.advection.cubic import CubicSemiLagrangian, cubic_semi_lagrangian
from diffphys.operators.advection.fluxes import advect, advection_rate
from diffphys.operators.advection.maccormack import MacCormack, maccormack
from diffphys.operators.advection.scheme import Advection, FluxAdvection
from diffphys.operators.advection.semi_lagrangian import SemiLagrangian, semi_lagrangian
from diffphys.operators.advection.skew_symmetric import SkewSymmetric
from diffphys.operators.advection.spectral import Spectral
from diffphys.operators.advection.upstream import Upwind, VanLeer


__all__ = [
    "Advection",
    "CubicSemiLagrangian",
    "FluxAdvection",
    "MacCormack",
    "SemiLagrangian",
    "SkewSymmetric",
    "Spectral",
    "Upwind",
    "VanLeer",
    "advect",
    "advection_rate",
    "control_volume",
    "convection",
    "cubic_semi_lagrangian",
    "maccormack",
    "semi_lagrangian",
]

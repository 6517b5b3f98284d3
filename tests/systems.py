"""Every public step, on a grid as small as it allows: for what has to hold for all of them alike."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import diffphys as dp
from diffphys import nets, poisson
from diffphys.grids import ConvectiveOutflow, Dirichlet, Neumann, Periodic
from diffphys.physics import Mixture, OneStepReaction
from diffphys.stepping import SubSteps


GRID = dp.Grid((8, 6), (8.0, 6.0))
STRETCHED = GRID.with_edges(1, [0.0, 0.7, 1.6, 2.7, 3.9, 5.0, 6.0])


def channel() -> dict:
    """Sides of a channel, their numbers in the precision of who asks."""
    return {"x": dp.Wall(), "y": (dp.Inflow(1.0, scalar=1.0), dp.Outflow())}


def _body() -> dp.Sphere:
    return dp.Sphere((4.2, 2.6), 1.3)


def _dye() -> dict[str, dp.PassiveScalar]:
    return {"dye": dp.PassiveScalar(0.02, source=dp.Sphere((4.0, 1.5), 1.0))}


def _split(**settings: Any) -> dp.IncompressibleFlow:
    return dp.IncompressibleFlow(GRID, 0.05, 0.2, settings.pop("sides", None) or channel(), **settings)


def _stages(**settings: Any) -> dp.IncompressibleFlow:
    settings = {"stepping": dp.RungeKutta(2)} | settings
    return dp.IncompressibleFlow(GRID, 0.05, 0.1, settings.pop("sides", None) or channel(), **settings)


def _corrected(network: Any) -> dp.Corrected:
    return dp.Corrected(_split(sides=dp.Periodic()), network)


def _moving() -> dp.IncompressibleFlow:
    faster = dp.Inflow(lambda time: 1 + 0.1 * jnp.sin(time))
    return _stages(
        solid=lambda time: dp.Immersed(dp.Sphere((4.2 + 0.1 * time, 2.6), 1.3), velocity=(0.1, 0.0)),
        sides={"x": dp.Wall(), "y": (faster, dp.Outflow())},
    )


SYSTEMS: dict[str, Callable[[], Any]] = {
    "heat": lambda: dp.Heat(GRID, 0.3, 0.1, ((Dirichlet(0.2), Neumann(0.1)), (Periodic(), Periodic()))),
    "burgers": lambda: dp.Burgers(GRID, 0.1, 0.1, ((Dirichlet(0.0), Neumann(0.0)), (Periodic(), Periodic()))),
    "split, periodic": lambda: _split(sides=dp.Periodic()),
    "split, obstacle": lambda: _split(solid=_body(), scalars=_dye()),
    "split, multigrid": lambda: _split(solid=_body(), pressure_solver=poisson.MultigridConjugateGradients),
    "stages": lambda: _stages(scalars=_dye()),
    "stages, obstacle": lambda: _stages(solid=_body(), scalars=_dye()),
    "stages, fourth order": lambda: _stages(advection=dp.SkewSymmetric(4), sides=dp.Periodic()),
    "stages, implicit": lambda: _stages(stepping=dp.ImplicitExplicit(2)),
    "stages, immersed": lambda: _stages(solid=dp.Immersed(_body(), velocity=0.1), scalars=_dye()),
    "stages, moving": _moving,
    "smoke": lambda: _stages(scalars=_dye(), forces=(dp.Buoyancy("dye", (0.0, 0.5)),)),
    "smoke, split": lambda: _split(scalars=_dye(), forces=(dp.Buoyancy("dye", (0.0, 0.5)),)),
    "split, cubic": lambda: _split(solid=_body(), scalars=_dye(), advection=dp.CubicSemiLagrangian(limited=True)),
    "split, MacCormack": lambda: _split(solid=_body(), scalars=_dye(), advection=dp.MacCormack()),
    "split, stretched": lambda: dp.IncompressibleFlow(STRETCHED, 0.05, 0.2, channel(), scalars=_dye()),
    "split, convective outflow": lambda: _split(
        sides={"x": dp.Wall(slip_length=0.4), "y": (dp.Inflow(1.0), ConvectiveOutflow())}
    ),
    "stages, van Leer": lambda: _stages(solid=_body(), scalars=_dye(), advection=dp.VanLeer()),
    "stages, obstacle, fourth order": lambda: _stages(solid=_body(), scalars=_dye(), advection=dp.SkewSymmetric(4)),
    "stages, implicit, obstacle": lambda: _stages(solid=_body(), stepping=dp.ImplicitExplicit(2)),
    "stages, eddies": lambda: _stages(
        added_viscosity=(dp.Smagorinsky(0.2), dp.DynamicSmagorinsky(), dp.Sponge("y", 4.3, 0.2)),
        sides={"x": dp.Wall(slip=True), "y": (dp.Inflow(1.0), ConvectiveOutflow())},
    ),
    "PISO": lambda: _stages(solid=_body(), stepping=dp.PISO(tolerance=1e-12)),
    "PISO, eddies": lambda: _stages(
        stepping=dp.PISO(order=2, tolerance=1e-12), added_viscosity=(dp.Smagorinsky(0.2),), scalars=_dye()
    ),
    "modes": lambda: _stages(
        sides=dp.Periodic(), advection=dp.Spectral(), stepping=dp.ExponentialRungeKutta(2), scalars=_dye()
    ),
    "boxes": lambda: dp.IncompressibleFlow(
        dp.Grid((4, 5, 4), (4.0, 5.0, 4.0)),
        0.05,
        0.1,
        {"x": dp.Wall(), "y": dp.Periodic(), "z": dp.Wall(slip=True)},
        stepping=dp.RungeKutta(2),
    ),
    "Gray-Scott": lambda: dp.GrayScott(GRID, 0.2, 0.1, 0.04, 0.06, 0.5, ((Periodic(), Periodic()),) * 2),
    "Gray-Scott, implicit": lambda: dp.GrayScott(
        GRID, 0.2, 0.1, 0.04, 0.06, 0.5, ((Periodic(), Periodic()),) * 2, dp.ImplicitExplicit(2)
    ),
    "wave": lambda: dp.Wave(GRID, 1.0, 0.2, ((Dirichlet(0.2), Neumann(0.1)), (Periodic(), Periodic())), 0.1),
    "plasma": lambda: dp.HasegawaWakatani(GRID, 0.05, 0.8, 1.1, 2e-3, 2.0),
    "flame": lambda: dp.ReactingFlow(
        GRID, 0.1, 0.1, 0.1, 0.02, channel(), Mixture(900.0, 0.05, 0.2), reaction=OneStepReaction()
    ),
    "shallow water": lambda: dp.ShallowWater(GRID, 0.1, {"x": dp.Wall(), "y": dp.Open()}, 0.1, 9.0, 0.2),
    "sub-steps": lambda: SubSteps(_stages(), courant=0.1, largest=2),
    "ResNet": lambda: _corrected(nets.ResNet(2, 2, features=3, blocks=1, kernel_size=3, key=jax.random.key(0))),
    "UNet": lambda: _corrected(nets.UNet(2, 2, features=2, levels=2, key=jax.random.key(0))),
}
"""The name of a step, and how it is made."""


def state_of(step: Any, seed: int = 0) -> Any:
    """A state with something different in every place."""
    flow = getattr(step, "solver", step)
    flow = getattr(flow, "flow", flow)
    if isinstance(flow, dp.Heat):
        state = flow.initial_state(1.0)
    elif isinstance(flow, dp.Burgers):
        state = flow.initial_state((0.5, 0.3))
    elif isinstance(flow, dp.ReactingFlow):
        state = flow.initial_state(1200.0, 0.05, 0.2)
    elif isinstance(flow, dp.ShallowWater):
        state = flow.initial_state(1.5)
    else:
        state = flow.initial_state()
    generator = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: leaf + jnp.asarray(0.1 * generator.standard_normal(leaf.shape), leaf.dtype) if leaf.ndim else leaf,
        state,
    )

"""Methane flames after Tathawadekar, Doan, Silva, Thuerey (2023): a planar front at rest, and Bunsen flames."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import Grid, Inflow, Outflow, Wall
from diffphys.physics import FlowState, Mixture, OneStepReaction, ReactingFlow


FRESH, HOT = 800.0, 2000.0
"""The temperatures of the fresh gas and of the gas that burns it, in kelvin."""

DIFFUSIVITY = 0.1
"""Of momentum, heat and species, in square meters per second."""

PLANAR_SIZE, PLANAR_DT = 0.05, 1e-6
BUNSEN_DT = 5e-4


class Flame(eqx.Module):
    """A flame of methane and air as a step, with the numbers in which cases differ.

    Args:
        flow: The flow, whose inflow and mixture are replaced.
        ratio: The equivalence ratio of the fresh gas.
        speed: At which gas enters, in meters per second: one number, or one for each cell of the inlet.
    """

    flow: ReactingFlow
    ratio: Array = eqx.field(converter=jnp.asarray)
    speed: Array = eqx.field(converter=jnp.asarray)

    def __call__(self, state: FlowState) -> FlowState:
        return self.solver_of_case()(state)

    @property
    def dt(self) -> Array:
        """Of the flow."""
        return self.flow.dt

    def courant_number(self, state: FlowState) -> Array:
        """Of the flow."""
        return self.flow.courant_number(state)

    def fresh(self) -> Mixture:
        """The gas that burns."""
        return Mixture.with_air(FRESH, self.ratio)

    def solver_of_case(self) -> ReactingFlow:
        """The flow with the inlet of this case: fresh gas through the middle quarter, burnt gas beside it. A frozen
        flow has none.
        """
        flow = self.flow
        if flow.constraint == "frozen":
            return flow
        fresh, jet = self.fresh(), jet_of(flow.grid.cells[0])
        entering = Mixture(
            jnp.where(jet, fresh.temperature, HOT), jnp.where(jet, fresh.fuel, 0.0), jnp.where(jet, fresh.oxidizer, 0.0)
        )
        sides = (flow.sides[0], (dataclasses.replace(flow.sides[1][0], speed=self.speed), flow.sides[1][1]))
        return dataclasses.replace(flow, sides=sides, entering=((None, None), (entering, None)))

    def initial_state(self) -> FlowState:
        """Of a planar front burnt gas in the first quarter along x and fresh gas beyond; of a Bunsen flame a box full
        of burnt gas, which streams.
        """
        flow, fresh = self.solver_of_case(), self.fresh()
        if flow.constraint != "frozen":
            return flow.initial_state(HOT)
        x = flow.grid.centers()[0] * jnp.ones((1, flow.grid.cells[1]))
        burnt = x < flow.grid.size[0] / 4
        mixture = [
            jnp.where(burnt, hot, cold)
            for hot, cold in ((HOT, fresh.temperature), (0.0, fresh.fuel), (0.0, fresh.oxidizer))
        ]
        return flow.initial_state(*mixture, velocity=(0.0, 0.0))


def planar_flame(cells: int = 32, ratio: ArrayLike = 1.0, dt: float = PLANAR_DT, **settings: Any) -> Flame:
    """A front in gas at rest, in a box of 5 centimeters: heat diffuses into the fresh gas until it burns.

    Args:
        cells: Along each axis.
        ratio: Equivalence ratio.
        dt: Duration of a step; on 32 cells at most 3e-6.
        settings: Others of `ReactingFlow`; `reaction=None` leaves the chemistry out.
    """
    grid = Grid((cells, cells), (PLANAR_SIZE, PLANAR_SIZE))
    settings = {"reaction": OneStepReaction(1.1e7, 83600.0), "constraint": "frozen"} | settings
    flow = ReactingFlow(grid, DIFFUSIVITY, DIFFUSIVITY, DIFFUSIVITY, dt, Wall(), **settings)
    return Flame(flow, ratio, 0.0)


def bunsen_flame(
    cells: int = 32,
    ratio: ArrayLike = 1.0,
    speed: ArrayLike = 8.0,
    dt: float = BUNSEN_DT,
    size: float = 1.0,
    **settings: Any,
) -> Flame:
    """A flame on a jet of fresh gas, which enters from below through the middle quarter of the box and is lit by burnt
    gas on both sides of it. Gas slips along the lateral walls and leaves above.

    Args:
        cells: Along each axis.
        ratio: Equivalence ratio of the jet.
        speed: Of all that enters: a number, or one for each cell along x.
        dt: Duration of a step; with look-ups diffusion alone bounds it, to 1.2e-3 on 32 cells in a box of 1.
        size: Of the box, in meters.
        settings: Others of `ReactingFlow`; `reaction=None` leaves the chemistry out.
    """
    grid = Grid((cells, cells), (size, size))
    sides = dict(x=Wall(slip=True), y=(Inflow(jnp.full(cells, 8.0)), Outflow()))
    burnt = Mixture(jnp.full(cells, HOT), jnp.zeros(cells), jnp.zeros(cells))
    settings = {"reaction": OneStepReaction()} | settings
    flow = ReactingFlow(grid, DIFFUSIVITY, DIFFUSIVITY, DIFFUSIVITY, dt, sides, dict(y=(burnt, None)), **settings)
    return Flame(flow, ratio, jnp.broadcast_to(speed, (cells,)))


def jet_of(cells: int) -> np.ndarray:
    """Which cells of the inlet the fresh gas enters through: those of the middle quarter."""
    return abs((np.arange(cells) + 0.5) / cells - 0.5) < 0.125


def random_inlet(key: Array, cells: int) -> Array:
    """Speeds of 8 + 6 |r| along an inlet, between 8 and 14, with a smooth random r of size one at most."""
    amplitudes, phases = jax.random.normal(key, (2, 4))
    x = (jnp.arange(cells) + 0.5) / cells
    waves = jnp.arange(1, 5)[:, None]
    r = jnp.sum(amplitudes[:, None] / waves * jnp.sin(np.pi * waves * x + np.pi * phases[:, None]), 0)
    return 8.0 + 6.0 * jnp.abs(r) / jnp.maximum(jnp.max(jnp.abs(r)), 1e-6)

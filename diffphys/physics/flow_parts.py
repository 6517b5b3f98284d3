"""Which parts of an incompressible flow go together, and what is accepted in their places."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffphys.grids import Grid, Periodic, Shape, Sides, choice, parse_sides
from diffphys.grids.declared import Refusals
from diffphys.grids.numbers import check_kind, concrete, shown
from diffphys.grids.sides import TimeFunction
from diffphys.operators.advection import Advection, FluxAdvection, SkewSymmetric, Spectral
from diffphys.operators.advection.look_ups import Bounded
from diffphys.physics import flow_sides
from diffphys.physics.forces import FlowInput, Held
from diffphys.physics.obstacles import FixedSolid, Immersed, TracedSolid
from diffphys.physics.scalars import PassiveScalar
from diffphys.poisson import PressureProblem
from diffphys.stepping import PISO, ExponentialRungeKutta, ImplicitExplicit, RungeKutta, Splitting


NOT_TOGETHER = (
    ("modes", "sides", "periodic ones are"),
    ("modes", "solid", "None is"),
    ("modes", "stretched", "one that is uniform along each axis is"),
    ("modes", "line", "two or three are"),
    ("modes", "fewer than 4", "at least 4 along each axis are"),
    ("modes", "parts", "RungeKutta(...), ImplicitExplicit(...) or ExponentialRungeKutta(...) is"),
    ("modes", "varying", "one number is"),
    ("modes", "solver", "None is"),
    ("modes", "held", "others are"),
    ("exponential", "differences", "advection=Spectral() is"),
    ("piso", "not skew", "SkewSymmetric() is"),
    ("rates", "look-ups", "Upwind(), VanLeer() or SkewSymmetric() is"),
    ("splitting", "varying", "one number is"),
    ("implicit diffusion", "varying", "one number is"),
    ("order 4", "varying", "one number is"),
    ("body", "varying", "one number is"),
    ("body", "splitting", "RungeKutta(...) or ImplicitExplicit(...) is"),
    ("body", "order 4", "order 2 is"),
    ("splitting", "pressure", "0 is"),
    ("split order 4", "solid", "order 2, or RungeKutta(...), is"),  # its stencils would reach through
    ("split order 4", "stretched", "one that is uniform along each axis is"),
    ("split order 4", "fewer than 3", "at least 3 along each axis are"),
    ("order 4", "stretched around a solid", "a uniform one is"),
    ("traced", "not explicit rates", "RungeKutta(...) is"),
    ("traced", "order 4", "order 2 is"),
    ("traced", "solver", "None is"),
    ("order 4", "fewer than 3", "at least 3 along each axis are"),
    ("piso", "convective", "Outflow() or Open() is"),
    ("piso", "body", "an obstacle of whole cells is"),
    ("piso", "solid and scalars", "a solid without scalars is"),
    ("piso", "held", "Buoyancy(...), functions and accelerations are"),
)
"""Two parts of a flow by their names in `_parts`, and what is accepted with the first instead of the second."""


SCHEMES = "SemiLagrangian(), CubicSemiLagrangian(), MacCormack(), Upwind(), VanLeer(), SkewSymmetric() or Spectral()"


# A solver that is made already is none.
A_SOLVER = choice(cast(type, Callable), type(None), words="a function from a pressure problem to its solver, or None,")


def refused(flow: Any) -> Refusals:
    """What is refused in a flow as a whole."""
    if isinstance(flow.solid, TracedSolid):
        flow.solid.known_cells("IncompressibleFlow", flow.grid)
    for part in (*flow.scalars.values(), *flow.forces, *flow.added_viscosity, flow.body(0.0)):
        if hasattr(part, "refused_by"):
            yield from part.refused_by(flow)
    yield not isinstance(flow.scheme, Advection), f"advection is {shown(flow.advection)}; {SCHEMES} is accepted."
    if isinstance(flow.scheme, Bounded):
        flow.scheme.check("IncompressibleFlow", flow.grid.dimensions)
    parts = {name: words for name, (there, words) in _parts(flow).items() if there}
    for part, other, accepted in NOT_TOGETHER:
        both = part in parts and other in parts
        yield both, f"{parts.get(part)} and {parts.get(other)}; {accepted} accepted with it."
    yield from _unbalanced(flow)


def _parts(flow: Any) -> dict[str, tuple[bool, str]]:
    """Of each part that does not go with all others whether the flow has it, and how a sentence calls it."""
    grid, scheme, stepping, solid = flow.grid, flow.scheme, flow.stepping, flow.solid is not None
    modes, splitting = isinstance(flow.advection, Spectral), isinstance(stepping, Splitting)
    look_ups, is_uniform = not isinstance(scheme, FluxAdvection), all(grid.uniform)
    is_wide = isinstance(scheme, FluxAdvection) and scheme.order == 4
    asks, cells = f"stepping is {stepping!r}", f"the grid has {grid.cells} cells"
    scheme_is, varies = f"advection is {scheme!r}", "which RungeKutta(...) and PISO(...) of order 2 take"
    return {
        "modes": (modes, "advection is Spectral()"),
        "differences": (not modes, scheme_is),
        "look-ups": (look_ups and not modes, scheme_is),
        "not skew": (scheme != SkewSymmetric(), scheme_is),
        "order 4": (not splitting and is_wide, "advection is of order 4"),
        "split order 4": (splitting and is_wide, f"{asks}, advection is of order 4"),
        "splitting": (splitting, asks),
        "rates": (not splitting, f"{asks}, which asks for a rate,"),
        "implicit diffusion": (isinstance(stepping, ImplicitExplicit), asks),
        "exponential": (isinstance(stepping, ExponentialRungeKutta), f"{asks}, which asks for Fourier modes,"),
        "piso": (isinstance(stepping, PISO), asks),
        "parts": (isinstance(stepping, (Splitting, PISO)), asks),
        "sides": (not _is_periodic(flow.sides), f"sides are of the kinds {kinds_of_sides(flow.sides)}"),
        "pressure": (flow_sides.have_pressure(flow.sides), "an Outflow has a pressure"),
        "convective": (bool(flow_sides.convective_sides(flow.sides)), "sides have a ConvectiveOutflow()"),
        "solid": (solid, "there is a solid"),
        "body": (flow.is_immersed, "solid is an immersed body"),
        "traced": (isinstance(flow.solid, TracedSolid), "solid is a TracedSolid"),
        "not explicit rates": (not isinstance(stepping, RungeKutta), asks),
        "solid and scalars": (solid and bool(flow.scalars), "there is a solid beside scalars"),
        "stretched": (not is_uniform, "the grid is stretched"),
        "stretched around a solid": (solid and not is_uniform, "there is a solid on a stretched grid"),
        "line": (grid.dimensions == 1, "the grid has one axis"),
        "fewer than 3": (min(grid.cells) < 3, cells),
        "fewer than 4": (min(grid.cells) < 4, cells),
        "varying": (bool(flow.viscosity.ndim or flow.added_viscosity), f"the viscosity varies in space, {varies}"),
        "solver": (flow.pressure_solver is not None, "a pressure_solver is given"),
        "held": (any(isinstance(force, Held) for force in flow.forces), "forces has Held(...)"),
    }


def _unbalanced(flow: Any) -> Refusals:
    """What flows into a region that no outflow drains must flow out of it: the whole domain, or what an obstacle cuts
    off.
    """
    flows = flow_sides.given_flows(flow.grid, flow.sides, *_as_at_the_start(flow))
    several = "two regions that an obstacle parts drain through a ConvectiveOutflow(), which balances all of them"
    yield sum(drains for _, _, drains in flows) > 1, f"{several}; one region, or Outflow(), is accepted."
    for net, gross, drains in flows:
        given = f"sides let {net:g} (volume per time) into a region and nothing out of it"
        accepted = "inflows that sum to zero, or an Outflow() or Open() side, are accepted"
        yield not drains and abs(net) > 1e-5 * gross, f"{given}; {accepted}."


def _as_at_the_start(flow: Any) -> tuple[PressureProblem, Callable[[], Sequence[np.ndarray]] | None]:
    """The pressure problem with the cells of an obstacle, also of an immersed body as it is at the start; and for each
    axis the parts of faces that this leaves open, found when needed. Where its numbers are not known without it.
    """
    with jax.ensure_compile_time_eval():
        body = flow.body(0.0)
        numbers = jax.tree.leaves((body, flow.viscosity, flow.dt))
        known = all(concrete(number) is not None for number in numbers)
        inside = concrete(body.shape.contains(flow.grid.centers())) if body is not None and known else None
    if inside is None:
        return flow.pressure_problem(), None

    def open_parts() -> list[np.ndarray]:
        with jax.ensure_compile_time_eval():
            return [np.asarray(cut.open) for cut in flow.volumes(0.0).cuts]

    return flow.pressure_problem_around(np.broadcast_to(inside, flow.grid.cells)), open_parts


def refused_input(flow: Any, given: FlowInput) -> Refusals:
    """What is refused in an input: the solvers of a flow are those of its own sides."""
    if given.sides is not None:
        parse_sides(flow.grid, given.sides)
        found, own = kinds_of_sides(given.sides), kinds_of_sides(flow.sides)
        yield (
            not isinstance(given.sides, tuple) or found != own,
            f"sides are of the kinds {found}; {own}, as grids.parse_sides makes those of the flow, are accepted.",
        )
    if given.solid is not None:
        yield not isinstance(given.solid, Immersed), f"solid is {shown(given.solid)}; an Immersed body is accepted."
        yield not flow.is_immersed, "solid is given to a flow without an immersed body; None is accepted there."
        yield from given.solid.refused_by(flow)


def as_scalars(owner: str, scalars: Any) -> dict[str, PassiveScalar]:
    """The passive scalars that a user gives a flow."""
    if scalars is None:
        return {}
    check_kind(owner, "scalars", scalars, Mapping, "a mapping from names to PassiveScalar")
    for name, scalar in scalars.items():
        check_kind(owner, f"scalars[{name!r}]", scalar, PassiveScalar, "a PassiveScalar")
    return dict(scalars)


def kinds_of_sides(sides: Any) -> list[tuple[str, ...]]:
    """What the sides of each axis are, without their numbers."""
    if not isinstance(sides, tuple):
        return [(type(sides).__name__,)]
    return [tuple(side.kind for side in pair) for pair in sides]


def as_obstacle(grid: Grid, sides: Sides, solid: Any) -> Any:
    """The obstacle that a user gives: an immersed body, a function of the time to it, or whole cells."""
    if isinstance(solid, (Immersed, TracedSolid)):
        return solid
    if isinstance(solid, Shape) or not callable(solid):
        return FixedSolid.of("IncompressibleFlow", grid, sides, solid)
    check_kind("IncompressibleFlow", "solid(time)", solid(jnp.zeros(())), Immersed, "a function that returns Immersed")
    return solid if isinstance(solid, eqx.Module) else TimeFunction(solid)


def _is_periodic(sides: Sides) -> bool:
    return all(isinstance(side, Periodic) for pair in sides for side in pair)

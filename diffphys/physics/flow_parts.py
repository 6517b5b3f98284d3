"""Which parts of an incompressible flow go together, and what is accepted in their places.

Each refusal is a condition with its sentence; the first whose condition holds is raised.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array

from diffphys.errors import InputError
from diffphys.grids import Grid, Periodic, Shape, Sides, parse_sides
from diffphys.grids.numbers import shown
from diffphys.grids.sides import TimeFunction, periods
from diffphys.operators.advection import SkewSymmetric, Spectral
from diffphys.physics import flow_sides
from diffphys.physics.forces import FlowInput, Held
from diffphys.physics.obstacles import FixedSolid, Immersed
from diffphys.physics.scalars import PassiveScalar
from diffphys.stepping import PISO, ExponentialRungeKutta, ImplicitExplicit, Splitting


Refusals = Iterator[tuple[bool, str]]


def check_combination(flow: Any) -> None:
    """Raise `InputError` where the parts do not go together."""
    for is_refused, sentence in _refusals(flow):
        if is_refused:
            raise InputError(f"IncompressibleFlow: {sentence}")


def _refusals(flow: Any) -> Refusals:
    if isinstance(flow.advection, Spectral):
        for is_refused, words in _with_fourier_modes(flow):
            yield is_refused, f"advection is Spectral() and {words} with it."
        return
    advection, stepping = flow.scheme, flow.stepping
    yield (
        isinstance(stepping, ExponentialRungeKutta),
        f"stepping is {stepping!r}, which asks for Fourier modes; advection=Spectral() is accepted with it.",
    )
    yield (
        not hasattr(advection, "carry"),
        f"advection is {shown(advection)}; SemiLagrangian(), CubicSemiLagrangian(), MacCormack(), Upwind(), VanLeer(), "
        "SkewSymmetric() or Spectral() is accepted.",
    )
    if hasattr(advection, "check"):
        advection.check("IncompressibleFlow", flow.grid.dimensions)
    if isinstance(stepping, Splitting):
        yield from _with_splitting(flow)
    else:
        yield (
            not hasattr(advection, "convection"),
            f"advection is {advection!r} and stepping is {stepping!r}, which asks for a rate; Upwind(), VanLeer() or "
            "SkewSymmetric() is accepted, or stepping=Splitting().",
        )
        yield (_varies(flow) and isinstance(stepping, ImplicitExplicit), _varying(flow))
        if isinstance(stepping, PISO):
            yield from _with_implicit_momentum(flow)
        if flow.order == 4:
            yield from _with_order_four(flow)
    yield (_varies(flow) and flow.is_immersed, _varying(flow))


def _with_splitting(flow: Any) -> Refusals:
    yield (_varies(flow), _varying(flow))
    yield (
        flow.is_immersed,
        "solid is an immersed body and stepping is Splitting(); RungeKutta(...) or ImplicitExplicit(...) is accepted "
        "with it.",
    )
    flow_sides.check_outside_pressure("IncompressibleFlow", flow.sides)


def _with_order_four(flow: Any) -> Refusals:
    yield (_varies(flow), _varying(flow))
    yield (
        flow.is_immersed,
        "advection is of order 4 and solid is an immersed body; order 2 is accepted with it, order 4 with a shape, an "
        "obstacle of whole cells.",
    )
    yield (
        flow.solid is not None and not all(flow.grid.uniform),
        "advection is of order 4 and there is a solid on a stretched grid; a uniform grid, or order 2, is accepted "
        "with an obstacle.",
    )
    yield (
        min(flow.grid.cells) < 3,
        f"advection is of order 4 on a grid of {flow.grid.cells} cells; at least 3 along each axis, or order 2, are "
        "accepted.",
    )


def _with_implicit_momentum(flow: Any) -> Refusals:
    yield (
        bool(flow_sides.convective_sides(flow.sides)),
        "sides have a ConvectiveOutflow() and stepping is PISO(...); Outflow() or Open() is accepted with it.",
    )
    yield (
        flow.scheme != SkewSymmetric(),
        f"advection is {flow.scheme!r} and stepping is PISO(...); SkewSymmetric() is accepted with it.",
    )
    yield (
        flow.is_immersed or (flow.solid is not None and bool(flow.scalars)),
        f"solid is {'an immersed body' if flow.is_immersed else 'there, beside scalars,'} and stepping is PISO(...); "
        "an obstacle of whole cells without scalars is accepted with it, others with RungeKutta(...).",
    )
    yield (
        _holds(flow),
        "forces has Held(...) and stepping is PISO(...); Buoyancy(...), functions and accelerations are accepted with "
        "it.",
    )


def _with_fourier_modes(flow: Any) -> Refusals:
    grid = flow.grid
    yield (
        not all(isinstance(side, Periodic) for pair in flow.sides for side in pair),
        f"sides are of the kinds {kinds_of_sides(flow.sides)}; periodic ones are accepted",
    )
    yield flow.solid is not None, "there is a solid; None is accepted"
    yield not all(grid.uniform), "the grid is stretched; one that is uniform along each axis is accepted"
    yield grid.dimensions == 1, "the grid has one axis; two or three are accepted"
    yield min(grid.cells) < 4, f"the grid has {grid.cells} cells; at least 4 along each axis are accepted"
    yield (
        isinstance(flow.stepping, (Splitting, PISO)),
        f"stepping is {flow.stepping!r}; RungeKutta(...), ImplicitExplicit(...) or ExponentialRungeKutta(...) is "
        "accepted",
    )
    yield _varies(flow), "the viscosity varies in space; one number is accepted"
    yield flow.pressure_solver is not None, "a pressure_solver is given; None is accepted"
    yield _holds(flow), "forces has Held(...); others are accepted"


def _varies(flow: Any) -> bool:
    return bool(flow.viscosity.ndim or flow.added_viscosity)


def _varying(flow: Any) -> str:
    return (
        f"the viscosity varies in space, with {flow.stepping!r} and {flow.scheme!r}; that is accepted with "
        "RungeKutta(...) or PISO(...), advection of order 2 and without an immersed body."
    )


def _holds(flow: Any) -> bool:
    return any(isinstance(force, Held) for force in flow.forces)


def check_given(flow: Any, given: FlowInput) -> None:
    """Raise `InputError` where an input does not fit the flow, whose solvers are those of its own sides."""
    if given.sides is not None:
        parse_sides(flow.grid, given.sides)
        found, own = kinds_of_sides(given.sides), kinds_of_sides(flow.sides)
        if not isinstance(given.sides, tuple) or found != own:
            raise InputError(
                f"FlowInput: sides are of the kinds {found}; {own}, as those of the flow (grids.parse_sides makes "
                "them), are accepted."
            )
    if given.solid is not None:
        if not isinstance(given.solid, Immersed):
            raise InputError(f"FlowInput: solid is {shown(given.solid)}; an Immersed body is accepted.")
        if not flow.is_immersed:
            raise InputError("FlowInput: solid is given to a flow without an immersed body; None is accepted there.")


def checked_scalars(owner: str, grid: Grid, scalars: Any) -> dict[str, PassiveScalar]:
    """The passive scalars that a user gives a flow, checked."""
    if scalars is not None and not isinstance(scalars, Mapping):
        raise InputError(f"{owner}: scalars is {shown(scalars)}; a mapping from names to PassiveScalar is accepted.")
    for name, scalar in (scalars or {}).items():
        if not isinstance(scalar, PassiveScalar):
            raise InputError(f"{owner}: scalars[{name!r}] is {shown(scalar)}; a PassiveScalar is accepted.")
        check_region(f"PassiveScalar {name!r}", "source", scalar.source, grid.centers())
    return dict(scalars or {})


def kinds_of_sides(sides: Any) -> list[tuple[str, ...]]:
    """What the sides of each axis are, without their numbers."""
    if not isinstance(sides, tuple):
        return [(type(sides).__name__,)]
    return [tuple(side.kind for side in pair) for pair in sides]


def obstacle(grid: Grid, sides: Sides, solid: Any) -> Any:
    """The obstacle that a user gives, checked."""
    if isinstance(solid, Immersed):
        solid.check("IncompressibleFlow", grid, periods(grid, sides))
        return solid
    if callable(solid):
        now = solid(jnp.zeros(()))
        if not isinstance(now, Immersed):
            raise InputError(
                f"IncompressibleFlow: solid(time) is {shown(now)}; a function that returns Immersed is accepted."
            )
        now.check("IncompressibleFlow", grid, periods(grid, sides))
        return solid if isinstance(solid, eqx.Module) else TimeFunction(solid)
    return FixedSolid.of("IncompressibleFlow", grid, sides, solid)


def check_region(owner: str, name: str, region: Shape | None, points: Sequence[Array]) -> None:
    """Raise `InputError` unless a region is None or a shape that fits these points."""
    if region is None:
        return
    if not isinstance(region, Shape):
        raise InputError(f"{owner}: {name} is {shown(region)}; a shape is accepted.")
    try:
        jax.eval_shape(region.contains, points)
    except InputError as error:
        raise InputError(f"{owner}: {name} does not fit the grid. {error}") from None

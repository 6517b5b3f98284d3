r"""Every operator, solver and step: its derivatives with respect to every leaf, proven by `dp.check_gradient`.

`EXAMPLES` of the room `proven` has an entry for each public name of `operators`, `poisson` and `physics` that computes,
and `NOT_COMPUTING` says why the others have none; a test fails where a name is in neither. Besides the four facts of
`check_gradient`: cotangents scaled by 1e30 and 1e-30 keep their direction, and in float32 the gradient of a rollout
agrees with differences.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffphys import physics
from diffphys.errors import InputError
from diffphys.gradients import check_gradient
from diffphys.grids import Grid, Periodic
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Figure, nearest, setting
from diffphys.stepping import RungeKutta, rollout
from diffphys.verification.case import Check, Parts, verification
from diffphys.verification.proven import EXAMPLES, STEPS, combinations, words_of


SOURCES = ("A. Griewank, A. Walther, Evaluating Derivatives, 2nd edition (2008), chapters 3 and 4",)
NOTES = (
    "Arguments and directions are random, of the setting `seed`, which is 0 where nothing else is said. The whole case "
    "takes more than an hour: a table may be of a part, whose `names` and `combinations` of sides stand above it.",
)

NOT_COMPUTING = {
    "FlowState": "a state",
    "Burnt": "a result",
    "Gas": "a part of ReactingFlow, moved with it",
    "Mixture": "a part of ReactingFlow, moved with it",
    "Advection": "a protocol",
    "FluxAdvection": "a protocol",
    "SemiLagrangian": "names semi_lagrangian",
    "CubicSemiLagrangian": "names cubic_semi_lagrangian",
    "MacCormack": "names maccormack",
    "SkewSymmetric": "names convection",
    "diffusion_limit": "names diffusion_number",
    "FlowInput": "an argument of IncompressibleFlow, moved with it",
    "Concentrations": "a state",
    "Arakawa": "names poisson_bracket",
    "Dealiased": "names poisson_bracket dealiased",
    "PlasmaBudget": "a result",
    "PlasmaState": "a state",
    "RigidBody": "a part of RigidBodyFlow, moved with it",
    "RigidBodyInput": "an argument of RigidBodyFlow, moved with it",
    "RigidBodyState": "a state",
    "WaterState": "a state",
    "WaveState": "a state",
    "Held": "a part of IncompressibleFlow, moved with it",
    "PassiveScalar": "a part of a flow, moved with it",
    "PressureProblem": "known before the program runs",
    "PressureSolver": "a protocol",
    "Solution": "a result",
    "ConjugateGradientSteps": "a result",
    "Forces": "a result",
    "control_volume": "lengths of a grid, which is known before the program runs",
}


@dataclass(frozen=True)
class Settings:
    """What the case is asked for."""

    names: tuple[str, ...] = setting(("all",), help="which examples, by their public names, or all")
    combinations: int = setting(
        26,
        help="combinations of sides of a flow: 26 have every pair on every axis, 676 are all",
        minimum=1,
        maximum=676,
    )
    seed: int = setting(0, help="of the random arguments and directions", minimum=0)

    def __post_init__(self):
        known = ["all", *EXAMPLES, *STEPS]
        for name in self.names:
            if name not in known:
                raise InputError(f'the setting "names" has no example "{name}"{nearest(name, known)}')


def measure(settings: Settings, parts: Parts) -> dict[str, Any]:
    found = {}
    for name, make in EXAMPLES.items():
        if "all" in settings.names or name in settings.names:
            found[name] = parts(name.replace(" ", "-"), lambda make=make: _proof(*make(settings.seed), settings.seed))
    for name, make in STEPS.items():
        if "all" in settings.names or name in settings.names:
            for index, (x, y) in enumerate(combinations(settings.combinations)):
                title = f"{name} {index:03d} {words_of(x)} by {words_of(y)}"
                found[title] = parts(
                    f"{name}-{index:03d}",
                    lambda make=make, x=x, y=y: _proof(*make(settings.seed, (x, y)), settings.seed),
                )
    if "all" in settings.names:
        found["float32"] = parts("float32", lambda: {"errors": {"IncompressibleFlow in stages": float32_error()}})
    return found


def _proof(function: Callable, arguments: tuple, seed: int) -> dict[str, Any]:
    result = check_gradient(function, arguments, seed=seed, optimize=False, show=False)
    orders = [f.value for f in result.findings if f.test == "Taylor remainder" and f.status == "right"]
    return dict(
        passed=result.passed,
        verdict=str(result),
        leaves=len({finding.part for finding in result.findings} - {"all leaves together"}),
        worst_order=min([order for order in orders if order == order], default=np.nan),
        dot=max([f.value for f in result.findings if f.test == "dot product"], default=np.nan),
        scaling=scaling_error(function, arguments, seed),
    )


def scaling_error(function: Callable, arguments: tuple, seed: int) -> float:
    """How far the direction of a cotangent's image turns where the cotangent is scaled by 1e30 and by 1e-30."""
    moved, fixed = eqx.partition(arguments, eqx.is_inexact_array)

    @jax.jit
    def images(moved: Any, key: jax.Array) -> Any:
        def result(moved: Any) -> Any:
            return eqx.filter(function(*eqx.combine(moved, fixed)), eqx.is_inexact_array)

        out, pull = jax.vjp(result, moved)
        leaves, structure = jax.tree.flatten(out)
        keys = jax.random.split(key, len(leaves))
        random = [jax.random.normal(one, leaf.shape, leaf.dtype) for one, leaf in zip(keys, leaves, strict=True)]

        def image(scale: Any) -> Any:
            scaled = [leaf * scale.astype(leaf.dtype) for leaf in random]
            pulled = pull(jax.tree.unflatten(structure, scaled))[0]
            return jax.tree.map(lambda leaf: leaf / scale.astype(leaf.dtype), pulled)

        return jax.lax.map(image, jnp.asarray([1.0, 1e30, 1e-30]))

    worst = 0.0
    for leaf in jax.tree.leaves(images(moved, jax.random.key(seed))):
        size = float(jnp.max(jnp.abs(leaf[0]))) if leaf.size else 0.0
        if size > 0:
            worst = max(worst, float(jnp.max(jnp.abs(leaf - leaf[0]))) / size)
    return worst


# In single precision --------------------------------------------------------------------------------------------------


def float32_error(cells: int = 16, steps: int = 20) -> float:
    """The gradient of a rollout of Taylor-Green vortices in two stages, in float32, against differences in float32.

    The derivative of the mean square of the final velocity along a smooth direction of the start, of viscosity and of
    dt; the largest relative difference of the three, each at its best step size. Only for a flow without kinks:
    differences in float32 need long steps, and semi-Lagrangian look-ups change cells on their way.
    """
    with jax.enable_x64(False):
        length = 2 * np.pi
        grid = Grid((cells, cells), (length, length))
        face, center = np.arange(cells) * length / cells, (np.arange(cells) + 0.5) * length / cells
        u = np.sin(face)[:, None] * np.cos(center)
        v = -np.cos(center)[:, None] * np.sin(face)
        flow = physics.IncompressibleFlow(grid, 0.05, 0.05, Periodic(), stepping=RungeKutta(2))
        start = flow.initial_state([u, v])
        ones = np.ones((cells, cells))
        aside = (0.5 * np.cos(2 * center + 0.3) * ones, 0.4 * np.sin(center + 0.7)[:, None] * ones)

        def loss(flow: Any, state: Any) -> jax.Array:
            final, _ = rollout(flow, state, steps)
            return sum((jnp.mean(part.values**2) for part in final.velocity), jnp.zeros(()))

        def along(kind: str, size: Any) -> jax.Array:
            if kind == "start":
                parts = [
                    part.with_values(part.values + size * jnp.asarray(u0 + more, jnp.float32))
                    for part, u0, more in zip(start.velocity, (u, v), aside, strict=True)
                ]
                return loss(flow, eqx.tree_at(lambda state: state.velocity, start, tuple(parts)))
            moved = eqx.tree_at(lambda flow: getattr(flow, kind), flow, getattr(flow, kind) * (1 + size))
            return loss(moved, start)

        worst = 0.0
        for kind in ("start", "viscosity", "dt"):
            slope = float(jax.jit(jax.grad(lambda size, kind=kind: along(kind, size)))(jnp.float32(0.0)))
            value = jax.jit(lambda size, kind=kind: along(kind, size))
            errors = []
            for size in np.asarray([1.0, 0.5, 0.25, 0.125, 2.0**-4, 2.0**-5, 2.0**-6, 2.0**-8], np.float32):
                # Of fourth order: (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / (12 h)
                near, far = value(size) - value(-size), value(2 * size) - value(-2 * size)
                errors.append(abs((8 * float(near) - float(far)) / (12 * float(size)) - slope) / abs(slope))
            worst = max(worst, float(np.nanmin(errors)))
        return worst


def judge(settings: Settings, results: dict[str, Any]) -> list[Check]:
    checks = []
    proofs = {name: found for name, found in results.items() if name != "float32"}
    for group in sorted({name.split(" ")[0] for name in proofs}):
        found = [one for name, one in proofs.items() if name.split(" ")[0] == group]
        failed = sum(not one["passed"] for one in found)
        leaves = sum(one["leaves"] for one in found)
        meaning = f"{group}: failed proofs of {len(found)} ({leaves} leaves)"
        checks.append(Check(f"{group}_failed", float(failed), at_most=0, meaning=meaning))
    checks.append(
        Check(
            "scaled_cotangents",
            max(one["scaling"] for one in proofs.values()),
            at_most=1e-8,
            meaning="largest turn of a cotangent's image when scaled by 1e30 or 1e-30",
        )
    )
    for name, error in results.get("float32", {}).get("errors", {}).items():
        meaning = f"{name}, float32: gradient of a 20-step rollout from differences, relative"
        checks.append(Check(f"{name.replace(' ', '_')}_float32", error, at_most=1e-5, meaning=meaning))
    return checks


def draw(settings: Settings, results: dict[str, Any]) -> dict[str, Figure]:
    proofs = [found for name, found in results.items() if name != "float32"]
    places = np.arange(1, 1 + len(proofs))
    dots = np.maximum(sorted(found["dot"] for found in proofs), 1e-20)
    orders = sorted(found["worst_order"] for found in proofs)
    return {
        "proofs": panels_figure(
            [
                Panel(
                    points={"each proof": (places, dots)},
                    title="dot-product test",
                    x="proofs, sorted",
                    y="relative difference",
                    logarithmic="y",
                ),
                Panel(
                    points={"each proof, its worst leaf": (places, orders)},
                    title="order of the Taylor remainder",
                    x="proofs, sorted",
                    y="order",
                ),
            ]
        )
    }


PROGRAM = verification(
    "adjoints",
    Settings,
    {"quick": {"names": ("laplacian", "FastDiagonalization", "Heat")}},
    measure,
    judge,
    draw,
    SOURCES,
    NOTES,
)

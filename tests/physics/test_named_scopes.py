"""What a profile shows: the parts of a step have names, forward and on the way back."""

import re

import jax
import jax.numpy as jnp
import pytest

import diffphys as dp
from diffphys import poisson


GRID = dp.Grid((8, 6))
CHANNEL = {"x": dp.Wall(), "y": (dp.Inflow(1.0), dp.Outflow())}
PERIODIC = ((dp.Periodic(), dp.Periodic()),) * 2


def flow(**settings):
    return dp.IncompressibleFlow(GRID, 0.1, 0.1, settings.pop("sides", CHANNEL), **settings)


def drag(scalars, velocity):
    return [-0.1 * part.values for part in velocity]


def corrected():
    return dp.Corrected(flow(sides=dp.Periodic()), lambda channels: jnp.sin(channels))


BODY = dp.Sphere((4.0, 3.0), 1.5)
SOLVED = {"advection", "diffusion", "projection", "pressure_solve"}
STEPS = {
    "splitting": (lambda: flow(solid=BODY, forces=(drag,)), SOLVED | {"forces"}),
    "stages": (lambda: flow(stepping=dp.RungeKutta(2), pressure_solver=poisson.ConjugateGradients), SOLVED),
    "implicit": (lambda: flow(sides=dp.Periodic(), stepping=dp.ImplicitExplicit(2)), SOLVED),
    "PISO": (lambda: flow(stepping=dp.PISO()), {"implicit_solve", "pressure_solve"}),
    "network": (corrected, SOLVED | {"network"}),
    "heat": (lambda: dp.Heat(GRID, 0.1, 0.1, PERIODIC), {"diffusion"}),
    "burgers": (lambda: dp.Burgers(GRID, 0.1, 0.1, PERIODIC), {"advection", "diffusion"}),
    "wave": (lambda: dp.Wave(GRID, 1.0, 0.1, PERIODIC), {"restoring_force"}),
}
STARTS = {"heat": (1.0,), "burgers": ((1.0, 0.5),)}


def scopes(function, argument):
    """The names around each operation of the compiled program."""
    text = jax.jit(function).lower(argument).compile().as_text() or ""
    return [set(re.split(r"[/()]", name)) for name in re.findall(r'op_name="([^"]*)"', text)]


QUICK = ("heat", "burgers", "implicit", "wave")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in STEPS]
)
def test_the_parts_of_a_step_have_names_in_its_program(name):
    make, names = STEPS[name]
    step = make()
    state = getattr(step, "solver", step).initial_state(*STARTS.get(name, ()))

    def loss(state):
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(step(state)))

    assert names <= set().union(*scopes(loss, state))
    assert names <= set().union(*(scope for scope in scopes(jax.grad(loss), state) if "transpose" in scope))

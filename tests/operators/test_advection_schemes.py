"""Every scheme of advection: what changes nothing, what is kept, orders of convergence, derivatives."""

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.grids import Ghost, face_offset
from diffphys.operators import advect, advection_rate, cubic_semi_lagrangian, maccormack, semi_lagrangian
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64")

PERIODIC = (dp.Periodic(), dp.Periodic())
CONSERVATIVE = ("upwind", "van_leer", "central", "fourth_order")
SCHEMES: dict[str, Any] = {
    "semi_lagrangian": semi_lagrangian,
    "cubic": cubic_semi_lagrangian,
    "limited cubic": lambda *given: cubic_semi_lagrangian(*given, limited=True),
    "maccormack": maccormack,
    "unlimited maccormack": lambda *given: maccormack(*given, limited=False),
    **{name: partial(advect, scheme=name) for name in CONSERVATIVE},
}
EDGES = np.cumsum([0.0, 0.3, 0.2, 0.15, 0.25, 0.3, 0.2])


def wind(grid, speeds, periodic=True) -> tuple:
    conditions = ((PERIODIC if periodic else (dp.Neumann(), dp.Neumann())),) * grid.dimensions
    velocity = []
    for axis, speed in enumerate(speeds):
        shape = grid.shape(face_offset(grid, axis), (periodic,) * grid.dimensions)
        velocity.append(dp.Field(jnp.broadcast_to(speed, shape), grid, face_offset(grid, axis), conditions))
    return tuple(velocity)


def solenoidal(grid, generator) -> tuple:
    """A periodic velocity without divergence, the curl of random values at the corners, and its stream function."""
    stream = generator.standard_normal(grid.cells)
    along_y = (np.roll(stream, -1, 1) - stream) / grid.widths(1)
    along_x = -(np.roll(stream, -1, 0) - stream) / grid.widths(0)[:, None]
    return wind(grid, (jnp.asarray(along_y), jnp.asarray(along_x)))


@pytest.mark.parametrize("name", SCHEMES)
def test_no_time_and_no_wind_change_nothing(name, key):
    grid = dp.Grid((6, 5), (1.5, 4.0))
    conditions = ((dp.Dirichlet(0.3), dp.Neumann(0.2)), PERIODIC)
    field = dp.Field(jax.random.normal(key, (6, 5)), grid, conditions=conditions)
    sides = ((dp.Dirichlet(0.2), dp.Neumann()), PERIODIC)
    shapes = [grid.shape(face_offset(grid, axis), (False, True)) for axis in range(2)]
    velocity = tuple(
        dp.Field(jax.random.normal(key, shape), grid, face_offset(grid, axis), sides)
        for axis, shape in enumerate(shapes)
    )
    step = jax.jit(lambda velocity, dt: SCHEMES[name](field, velocity, dt).values)
    np.testing.assert_allclose(step(velocity, 0.0), field.values, rtol=0, atol=1e-15)
    np.testing.assert_allclose(step(tuple(0 * part for part in velocity), 1.0), field.values, rtol=0, atol=1e-15)


ORDERS = {  # in space, at a fixed Courant number
    "semi_lagrangian": (1, 0.15), "cubic": (3, 0.2), "maccormack": (2, 0.2), "unlimited maccormack": (2, 0.2),
    "upwind": (1, 0.15), "van_leer": (2, 0.3), "central": (2, 0.1), "fourth_order": (4, 0.1),
}  # fmt: skip


@pytest.mark.parametrize("name", ORDERS)
def test_orders_of_convergence(name):
    """A smooth profile once around, oblique to the grid, with unequal spacings; mean error."""
    errors = []
    sizes = (16, 32, 64) if name != "semi_lagrangian" and name != "upwind" else (64, 128, 256)
    for count in sizes:
        grid = dp.Grid((count,), (1.5,))
        profile = np.exp(np.sin(2 * np.pi * np.asarray(grid.centers()[0]) / 1.5))
        velocity = wind(grid, (1.5,))
        field = dp.Field(profile, grid, conditions=(PERIODIC,))
        steps = round(2.5 * count)
        final, _ = dp.rollout(lambda f: SCHEMES[name](f, velocity, 1 / steps), field, steps=steps)  # noqa: B023
        errors.append(float(jnp.mean(jnp.abs(final.values - profile))))
    order, slack = ORDERS[name]
    found = np.log2(np.array(errors[:-1]) / errors[1:])
    assert found[-1] > order - slack and (name != "fourth_order" or found[-1] < 4.3), (errors, found)


@pytest.mark.parametrize("name", ["cubic", "van_leer", "fourth_order"])
def test_orders_of_convergence_in_a_vortex(name):
    """A steady cellular flow carries a function of its stream function nowhere: what changes is error."""
    errors = []
    for count in (16, 32):
        grid = dp.Grid((count, count), (1.0, 1.0))
        offsets = [grid.coordinates(face_offset(grid, axis), (True, True)) for axis in range(2)]
        (x0, y0), (x1, y1) = [[2 * np.pi * np.asarray(line) for line in lines] for lines in offsets]
        velocity = wind(grid, (np.sin(x0) * np.cos(y0), -np.cos(x1) * np.sin(y1)))
        x, y = (2 * np.pi * np.asarray(line) for line in grid.centers())
        field = dp.Field(np.cos(np.sin(x) * np.sin(y)), grid, conditions=(PERIODIC, PERIODIC))
        steps = count
        final, _ = dp.rollout(lambda f: SCHEMES[name](f, velocity, 0.25 / steps), field, steps=steps)  # noqa: B023
        errors.append(float(jnp.mean(jnp.abs(final.values - field.values))))
    order = np.log2(errors[0] / errors[1])
    assert order > {"fourth_order": 3.7, "cubic": 2.6}.get(name, 1.7), (errors, order)


def test_mass_is_kept_to_round_off():
    """On stretched axes, between walls and around; with central differences the sum of squares, too."""
    generator = np.random.default_rng(0)
    grid = dp.Grid.from_edges([EDGES, EDGES[:-1] ** 1.2])
    field = dp.Field(generator.standard_normal(grid.cells), grid, conditions=(PERIODIC, PERIODIC))
    velocity = solenoidal(grid, generator)
    walls = tuple((dp.Dirichlet(), dp.Dirichlet()) for _ in range(2))
    closed = []
    for axis in range(2):
        values = generator.standard_normal(grid.shape(face_offset(grid, axis), (False, False)))
        np.moveaxis(values, axis, 0)[[0, -1]] = 0
        closed.append(dp.Field(values, grid, face_offset(grid, axis), walls))
    inside = dp.Field(field.values, grid, conditions=((dp.Neumann(), dp.Neumann()), (dp.Dirichlet(1.0), Ghost(2.0))))
    jitted_rate = jax.jit(advection_rate, static_argnums=2)
    for scheme in ("upwind", "van_leer", "central"):
        for carried, carrier in ((field, velocity), (inside, closed)):
            rate = jitted_rate(carried, carrier, scheme).values * grid.volumes()
            assert abs(float(jnp.sum(rate))) < 1e-14 * float(jnp.sum(jnp.abs(rate))), scheme
    rates = advection_rate(field, velocity, "central").values * grid.volumes() * field.values
    assert abs(float(jnp.sum(rates))) < 1e-14 * float(jnp.sum(jnp.abs(rates)))
    uniform = dp.Grid((6, 5), (1.4, 1.0))
    for periodic in (True, False):
        ends = PERIODIC if periodic else (dp.Neumann(), dp.Dirichlet(0.3))
        carried = dp.Field(generator.standard_normal((6, 5)), uniform, conditions=(ends, ends))
        carrier = solenoidal(uniform, generator) if periodic else wind(uniform, (0.0, 0.0), False)
        if not periodic:
            carrier = tuple(part.with_values(jnp.pad(jnp.ones([n - 2 if a == axis else n for a, n in enumerate(part.shape)]), [(1, 1) if a == axis else (0, 0) for a in range(2)])) for axis, part in enumerate(carrier))  # fmt: skip # noqa: E501
        rate = advection_rate(carried, carrier, "fourth_order").values
        assert abs(float(jnp.sum(rate))) < 1e-13 * float(jnp.sum(jnp.abs(rate)))


@pytest.mark.parametrize("name", ["upwind", "van_leer", "semi_lagrangian", "maccormack"])
def test_total_variation_never_grows(name):
    """Limited schemes, from random data and either wind, up to their Courant number, on stretched axes too."""
    edges = np.cumsum(np.append(0.0, np.tile([0.5, 0.8, 1.1, 0.7, 0.3, 0.6], 4)))
    courant = {"upwind": 1.0, "van_leer": 0.5}.get(name, 0.9)
    start = jnp.asarray(np.random.default_rng(1).choice([0.0, 1.0, -2.0], (2, 8, 24)))
    for grid in (dp.Grid.from_edges([edges]), dp.Grid((24,), (16.0,)))[: 1 + (name in CONSERVATIVE)]:

        def step(values, speed, grid=grid):
            velocity = wind(grid, (speed,))
            dt = courant * grid.widths(0).min()
            return SCHEMES[name](dp.Field(values, grid, conditions=(PERIODIC,)), velocity, dt).values

        both = jax.vmap(jax.vmap(step, (0, None)), (0, 0))
        speeds = jnp.asarray([1.0, -1.0])
        _, values = jax.lax.scan(lambda v, _: (both(v, speeds),) * 2, start, None, length=30)  # noqa: B023
        whole = np.concatenate([start[None], values])
        variation = np.abs(whole - np.roll(whole, 1, -1)).sum(-1)
        if name != "maccormack":  # whose limiter only forbids new extremes
            assert np.all(np.diff(variation, axis=0) <= 1e-12)
        assert whole.max() <= 1 + 1e-12 and whole.min() >= -2 - 1e-12
        assert variation[-1].min() > 0.1  # something is left to be tested


def test_a_limited_look_up_makes_no_new_extremes(key):
    grid = dp.Grid((8, 6)).with_edges(0, np.append(EDGES, [1.7, 2.0]) * 4)
    conditions = ((dp.Neumann(), dp.Neumann()), PERIODIC)
    values = jax.random.bernoulli(key, 0.5, (8, 6)).astype(float)
    field = dp.Field(values, grid, conditions=conditions)
    velocity = tuple(
        dp.Field(jax.random.normal(jax.random.fold_in(key, axis), shape), grid, face_offset(grid, axis), conditions)
        for axis, shape in enumerate([(9, 6), (8, 6)])
    )
    for name, exceeds in (("limited cubic", False), ("maccormack", False), ("cubic", True)):
        moved = SCHEMES[name](field, velocity, 0.8).values
        beyond = bool(jnp.any((moved > 1 + 1e-14) | (moved < -1e-14)))
        assert beyond == exceeds, name


def test_what_enters_and_what_leaves():
    """A wind from a side with the value 5: it arrives, at the right place, and what leaves does so undisturbed."""
    grid = dp.Grid((40,), (4.0,))
    for ends, speed in (((dp.Dirichlet(5.0), dp.Neumann()), 1.0), ((dp.Neumann(), Ghost(5.0)), -1.0)):
        field = dp.Field(jnp.zeros(40), grid, conditions=(ends,))
        velocity = wind(grid, (speed,), periodic=False)
        for name in ("cubic", "maccormack", "upwind", "van_leer"):
            final, _ = dp.rollout(lambda f: SCHEMES[name](f, velocity, 0.05), field, steps=40)  # noqa: B023
            amount = float(jnp.sum(final.values)) * 0.1
            # two lengths of wind: exactly in a conservative scheme, to half a cell where values are looked up
            assert abs(amount - 10.0) < (0.5 if name in ("cubic", "maccormack") else 1e-12), (name, amount)
            away, _ = dp.rollout(lambda f: SCHEMES[name](f, velocity, 0.05), final, steps=120)  # noqa: B023
            np.testing.assert_allclose(away.values, 5.0, atol=1e-3)


def test_limiters_have_finite_derivatives_where_slopes_vanish():
    """Constant and zero fields, steps, and a wind at rest: the places where quotients of slopes are 0 / 0."""
    grid = dp.Grid((8,), (8.0,))
    for stretched, values in itertools.product(
        (False, True), (jnp.zeros(8), jnp.ones(8), jnp.repeat(jnp.arange(2.0), 4))
    ):
        one = grid.with_edges(0, np.cumsum([0, 1, 2, 1, 1, 1, 2, 1, 1.0])) if stretched else grid

        def energy(values, speed, one=one):
            moved = advect(dp.Field(values, one, conditions=(PERIODIC,)), wind(one, (speed,)), 0.3, "van_leer")
            return jnp.sum(moved.values**2) / 2

        for speed in (0.0, 0.7):
            gradient = jax.jit(jax.grad(energy, (0, 1)))(values, speed)
            assert all(bool(jnp.all(jnp.isfinite(part))) for part in gradient)


@pytest.mark.parametrize("names", [("limited cubic",), ("maccormack",), ("van_leer", "fourth_order")])
def test_derivatives(names, key):
    """With respect to values, sides, velocity and dt; in 1D, since each further axis is a sum of the same terms.

    The other schemes are parts of these.
    """
    grid = dp.Grid((6,), (1.5,)) if "fourth_order" in names else dp.Grid.from_edges([EDGES])
    keys = jax.random.split(key, 2)
    field = dp.Field(jax.random.normal(keys[0], (6,)), grid, conditions=((dp.Dirichlet(0.37), Ghost(0.4)),))
    carrier = 0.4 + 0.2 * jax.random.normal(keys[1], (7,))
    velocity = (dp.Field(carrier, grid, (0.0,), ((dp.Dirichlet(0.3), dp.Neumann(0.1)),)),)
    check_derivatives(
        lambda given: [SCHEMES[name](*given) for name in names], (field, velocity, jnp.asarray(0.31)), key, second=False
    )


@pytest.mark.usefixtures("unchecked_types")
def test_bad_arguments_are_refused_by_name():
    grid = dp.Grid((6, 5))
    field = dp.Field(jnp.zeros((6, 5)), grid, conditions=(PERIODIC, PERIODIC))
    velocity = wind(grid, (1.0, 1.0))
    for function in (advect, lambda f, v, _, scheme: advection_rate(f, v, scheme)):
        for words, given in (
            ("scheme", (field, velocity, 0.1, "weno")),
            ("offset", (velocity[0], velocity, 0.1, "upwind")),
            ("components", (field, velocity[:1], 0.1, "upwind")),
            (r"velocity\[0\].*faces", (field, velocity[::-1], 0.1, "upwind")),
            ("periodic", (field, wind(grid, (1.0, 1.0), False), 0.1, "upwind")),
        ):
            with pytest.raises(dp.InputError, match=words):
                function(*given)
    for function in (cubic_semi_lagrangian, maccormack):
        with pytest.raises(dp.InputError, match="components"):
            function(field, velocity[:1], 0.1)
    stretched = dp.Grid.from_edges([EDGES])
    with pytest.raises(dp.InputError, match="stretched"):
        advect(dp.Field(jnp.zeros(6), stretched, conditions=(PERIODIC,)), wind(stretched, (1.0,)), 0.1, "fourth_order")


def test_weighted_shifts_broadcast_nothing_unasked():
    """Where JAX is told to refuse arrays of different ranks, the gradient is found all the same."""
    grid = dp.Grid((5, 4))
    pairs = ((dp.Periodic(), dp.Periodic()),) * 2
    field = dp.Field(jnp.ones((5, 4)), grid, conditions=pairs)
    velocity = tuple(dp.Field(jnp.ones((5, 4)), grid, face_offset(grid, axis), pairs) for axis in range(2))

    def total(values):
        moved = semi_lagrangian(field.with_values(values), velocity, 0.3, 1)
        return jnp.sum(moved.values)

    with jax.numpy_rank_promotion("raise"):
        assert jax.eval_shape(jax.grad(total), field.values).shape == (5, 4)


def test_order_4_carries_a_component_of_the_velocity_with_its_order():
    """A component that a constant wind carries, against the wave where it then is."""
    errors = []
    for count in (16, 32):
        grid = dp.Grid((count, 4), (1.0, 1.0))
        velocity = wind(grid, (1.0, 0.0))
        x = velocity[1].coordinates()[0]
        carry = jax.jit(
            lambda part, steps=count // 4, velocity=velocity, count=count: jax.lax.fori_loop(
                0, steps, lambda _, now: dp.SkewSymmetric(4).carry(now, velocity, 1 / count), part
            )
        )
        start = velocity[1].with_values(jnp.broadcast_to(jnp.sin(2 * jnp.pi * x), velocity[1].shape))
        errors.append(jnp.max(abs(carry(start).values - jnp.sin(2 * jnp.pi * (x - 0.25)))))
    assert 3.8 < jnp.log2(errors[0] / errors[1]) < 4.2

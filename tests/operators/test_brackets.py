"""The Poisson bracket: known products of waves, its three sums, its order, and what it refuses."""

import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.operators import Arakawa, Dealiased, Waves, poisson_bracket


pytestmark = pytest.mark.usefixtures("float64")

PERIODIC = ((dp.Periodic(), dp.Periodic()),) * 2
SCHEMES = [Arakawa(), Dealiased()]
SIZE = (2 * np.pi, 4 * np.pi)


def plane(cells, first, second):
    """Two functions of x and y on a periodic plane."""
    grid = dp.Grid(cells, SIZE)
    x, y = grid.centers()
    return tuple(dp.Field(jnp.broadcast_to(one(x, y), cells), grid, conditions=PERIODIC) for one in (first, second))


def first(x, y):
    return jnp.sin(2 * x) * jnp.cos(y / 2) + jnp.cos(x)


def second(x, y):
    return jnp.cos(x + y) + jnp.sin(y)


def exact(x, y):
    ax, ay = 2 * np.cos(2 * x) * np.cos(y / 2) - np.sin(x), -np.sin(2 * x) * np.sin(y / 2) / 2
    return ax * (-np.sin(x + y) + np.cos(y)) + ay * np.sin(x + y)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_the_bracket_of_waves_converges_with_its_order(scheme):
    errors = []
    for count in (16, 32, 64):
        a, b = plane((count, count), first, second)
        found = poisson_bracket(a, b, scheme)
        errors.append(float(np.max(np.abs(found.values - exact(*map(np.asarray, a.coordinates()))))))
        assert found.offset == (0.5, 0.5) and found.periodic == (True, True)
    if scheme == Dealiased():
        assert max(errors) < 1e-13, errors
    else:
        assert 1.9 < np.log2(errors[1] / errors[2]) < 2.1, errors


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
@pytest.mark.parametrize("cells", [(8, 6), (7, 9)])
def test_sums_with_either_function_and_alone_are_zero_and_an_exchange_turns_the_sign(scheme, cells):
    random = np.random.default_rng(0)
    grid = dp.Grid(cells, SIZE)
    a, b = (dp.Field(random.standard_normal(cells), grid, conditions=PERIODIC) for _ in range(2))
    found = np.asarray(poisson_bracket(a, b, scheme))
    scale = np.sum(np.abs(found))
    np.testing.assert_allclose(found, -np.asarray(poisson_bracket(b, a, scheme)), atol=1e-14 * scale)
    for weight in (1.0, np.asarray(a), np.asarray(b)):
        assert abs(np.sum(weight * found)) < 1e-13 * scale
    assert scale > 1.0
    # Three sums that a bracket made of plain central differences has not.
    sx, sy = (
        lambda f, axis=axis: (np.roll(f, -1, axis) - np.roll(f, 1, axis)) / (2 * grid.spacing[axis]) for axis in (0, 1)
    )
    a, b = np.asarray(a), np.asarray(b)
    assert abs(np.sum(a * (sx(a) * sy(b) - sy(a) * sx(b)))) > 1e-3 * scale


def test_dealiased_is_the_galerkin_method_whatever_the_waves_beyond():
    """Against the sum over all pairs of waves, of which those beyond a third of the cells take no part."""
    cells = (9, 8)
    grid, random = dp.Grid(cells, SIZE), np.random.default_rng(1)
    fields = [dp.Field(random.standard_normal(cells), grid, conditions=PERIODIC) for _ in range(2)]
    kx, ky = (2 * np.pi * np.fft.fftfreq(n, h) for n, h in zip(cells, grid.spacing, strict=True))
    numbers = [np.rint(np.fft.fftfreq(n) * n).astype(int) for n in cells]
    kept = [np.abs(one) < n / 3 for one, n in zip(numbers, cells, strict=True)]
    a, b = (np.fft.fft2(field) / np.prod(cells) for field in fields)
    total = np.zeros(cells, complex)
    for i, j in np.argwhere(np.outer(*kept)):
        for m, n in np.argwhere(np.outer(*kept)):
            p, q = numbers[0][i] + numbers[0][m], numbers[1][j] + numbers[1][n]
            if abs(p) < cells[0] / 3 and abs(q) < cells[1] / 3:
                total[p, q] -= a[i, j] * b[m, n] * (kx[i] * ky[n] - ky[j] * kx[m])
    found = poisson_bracket(fields[0], fields[1], Dealiased())
    np.testing.assert_allclose(found.values, np.fft.ifft2(total * np.prod(cells)).real, atol=1e-13)


def test_arakawa_between_walls_keeps_its_sums_where_the_stream_function_vanishes():
    """With a stream function that is zero and odd at the walls nothing leaves through them."""
    grid, random = dp.Grid((6, 5), SIZE), np.random.default_rng(2)
    walls = ((dp.Dirichlet(), dp.Dirichlet()), (dp.Periodic(), dp.Periodic()))
    free = ((dp.Neumann(), dp.Neumann()), (dp.Periodic(), dp.Periodic()))
    a = dp.Field(random.standard_normal(grid.cells), grid, conditions=walls)
    b = dp.Field(random.standard_normal(grid.cells), grid, conditions=free)
    found = np.asarray(poisson_bracket(a, b))
    assert abs(np.sum(found)) < 1e-12 and abs(np.sum(np.asarray(b) * found)) < 1e-12


@pytest.mark.usefixtures("unchecked_types")
def test_bad_input_is_refused_by_name():
    a, b = plane((6, 6), first, second)
    line = dp.Field(jnp.ones(4), dp.Grid((4,)))
    walls = a.with_conditions(((dp.Neumann(), dp.Neumann()), (dp.Periodic(), dp.Periodic())))
    for words, arguments in (
        ("poisson_bracket: grid is", (line, line)),
        ("poisson_bracket: second", (a, line)),
        ("Dealiased.. is given fields with ends", (a, walls, Dealiased())),
        ("scheme is 3; Arakawa", (a, b, 3)),
    ):
        with pytest.raises(dp.InputError, match=words):
            poisson_bracket(*arguments)  # pyright: ignore


def test_the_waves_are_those_of_the_real_transform():
    kx, ky = Waves(dp.Grid((4, 6), SIZE)).vector()
    np.testing.assert_allclose(kx.ravel(), [0, 1, -2, -1])
    np.testing.assert_allclose(ky.ravel(), [0, 0.5, 1, 1.5])

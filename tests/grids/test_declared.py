"""Fields of a module that are declared with what they accept."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.core import Tracer

import diffphys as dp
from diffphys.grids import Declared, Limit, at_ends, choice, quantity, sides_of, uniform, within
from diffphys.grids.declared import each, whole
from diffphys.grids.numbers import plain


def _quantities(parts):
    return tuple(None if part is None else quantity(part) for part in parts)


class Rod(Declared):
    grid: dp.Grid = eqx.field(static=True, metadata=uniform(1, 2))
    length: Array = eqx.field(converter=quantity, metadata=within(above=0.0))
    density: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0, cells=True))
    conditions: tuple = eqx.field(metadata=at_ends())
    weights: Array = eqx.field(converter=quantity, metadata=within(scalar=False), default=(1.0, -2.0))
    method: int | str = eqx.field(static=True, metadata=choice(int, str), default="fine")
    modes: int = eqx.field(static=True, converter=plain, metadata=whole(2), default=2)
    anchors: tuple = eqx.field(converter=_quantities, metadata=each(within(minimum=0.0)), default=(None, 1.0))
    sides: Any = eqx.field(metadata=sides_of(dp.Wall, dp.Periodic), default_factory=dp.Wall)
    dt: Array = eqx.field(converter=quantity, metadata=within(above=0.0), default=0.5)

    def limits(self):
        yield Limit(self.dt / self.length, "this length", "beyond which it breaks")

    def refused(self):
        known = None if isinstance(self.length, Tracer) else float(self.length)
        yield known == 7.0, "length is 7; another one is accepted."


GRID = dp.Grid((3,))
GOOD = dict(length=2, density=1.0, conditions=((dp.Neumann(), dp.Neumann()),))


def test_numbers_become_traced_leaves_of_one_type_and_changing_one_compiles_nothing_anew():
    rod = Rod(GRID, **GOOD)  # pyright: ignore
    assert rod.length.dtype == rod.density.dtype == rod.weights.dtype == jnp.float32
    assert rod.weights.shape == (2,) and rod.method == "fine"
    assert (
        len(jax.tree.leaves(rod)) == 3 + 2 + 3
    )  # conditions; an anchor, sides and dt; the grid and choices are static
    traces = []

    @jax.jit
    def doubled(rod):
        traces.append(None)
        return 2 * rod.length

    for length in (1, 2.0, np.float64(3.0), np.asarray(4)):
        assert doubled(dataclasses.replace(rod, length=length)) == 2 * length
    assert len(traces) == 1
    assert Rod(GRID, **(GOOD | dict(density=[1.0, 0.0, 2.0]))).density.shape == (3,)  # pyright: ignore


def test_a_module_is_made_and_differentiated_under_every_transformation():
    def mass(length, density):
        rod = Rod(GRID, **(GOOD | dict(length=length, density=density)))  # pyright: ignore
        return rod.length * jnp.sum(rod.density * jnp.ones(3))

    np.testing.assert_allclose(jax.jit(jax.grad(mass, (0, 1)))(2.0, jnp.arange(3.0))[0], 3.0)
    np.testing.assert_allclose(jax.vmap(mass)(jnp.asarray([1.0, 2.0]), jnp.ones((2, 3))), [3.0, 6.0])
    np.testing.assert_allclose(jax.vmap(mass)(jnp.asarray([1.0, 2.0]), jnp.asarray([1.0, 2.0])), [3.0, 12.0])


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("words", "changed"),
    [
        ("Rod: length is 0.0; a number greater than 0 is accepted", dict(length=0.0)),
        ("Rod: length is 'long'; a number is accepted", dict(length="long")),
        ("Rod: length is None; a number is accepted", dict(length=None)),
        (r"Rod: length has shape \(2,\); one number is accepted", dict(length=[1.0, 2.0])),
        ("Rod: length is nan; finite", dict(length=float("nan"))),
        ("Rod: length is 7", dict(length=7.0)),
        ("Rod: density is -1.0; a number of at least 0 is accepted", dict(density=-1.0)),
        ("Rod: density is 'heavy'; a number or an array of numbers is accepted", dict(density="heavy")),
        (r"Rod: density has shape \(2,\); a number or an array of shape \(3,\)", dict(density=[1.0, 2.0])),
        ("vmap", dict(density=np.ones((2, 3)))),
        ("Rod: density is NaN or infinite in 1 of 3 places", dict(density=[1.0, np.inf, 1.0])),
        ("Rod: weights is NaN or infinite", dict(weights=[np.nan, 1.0])),
        ("conditions", dict(conditions=None)),
        ("conditions", dict(conditions=((dp.Neumann(), dp.Neumann()),) * 2)),
        ("Rod: conditions on axis 0: value of Dirichlet is nan", dict(conditions=((dp.Dirichlet(np.nan),) * 2,))),
        (r"Rod: grid is .*; one of one or two uniform axes is accepted", dict(grid=dp.Grid((2, 2, 2)))),
        (r"Rod: grid is .*; one of one or two uniform", dict(grid=dp.Grid.from_edges([(0.0, 1.0, 2.0, 4.0)]))),
        (r"Rod: modes is 1; a whole number of at least 2 is accepted", dict(modes=1)),
        (r"Rod: modes is 2.0; a whole number", dict(modes=2.0)),
        (r"Rod: anchors\[1\] is -1.0; a number of at least 0 is accepted", dict(anchors=(None, -1.0))),
        (r"Rod: anchors\[0\] is 'x'; a number is accepted", dict(anchors=("x", 1.0))),
        (r"Rod: sides has Open.*; Wall\(\) or Periodic\(\) is accepted", dict(sides=dp.Open())),
        ("Rod: dt is 3; with this length at most 2 is accepted, beyond which it breaks", dict(dt=3.0)),
        (r"Rod: method is 1.5; int\(...\) or str\(...\) is accepted", dict(method=1.5)),
    ],
)
def test_what_is_not_accepted_is_refused_by_class_and_name(words, changed):
    with pytest.raises(dp.InputError, match=words):
        Rod(**(dict(grid=GRID) | GOOD | changed))  # pyright: ignore
    rod = Rod(GRID, **GOOD)  # pyright: ignore
    with pytest.raises(dp.InputError, match=words):
        dataclasses.replace(rod, **changed)

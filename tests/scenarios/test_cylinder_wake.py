"""The cylinder's wake is one flow wherever it is used."""

import re
from pathlib import Path

import jax
import pytest

import diffphys as dp
from diffphys.benchmarks.wake import wake
from diffphys.errors import InputError
from diffphys.experiments.wake import Settings, wake_study
from diffphys.scenarios import CYLINDER, SIZE, cylinder_wake


def leaves(flow):
    return [leaf.tolist() for leaf in jax.tree.leaves(flow)]


def test_experiment_and_benchmark_run_the_same_flow():
    study = wake_study(Settings())
    timed = wake(32)
    assert leaves(study.source) == leaves(timed)
    assert study.source.grid == timed.grid and study.reference.grid.cells == (128, 256)
    assert (study.source.advection, timed.advection) == (dp.SemiLagrangian(1), dp.SemiLagrangian((1, 1)))


def test_the_flow_of_the_readme_stands_in_the_same_domain():
    text = (Path(__file__).parents[2] / "README.md").read_text()
    grid, solid = (re.search(pattern, text) for pattern in (r"grid = (dp\.Grid\(.*\))", r"solid=(dp\.Sphere\(.*\)),"))
    assert grid and solid
    assert eval(grid[1]) == cylinder_wake(32).grid == dp.Grid((32, 64), SIZE)
    assert leaves(eval(solid[1])) == leaves(CYLINDER)


def test_the_viscosity_is_that_of_the_label():
    assert float(cylinder_wake(8, 100.0).viscosity) == pytest.approx(0.061035, rel=1e-5)


def test_unknown_sides_are_named():
    with pytest.raises(InputError, match="sides is 'open'; \"channel\""):
        cylinder_wake(8, sides="open")

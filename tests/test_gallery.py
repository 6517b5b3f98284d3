"""Each script of the gallery runs, here in small, and finds what its page says; notebooks are those of the scripts."""

import ast
import dataclasses
import importlib
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot
import numpy as np
import pytest


ROOT = Path(__file__).parents[1]
GALLERY = ROOT / "docs" / "gallery"


def run(name: str, small: dict[str, Any]) -> dict[str, Any]:
    """Everything that a script of the gallery names, after it has run with other numbers at its top."""
    path = GALLERY / f"{name}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    replaced = set()
    for line in tree.body:
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name) and line.targets[0].id in small:
            line.value = ast.parse(repr(small[line.targets[0].id]), mode="eval").body
            replaced.add(line.targets[0].id)
    assert replaced == set(small), f"{name}.py does not name {set(small) - replaced} at its top"
    module = types.ModuleType(name)
    sys.modules[name] = module
    try:
        exec(compile(tree, str(path), "exec"), module.__dict__)
    finally:
        del sys.modules[name]
        matplotlib.pyplot.close("all")
    return module.__dict__


def difference_quotient(function, number, step):
    """Of a function's first result."""
    return (function(number + step)[0] - function(number - step)[0]) / (2 * step)


def check_square(page):
    def drag(viscosity):
        return page["mean_drag"](dataclasses.replace(page["flow"], viscosity=viscosity))

    expected = difference_quotient(drag, 0.01, 1e-3)
    np.testing.assert_allclose(page["gradient"].viscosity, expected, rtol=0.03)


def check_sensors(page):
    there, step = page["truth"], jnp.array([0.0, 0.02, 0.0])
    jacobian = page["linearized"](there)[1]
    expected = (page["linearized"](there + step)[0] - page["linearized"](there - step)[0]) / 2
    np.testing.assert_allclose(jacobian @ step, expected, atol=0.05 * float(jnp.max(jnp.abs(expected))))
    if page["CELLS"] == (64, 32):  # on coarser cells the source is smaller than a cell
        errors = jnp.sqrt(jnp.diag(page["covariance"]))
        assert jnp.all(jnp.abs(page["found"] - there) < 4 * errors) and jnp.all(errors < 0.3)


def check_plume(page):
    assert page["plan"].cost < 0.9 * page["plan"].first_cost


def check_plume_3d(page):
    """Twice the weight per smoke, or twice the smoke, is one force."""
    gradient = page["gradient"]
    lift = 3 * 0 + gradient.forces[0].acceleration[2]
    assert lift > 0
    np.testing.assert_allclose(gradient.scalars["smoke"].rate, lift, rtol=1e-3)


def check_own_equation(page):
    u = page["u"]
    inside = (u > 0.05) & (u < 1.0)
    assert jnp.max(jnp.abs(page["learned"] - 0.5 * u * (1 - u))[inside]) < 0.06


def check_shallow_water(page):
    highest, bottom = page["highest"], page["bottom"]
    away = jnp.exp(-(((page["x"] - 26e3) / 4e3) ** 2) - ((page["y"] - 20e3) / 4e3) ** 2)
    value = jax.jit(highest)
    rise = 1e-2  # meters: farther on the limiter has kinks
    expected = (value(bottom + rise * away) - value(bottom - rise * away)) / (2 * rise)
    np.testing.assert_allclose(jnp.vdot(page["gradient"], away), expected, rtol=1e-3)


def check_moving_body(page):
    """The drag takes energy from the body over a whole period."""
    assert page["coefficients"][0] > 0 and page["coefficients"][1] > 1


def check_inverse_heat(page):
    np.testing.assert_allclose(page["jacobian"] @ page["truth"], page["thermocouple"](page["truth"]), atol=1e-4)
    assert jnp.mean(jnp.abs(page["fluxes"][page["best"]] - page["truth"])) < 0.12


def check_parameter_sweep(page):
    """The more viscous, the less is left of the swinging."""
    assert page["amplitude"][0] < page["amplitude"][-1]


def check_two_devices(page):
    assert len({shard.device for shard in page["final"].pressure.values.addressable_shards}) == 2
    np.testing.assert_allclose(page["alone"].velocity[0].values, page["final"].velocity[0].values, atol=1e-4)


def check_torch(page):
    assert page["errors"]["corrected"].mean() < 0.8 * page["errors"]["coarse"].mean()


def check_viscosity(page):
    logarithms = jnp.log(page["samples"])
    off = (jnp.mean(logarithms, axis=0) - page["truth"]) / jnp.std(logarithms, axis=0)
    assert jnp.all(jnp.abs(off) < 3)


def check_adjoint(page):
    """The same push everywhere is a pressure that falls along the stream: it lifts the square by its area."""
    np.testing.assert_allclose(jnp.sum(page["by_push"]), -1.0, atol=0.02)


def check_shape(page):
    angle = jnp.linspace(0, 2 * jnp.pi, 400, endpoint=False)
    area = jnp.mean(page["Outline"](page["waves"]).radius(angle) ** 2) * jnp.pi
    np.testing.assert_allclose(area, jnp.pi / 4, rtol=1e-3)
    assert page["history"][-1][1] < page["history"][0][1]


def check_patterns(page):
    activator = page["final"].activator.values
    assert activator.min() > -1e-3 and activator.max() < 1 and jnp.all(jnp.std(activator, axis=(1, 2)) > 0.03)


# For each page what makes it small, and what it has found.
PAGES: dict[str, tuple[dict[str, Any], Any]] = {
    "square_in_a_channel": (dict(CELLS=(32, 16), STEPS=50, FURTHER=20), check_square),
    "noisy_sensors": (dict(CELLS=(32, 16), STEPS=40), check_sensors),
    "plume_to_a_target": (dict(CELLS=(12, 18), STEPS=30, ITERATIONS=20), check_plume),
    "plume_3d": (dict(CELLS=(8, 8, 12), STEPS=4, LIFT=6), check_plume_3d),
    "own_equation": (dict(UPDATES=200), check_own_equation),
    "shallow_water": (dict(CELLS=24, STEPS=168), check_shallow_water),
    "moving_body": (dict(CELLS=(20, 16), STEPS=250), check_moving_body),
    "inverse_heat": (dict(), check_inverse_heat),
    "parameter_sweep": (dict(CELLS=(32, 16), STEPS=400, CASES=3), check_parameter_sweep),
    "two_devices": (dict(CELLS=16, STEPS=10), check_two_devices),
    "torch_in_the_loop": (dict(UPDATES=200), check_torch),
    "sample_a_viscosity": (dict(SAMPLES=200), check_viscosity),
    "adjoint_sensitivity": (dict(CELLS=(24, 12), STEPS=40, FURTHER=40), check_adjoint),
    "optimal_shape": (dict(CELLS=(24, 16), STEPS=20, UPDATES=4), check_shape),
    "reaction_diffusion": (dict(CELLS=48, STEPS=1500), check_patterns),
}
# Compiling the gradient of a flow takes ten seconds and more, however small it is.
LONG = (
    "square_in_a_channel",
    "noisy_sensors",
    "plume_to_a_target",
    "plume_3d",
    "shallow_water",
    "moving_body",
    "adjoint_sensitivity",
    "optimal_shape",
)
DOUBLE = ("shallow_water",)  # 200 m of water leave single precision too few digits for a quotient
NEEDS = {"torch_in_the_loop": "torch", "sample_a_viscosity": "blackjax"}


def test_every_page_is_here():
    assert sorted(PAGES) == sorted(path.stem for path in GALLERY.glob("*.py"))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in PAGES]
)
def test_a_page_of_the_gallery_in_small(name, monkeypatch):
    check_page(name, PAGES[name][0], monkeypatch)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_gallery(name, monkeypatch):
    check_page(name, {}, monkeypatch)


def check_page(name, small, monkeypatch):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))  # which the page of two devices sets
    with jax.enable_x64(name in DOUBLE):
        PAGES[name][1](run(name, small))


NOTEBOOKS = sorted([*GALLERY.glob("*.py"), *(ROOT / "docs" / "notebooks").glob("*.py")])


@pytest.mark.parametrize("script", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_made_from_the_script_at_hand(script):
    maker = importlib.import_module("docs.scripts.notebooks")
    notebook = json.loads(script.with_suffix(".ipynb").read_text(encoding="utf-8"))
    assert notebook["metadata"]["digest"] == maker.digest(script), f"{script.name} has changed: make notebooks"
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", ()) for output in outputs), "no figure"
    assert not [output for output in outputs if output["output_type"] == "error" or output.get("name") == "stderr"]
    if script.parent == GALLERY:
        assert (GALLERY / "thumbnails" / f"{script.stem}.png").is_file()


def test_pictures_of_the_gallery_are_small():
    sizes = {path.name: path.stat().st_size for path in GALLERY.rglob("*") if path.suffix in (".ipynb", ".png")}
    assert max(sizes.values()) < 250_000 and sum(sizes.values()) < 2_000_000

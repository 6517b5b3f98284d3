"""Surfaces of equal value lie where the value is."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys import plots


GRID = dp.Grid((24, 20, 16), (3.0, 2.5, 2.0), (-1.5, -1.25, -1.0))


def distance_field():
    x, y, z = GRID.centers()
    return dp.Field(jnp.sqrt(x**2 + y**2 + z**2), GRID)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_surface_lies_where_its_value_is_and_a_solid_where_its_surface_is(tmp_path):
    pytest.importorskip("pyvista")
    scene = plots.scene(distance_field(), levels=[0.7], solid=dp.Sphere((0.0, 0.0, 0.0), 0.4), title="distance")
    drawn: list[Any] = [getattr(actor, "mapper", None) for actor in scene.actors.values()]
    surfaces = [mapper.dataset for mapper in drawn if hasattr(mapper, "dataset")]
    radii = [np.linalg.norm(one.points, axis=1) for one in surfaces[:2]]
    np.testing.assert_allclose(radii[0], 0.7, atol=0.02)  # the mean of eight cells is of second order in h = 0.125
    np.testing.assert_allclose(radii[1], 0.4, atol=0.01)
    picture = scene.screenshot(tmp_path / "a.png", return_img=True)
    assert picture.shape == (700, 900, 3) and picture.std() > 5
    cloud = plots.scene(distance_field(), how="volume", size=(300, 200)).screenshot(return_img=True)
    assert cloud.shape == (200, 300, 3) and cloud.std() > 5


def test_what_cannot_be_drawn_is_one_sentence(monkeypatch):
    pytest.importorskip("pyvista")
    frames = jax.tree.map(lambda leaf: jnp.stack([leaf] * 2), distance_field())
    wrong: list[tuple[Any, Any, str]] = [
        (dp.Field(np.zeros(4), dp.Grid((4,))), {}, "three dimensions"),
        (frames, {}, "2 frames"),
        (distance_field(), {"how": "smoke"}, "how"),
        (distance_field(), {"quantity": "smoke"}, "quantity"),
    ]
    for given, options, said in wrong:
        with pytest.raises(dp.InputError, match=said):
            plots.scene(given, **options)
    monkeypatch.setitem(__import__("sys").modules, "pyvista", None)
    with pytest.raises(dp.InputError, match=r"diffphys\[3d\]"):
        plots.scene(distance_field())

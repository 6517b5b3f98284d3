"""The flame experiment: its cases, what a network may change, the tip and the heat, and what a small run writes."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.cli import main
from diffphys.experiments.flame import (
    Settings,
    cases_of,
    flame,
    flame_study,
    heat_release,
    parameters_of,
    tip,
)
from diffphys.learning import Normalization
from diffphys.scenarios import random_inlet


def test_cases_are_as_many_as_published_and_no_test_case_is_trained_on():
    for case, counts in (("planar", (6, 4)), ("uniform", (9, 6)), ("non-uniform", (12, 12))):
        train, test = cases_of(Settings(case=case))
        assert (len(train), len(test)) == counts and not set(train) & set(test)
    found = parameters_of(Settings(case="uniform", resolution=8), 11.095)
    assert found["ratio"] == pytest.approx(0.95) and np.all(found["speed"] == 11.0)
    inlet = np.asarray(random_inlet(jax.random.key(3), 32))
    assert inlet.min() >= 8 and inlet.max() == pytest.approx(14.0) and np.abs(np.diff(inlet)).max() < 3


class _Constant:
    """A network that asks for the same change everywhere."""

    def __init__(self, changes: Any):
        self.changes, self.seen = jnp.asarray(changes), []

    def __call__(self, image: jax.Array) -> jax.Array:
        self.seen.append(image)
        return jnp.broadcast_to(self.changes[:, None, None], (len(self.changes), *image.shape[1:]))


@pytest.mark.slow
def test_a_network_completes_temperature_and_fractions_within_their_bounds():
    study = flame_study(Settings(case="uniform", resolution=8))
    scales = Normalization(jnp.array([100.0, 0.1, 0.2, 3.0, 4.0]), jnp.array([0.5]))
    first = study.source.initial_state()
    network = _Constant([3.0, 2.0, -1e3])
    found = study.observe(study.corrected(network, scales)(first))
    # Far from the inlet all is as it was, 2000 K, but for what the network adds, and what flows out makes room.
    np.testing.assert_allclose(found["temperature"][:, 3:], 2030.0, rtol=1e-5)
    np.testing.assert_allclose(found["fuel"][:, 3:], 0.02, rtol=1e-4)
    assert float(jnp.max(jnp.abs(found["oxidizer"][:, 3:]))) == 0
    alone = study.observe(study.source(first))
    assert np.all(found["velocity_y"][:, -1] > alone["velocity_y"][:, -1] + 1)
    assert network.seen[0].shape == (6, 8, 8)
    np.testing.assert_allclose(network.seen[0][4], first.velocity[1].values[:, :8] / 4.0, rtol=1e-6)
    np.testing.assert_allclose(network.seen[0][5], 2.0)  # the ratio of 1, scaled
    hot = study.observe(study.corrected(_Constant([1e4, 0.0, 0.0]), scales)(first))
    assert float(jnp.max(hot["temperature"])) == pytest.approx(4000.0, rel=1e-6)


def test_without_a_solver_the_network_alone_leads_on():
    study = flame_study(Settings(case="uniform", resolution=8)).variants["data-only"].study
    scales = Normalization(jnp.ones(5), jnp.ones(1))
    first = study.source.initial_state()
    found = study.observe(study.corrected(_Constant([0.0, 0.0, 0.0, 5.0, 0.0]), scales)(first))
    before = study.observe(first)
    np.testing.assert_array_equal(found["temperature"], before["temperature"])
    np.testing.assert_allclose(found["velocity_x"][:8], before["velocity_x"][:8] + 0.5, atol=1e-5)
    np.testing.assert_array_equal(found["velocity_x"][8], before["velocity_x"][8])


def test_a_frame_makes_the_state_that_it_was_taken_from():
    study = flame_study(Settings(case="non-uniform", resolution=8))
    state = jax.jit(lambda: study.reference(study.reference.initial_state()))()
    again = jax.jit(lambda state: study.state(study.transfer(state)))(state)
    np.testing.assert_allclose(again.scalars["density"].values, state.scalars["density"].values, rtol=1e-5)
    np.testing.assert_array_equal(again.velocity[1].values, state.velocity[1].values)


def test_tip_and_heat_are_those_of_known_fields():
    settings = Settings(case="non-uniform", resolution=8)
    fuel = np.zeros((2, 8, 8))
    fuel[0, 3:5, :4], fuel[1, 3:5, :6] = 0.05, 0.05
    frames = {"temperature": np.full((2, 8, 8), 1500.0), "fuel": fuel, "oxidizer": np.full((2, 8, 8), 0.2)}
    np.testing.assert_allclose(tip(settings, frames, 0.055), [0.5, 0.75])
    np.testing.assert_allclose(tip(settings, frames, 0.2), [0.0, 0.0])
    flow = flame(settings, complete=True).flow
    assert flow.reaction is not None
    one = flow.gas.density(1500.0, 0.05, 0.2) * 5.01e7 * flow.reaction.rate(flow.gas, 1500.0, 0.05, 0.2) / 64
    np.testing.assert_allclose(heat_release(settings, frames), [8 * one, 12 * one], rtol=1e-5)
    assert flame(settings, complete=False).flow.reaction is None


SMALL = """resolution=8 train_frames=6 frames=4 features=4 unroll=1,2 updates=2,2 learning_rates=1e-3,1e-3 train_cases=2
    test_cases=2"""


@pytest.mark.slow
@pytest.mark.parametrize("case", ["planar", "non-uniform"])
def test_a_small_run_writes_every_arm_and_its_figures(case, tmp_path, capsys):
    words = [word for text in f"{SMALL} case={case}".split() for word in ("--set", text)]
    assert main(["run", "flame", "--out", str(tmp_path / "run"), *words]) == 0
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(found["arms"]) == {"source", "one-step", "unrolled", "data-only"}
    assert found["data_only_over_unrolled"] > 0
    assert all(len(arm["unstable"]) == len(arm["temperature"]) for arm in found["arms"].values())
    figures = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert {"temperature.png", "flames.gif", "flame.png", "loss-data-only.png"} <= figures
    assert "unstable" in capsys.readouterr().out


def test_what_flames_cannot_do_is_refused(capsys):
    for word, setting in (("arms", "arms=supervised"), ("resolution", "resolution=9"), ("case", "case=round")):
        assert main(["run", "flame", "--set", setting]) == 2
        assert word in capsys.readouterr().err

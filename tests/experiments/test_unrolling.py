"""The experiments on unrolling: their systems against known solutions, and how arms are compared."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.cli import main
from diffphys.experiments import kolmogorov
from diffphys.experiments.kuramoto_sivashinsky import CELLS, LENGTH, KuramotoSivashinsky, Settings, study_of
from diffphys.experiments.unrolling import relative_error, window_errors
from diffphys.learning import Trajectories, with_parameters
from diffphys.stepping import rollout
from diffphys.view import find_runs


STUDY = study_of(Settings(seeds=2))


@pytest.mark.usefixtures("float64")
def test_small_waves_grow_as_linear_theory_says():
    k = 2 * np.pi * 5 / LENGTH
    field = STUDY.state({"u": 1e-8 * jnp.cos(2 * jnp.pi * 5 * jnp.arange(CELLS) / CELLS)})
    after = KuramotoSivashinsky(LENGTH, 1)(KuramotoSivashinsky(LENGTH, 1)(field))
    np.testing.assert_allclose(after.values, np.exp(2.0 * (k**2 - k**4)) * field.values, atol=1e-14)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("order", [1, 2])
def test_the_orders_of_source_and_reference(order):
    """Against itself with much shorter steps; both agree with each other in the limit."""
    start = STUDY.state({"u": jnp.cos(2 * jnp.pi * jnp.arange(CELLS) / CELLS)})

    def after(method, steps):
        step = KuramotoSivashinsky(LENGTH, method, 2.0 / steps)
        return rollout(step, start, steps // 2)[0].values

    exact = after(2, 1024)
    errors = [np.max(np.abs(after(order, steps) - exact)) for steps in (32, 64)]
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.15)


def test_windows_are_compared_as_one_by_one():
    data = Trajectories({"u": jax.random.normal(jax.random.key(0), (2, 9, CELLS))}, STUDY.parameters_of((0.9, 1.1)))
    found = eqx.filter_jit(lambda step, data: window_errors(STUDY, step, data, 3, 2))(STUDY.source, data)
    errors = []
    for case in range(2):
        frames, numbers = data.case(case)
        step = with_parameters(STUDY.source, numbers)
        for first in (0, 5):
            state = STUDY.state({"u": frames["u"][first]})
            for ahead in (1, 2, 3):
                state = step(state)
                target = frames["u"][first + ahead]
                errors.append(np.linalg.norm(state.values - target) / np.linalg.norm(target))
    assert float(found) == pytest.approx(np.mean(errors), rel=1e-4)


def test_each_seed_has_its_own_network_and_arm():
    assert set(STUDY.variants) == {"unrolled-seed-1"}
    assert STUDY.variants["unrolled-seed-1"].seed == 1
    three = {"a": jnp.array([3.0, 0.0]), "b": jnp.array([0.0])}
    assert float(relative_error(three, {"a": jnp.array([0.0, 0.0]), "b": jnp.array([4.0])})) == pytest.approx(5 / 4)


def test_kolmogorovs_laminar_flow_is_kept():
    """u = sin(6 y) / (36 nu) balances the force; on the grid with the difference's own wavenumber."""
    flow = with_parameters(kolmogorov.kolmogorov_flow(1, kolmogorov.PISO()), {"viscosity": jnp.asarray(0.1)})
    u, v = flow.initial_state().velocity
    y = u.coordinates()[1]
    h = float(flow.grid.spacing[1])
    square = (2 * np.sin(6 * h / 2) / h) ** 2
    start = flow.initial_state([jnp.broadcast_to(jnp.sin(6 * y) / (0.1 * square), u.shape), jnp.zeros(v.shape)])
    after, _ = rollout(flow, start, 5)
    np.testing.assert_allclose(after.velocity[0].values, start.velocity[0].values, atol=2e-5)


@pytest.mark.slow
def test_a_small_run_writes_every_arm_and_seed(tmp_path, capsys):
    settings = """train_frames=8 frames=6 horizon=3 starts=2 seeds=2 features=2 unroll=2 updates=2 warmup=20
        learning_rates=1e-3 arms=one-step,unrolled train_factors=0.9,1.1 test_factors=1.0"""
    words = [word for text in settings.split() for word in ("--set", text)]
    assert main(["run", "kuramoto-sivashinsky", "--out", str(tmp_path / "run"), *words]) == 0
    windows = json.loads((tmp_path / "run" / "metrics.json").read_text())["windows"]
    assert set(windows) == {"source", "one-step", "unrolled"}
    assert len(windows["unrolled"]["errors"]) == 2 and windows["one-step"]["less_than_one_step"] == 0
    less = windows["unrolled"]["less_than_one_step"]
    assert less == pytest.approx(1 - windows["unrolled"]["mean"] / windows["one-step"]["mean"])
    assert {"space-time.png", "windows.png"} <= {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    trained = find_runs(tmp_path)["run"].curves()["training"]  # a curve for each network, not one over the other
    assert set(trained) == {"one-step", "unrolled", "one-step-seed-1", "unrolled-seed-1"}
    assert "38 %" in capsys.readouterr().out


def test_a_horizon_beyond_the_frames_is_refused(capsys):
    assert main(["run", "kuramoto-sivashinsky", "--set", "horizon=400"]) == 2
    assert "horizon" in capsys.readouterr().err

"""The wake in three dimensions in miniature."""

import json
from importlib import resources

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from diffphys.cli import main
from diffphys.experiments import wake, wake_3d
from diffphys.experiments.solver_in_the_loop import frame_of
from diffphys.experiments.wake_3d import PROGRAM, at_centers, make_network, scenario_of, three_dimensional
from diffphys.learning import Normalization
from diffphys.nets import count_parameters
from diffphys.runs import save_checkpoint


SMALL = """resolution=8 scale=2 warmup=6 train_frames=6 frames=4 train_reynolds=200,400 test_reynolds=468.75 features=2
    arms=unrolled unroll=2 updates=2 learning_rates=1e-3""".split()


def command(out, *further: str) -> list[str]:
    return ["run", "wake-3d", "--out", str(out), *(word for one in (*SMALL, *further) for word in ("--set", one))]


@pytest.mark.slow
def test_a_small_run_writes_metrics_and_pictures(tmp_path, capsys):
    assert main(command(tmp_path / "run")) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(metrics["arms"]) == {"source", "unrolled"} and metrics["max_divergence"] < 1e-5
    assert metrics["arms"]["source"]["mae_mean"] > 0.001
    assert metrics["reference_in_3d"]["spanwise"][0] > 0.001 and metrics["reference_in_3d"]["varying"][0] > 0.01
    assert metrics["paper"]["arms"] == {"source": 0.167, "one-step": 0.144, "unrolled": 0.13}
    figures = tmp_path / "run" / "figures"
    assert {"vorticity.png", "span.png", "arms.png", "span.gif"} <= {path.name for path in figures.iterdir()}
    with Image.open(figures / "wake-3d.gif") as animation:
        assert animation.n_frames == 4  # pyright: ignore[reportAttributeAccessIssue]
    assert "0.167" in capsys.readouterr().out


def test_pictures_show_the_velocity_at_the_centers():
    values = np.arange(5.0)[None, None, None] ** 2
    np.testing.assert_array_equal(at_centers(values, 3, 4).ravel(), [0.5, 2.5, 6.5, 12.5])  # 0, 1, 4, 9, 16
    np.testing.assert_array_equal(at_centers(values[..., :4], 3, 4).ravel(), [0.5, 2.5, 6.5, 4.5])  # 9 and again 0


def test_a_flow_that_is_the_same_along_the_span_has_nothing_of_the_third_dimension():
    x = jnp.arange(4.0).reshape(4, 1, 1) * jnp.ones((2, 3, 4, 5, 6))
    found = three_dimensional({"velocity_x": x, "velocity_y": x, "velocity_z": 0 * x})
    np.testing.assert_allclose(found["spanwise"], [0, 0])
    np.testing.assert_allclose(found["varying"], [0, 0], atol=1e-6)
    wave = 0.3 * jnp.cos(2 * jnp.pi * jnp.arange(6) / 6)
    found = three_dimensional({"velocity_x": x + wave, "velocity_y": x - wave, "velocity_z": 0 * x + 0.2})
    np.testing.assert_allclose(found["spanwise"], [0.2, 0.2], rtol=1e-6)
    np.testing.assert_allclose(found["varying"], [0.3, 0.3], rtol=1e-5)


def test_the_network_goes_round_the_span_and_is_small_enough_to_ship():
    network = make_network("small", 4, jax.random.key(0))
    image = jax.random.normal(jax.random.key(1), (4, 5, 6, 8))
    moved = network(jnp.roll(image, 3, axis=-1))
    np.testing.assert_allclose(moved, jnp.roll(network(image), 3, axis=-1), atol=1e-6)
    assert network(image).shape == (3, 5, 6, 8)
    for preset in ("book", "long"):
        settings = PROGRAM.choose(preset, [])
        built = make_network(settings.network, settings.features, jax.random.key(0))
        assert 4 * count_parameters(built) < 500_000


@pytest.mark.parametrize("preset", ["demo", "book", "long", "paper"])
def test_the_test_flows_of_every_preset_are_unseen_in_training(preset):
    settings = PROGRAM.choose(preset, [])
    assert 468.75 in settings.test_reynolds and not set(settings.test_reynolds) & set(settings.train_reynolds)


@pytest.mark.slow
def test_the_plain_solver_on_a_finer_grid_has_frames_on_the_source_s():
    settings = PROGRAM.choose("long", ["resolution=8", "scale=4"])
    scenario = scenario_of(settings)
    finer = scenario.finer(2)
    state = scenario.start(finer, scenario.study.begin(scenario.study.reference))
    frame = frame_of(state, 2)
    shapes = {"velocity_x": (9, 16, 8), "velocity_y": (8, 17, 8), "velocity_z": (8, 16, 8)}
    assert {name: values.shape for name, values in frame.items()} == shapes


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["largest_speeds=2.0,2.0"], "accepts 3 numbers"),
        (["test_reynolds=100,100"], "one or more different numbers"),
        (["look_ahead=64"], "at most the longest unroll"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_a_sentence(words, sentence, capsys):
    assert main(["run", "wake-3d", *(word for one in words for word in ("--set", one))]) == 2
    assert sentence in capsys.readouterr().err


def test_weights_of_another_scenario_are_refused_before_the_solver_is_prepared(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(wake_3d, "wake_study", lambda settings: pytest.fail("it is prepared"))
    weights = str(resources.files("diffphys.experiments") / "weights" / "wake.checkpoint")
    assert main(command(tmp_path / "run", f"weights={weights}")) == 2
    assert "holds no network of the wake-3d experiment" in capsys.readouterr().err


def test_weights_that_do_not_say_whose_they_are_are_refused_by_their_shapes(tmp_path, capsys):
    """As those of before there were studies: these have kernels of two axes."""
    scenario = wake.scenario_of(wake.PROGRAM.choose("demo", ["resolution=8", "scale=1", "features=2"]))
    network = scenario.study.make_network(key=jax.random.key(0), **scenario.study.architecture)
    scales = Normalization(jnp.ones(2), jnp.ones(1))
    save_checkpoint(tmp_path / "old", (network, scales), kind="old", metadata=scenario.study.architecture)
    assert main(command(tmp_path / "run", f"weights={tmp_path / 'old'}")) == 2
    assert "is asked for" in capsys.readouterr().err

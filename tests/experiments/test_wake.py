"""The wake experiment in miniature: what it writes, and that nothing but the settings decides it."""

import json
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from diffphys.cli import main
from diffphys.experiments.studies import study_table
from diffphys.experiments.wake import PROGRAM, make_network
from diffphys.nets import count_parameters
from diffphys.operators import coarsen, divergence
from diffphys.runs import Run
from diffphys.scenarios import cylinder_wake
from diffphys.stepping import rollout


SMALL = {
    "resolution": "16",
    "scale": "2",
    "warmup": "12",
    "train_frames": "8",
    "frames": "6",
    "train_reynolds": "200,400",
    "test_reynolds": "300,4687.5",
    "features": "4",
    "unroll": "1,2",
    "updates": "3,2",
    "learning_rates": "1e-3,1e-3",
}


def command(out, *more: str, **changes: str) -> list[str]:
    settings = SMALL | changes
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    return ["run", "wake", "--preset", "demo", "--out", str(out), *words, *more]


@pytest.mark.slow  # `.ci/run` runs the main job
def test_the_metrics_hold_what_is_promised(tmp_path, capsys):
    stage = {"unroll": "2", "updates": "4", "learning_rates": "1e-3"}
    arms = "unrolled"
    assert main(command(tmp_path / "run", "--seed", "3", arms=arms, **stage)) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    promised = """mae_source mae_corrected mae_source_mean mae_corrected_mean reduction test_reynolds frames parameters
        unroll updates train_seconds seconds_per_update data_seconds reference_step_ms source_step_ms corrected_step_ms
        max_divergence seed paper arms"""
    assert set(promised.split()) <= set(metrics)
    assert metrics["test_reynolds"] == [300.0, 4687.5] and metrics["frames"] == 6 and metrics["seed"] == 3
    assert len(metrics["mae_source"]) == len(metrics["mae_corrected"]) == 2
    assert np.isclose(metrics["mae_source_mean"], np.mean(metrics["mae_source"]))
    assert np.isclose(metrics["reduction"], metrics["mae_source_mean"] / metrics["mae_corrected_mean"])
    assert set(metrics["arms"]) == {"source", "unrolled"}
    assert metrics["max_divergence"] < 1e-5
    figures = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert {"vorticity.png", "error-over-time.png", "loss-unrolled.png", "arms.png", "wake.gif"} <= figures
    with Image.open(tmp_path / "run" / "figures" / "wake.gif") as animation:
        assert animation.n_frames == 6  # pyright: ignore[reportAttributeAccessIssue]
    assert "Re 4688" in capsys.readouterr().out

    # A report needs nothing but the directory.
    (tmp_path / "run" / "figures" / "vorticity.png").unlink()
    assert main(["report", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "figures" / "vorticity.png").exists()


@pytest.mark.slow
def test_arms_are_trained_differently_and_a_network_serves_another_run_as_weights(tmp_path):
    stage = {"unroll": "2", "updates": "4", "learning_rates": "1e-3"}
    assert main(command(tmp_path / "run", arms="one-step,detached,unrolled", **stage)) == 0
    weights = tmp_path / "run" / "checkpoints" / "network-unrolled.checkpoint"
    # Nothing is trained, so that a curriculum longer than the data is no mistake.
    stage["unroll"] = "50"
    assert main(command(tmp_path / "again", arms="unrolled", weights=str(weights), **stage)) == 0
    trained, again = (json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("run", "again"))
    assert set(trained["arms"]) == {"source", "one-step", "detached", "unrolled"}
    assert len({arm["mae_mean"] for arm in trained["arms"].values()}) == 4
    # Another compiled program, without training, may round differently.
    np.testing.assert_allclose(again["mae_corrected"], trained["arms"]["unrolled"]["mae"], rtol=1e-5)
    assert not (tmp_path / "again" / "data" / "reynolds-200.zarr").exists(), "training data is not generated"


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_it_had_not_been_killed(tmp_path):
    """Killed while training, it ends with the bits of a run on the same data that trained without a stop."""
    words = {
        "unroll": "2",
        "updates": "60",
        "learning_rates": "1e-3",
        "checkpoint_seconds": "0",
        "test_reynolds": "300",
    }
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    program = [sys.executable, "-m", "diffphys", *command(killed, **words)]
    checkpoint = killed / "checkpoints" / "training-unrolled.checkpoint"
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists() and not (killed / "metrics.json").exists()
    shutil.copytree(killed, whole)
    (whole / "checkpoints" / "training-unrolled.checkpoint").unlink()
    assert main(command(killed, **words)) == 0
    assert main(command(whole, **words)) == 0
    one, other = (json.loads((run / "metrics.json").read_text()) for run in (whole, killed))
    assert one["updates"] == other["updates"] == 60
    for name in ("mae_source", "mae_corrected", "reduction", "max_divergence"):
        assert one[name] == other[name], name
    # The weights with their normalization, and the losses of all updates with every predicted frame.
    for name in ("network-unrolled.checkpoint", "evaluation-unrolled.checkpoint"):
        assert (whole / "checkpoints" / name).read_bytes() == (killed / "checkpoints" / name).read_bytes(), name


@pytest.mark.slow
def test_the_published_preset_runs(tmp_path):
    """Its network and its single stage, on a small flow for two updates; the whole is meant for a GPU."""
    small = {name: value for name, value in SMALL.items() if name not in ("features", "unroll", "learning_rates")}
    words = [word for name, value in (small | {"updates": "2"}).items() for word in ("--set", f"{name}={value}")]
    assert PROGRAM.choose("paper", []).unroll == (32,)
    out = tmp_path / "run"
    assert main(["run", "wake", "--preset", "paper", "--out", str(out), *words, "--set", "unroll=3"]) == 0
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["parameters"] == 260_354 and metrics["unroll"] == 3


def test_the_source_and_the_reference_solve_the_same_equations():
    coarse, fine = (cylinder_wake(cells, 585.9375) for cells in (32, 128))
    assert float(coarse.viscosity) == float(fine.viscosity) == pytest.approx(1e4 / 960_000)
    assert coarse.grid.size == fine.grid.size == (100.0, 200.0)
    assert coarse.grid.cells == (32, 64) and fine.grid.cells == (128, 256)


@pytest.mark.parametrize("sides", ["channel", "no-slip", "published"])
def test_reference_frames_are_free_of_divergence_on_the_coarse_grid(sides):
    flow = cylinder_wake(32, 300.0, sides=sides)
    state, _ = rollout(flow, flow.initial_state(), 20)
    coarse = [coarsen(field, 2) for field in state.velocity]
    # The flux through a coarse face is that of the fine ones, so cells away from the cylinder inherit a zero
    # divergence; so do those at its surface, whose closed faces carry nothing.
    assert float(jnp.max(jnp.abs(divergence(coarse).values))) < 1e-5
    # What is held stays near its value where the projection has the last word.
    assert float(jnp.mean(state.velocity[1].values[:, 0])) == pytest.approx(1.0, abs=0.1)


def test_parameter_counts_are_those_published():
    key = jax.random.key(0)
    assert count_parameters(make_network("paper", 32, key)) == 260_354
    assert count_parameters(make_network("small", 32, key)) == 49_442


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"unroll": "1,2,3"}, "unroll"),
        ({"unroll": "1,8"}, "unroll"),
        ({"test_reynolds": "300,300"}, "test_reynolds"),
        ({"test_reynolds": "-3"}, "test_reynolds"),
        ({"arms": "unroled"}, "arms"),
        ({"sides": "closed"}, "sides"),
        ({"resolution": "4"}, "resolution"),
        ({"frames": "many"}, "frames"),
        ({"frame": "3"}, "frames"),
        ({"weights": "no-such-file", "unroll": "1,50"}, "no-such-file"),
        ({"largest_speed": "0.5", "scale": "8"}, "largest_speed"),
    ],
)
def test_bad_settings_are_one_sentence_and_exit_code_2(tmp_path, capfd, changes, word):
    assert main(command(tmp_path / "run", **changes)) == 2
    message = capfd.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("diffphys:") and word in message


def test_damaged_data_is_refused(tmp_path, capfd):
    out = tmp_path / "run"
    assert main(command(out, arms="none")) == 0
    chunk = max(
        (path for path in (out / "data" / "reynolds-300.zarr" / "velocity_x").rglob("*") if path.is_file()),
        key=lambda p: p.stat().st_size,
    )
    chunk.unlink()
    settings = PROGRAM.choose("demo", [f"{k}={v}" for k, v in (SMALL | {"arms": "none"}).items()])
    with pytest.raises(ValueError, match="damaged"), Run.open(out, "wake", "demo", settings, 0) as run:
        PROGRAM.run(settings, run)


def test_a_rollout_that_does_not_stay_finite_is_reported_as_such():
    """In metrics.json it has no number: one Reynolds number too far from those of the training is enough."""
    lost = {"mae": [None], "mae_mean": None}
    metrics = {"mae_source_mean": 0.1, "arms": {"source": {"mae": [0.1], "mae_mean": 0.1}, "unrolled": lost}}
    table = study_table("wake", "mae", metrics, ["Re 1e+12"], {})
    assert [list(column.cells) for column in table.columns][1] == ["0.1000", "not finite"]

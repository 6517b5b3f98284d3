"""Long runs of the wake: their statistics against runs whose differences are known, and against stored frames."""

import json
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.cli import main
from diffphys.experiments.lasting import BLOCKS, numbers_of, recorded
from diffphys.scenarios import cylinder_wake
from diffphys.stepping import rollout


def record(frequency: float = 0.01, drag: float = 1.0, swing: float = 1.0, size: int = 16) -> dict[str, np.ndarray]:
    """A run whose velocity fluctuates by `swing`, the same in each block."""
    turn = 2 * np.pi * frequency * np.arange(4000)
    mean = np.broadcast_to(np.array([0.0, 0.5])[:, None, None], (BLOCKS, 2, size // 2, size))
    return {
        "drag": drag * (1.0 + 0.1 * np.sin(2 * turn)),
        "lift": swing * np.sin(turn),
        "crosswise": swing * np.sin(turn),
        "mean": mean,
        "variance": np.full_like(mean, swing**2),
    }


def test_errors_are_those_that_were_put_in():
    runs = {
        "reference": record(),
        "same": record(),
        "faster": record(frequency=0.0103),
        "heavier": record(drag=0.9),
        "livelier": record(swing=1.1),
        "lost": record() | {"drag": np.full(4000, np.nan)},
    }
    found = numbers_of(runs, 1.0, 20.0)
    assert found["reference"]["strouhal"] == pytest.approx(0.2, rel=1e-3)
    assert found["reference"]["lift"] == pytest.approx(np.sqrt(0.5), rel=1e-3)
    assert max(found["same"]["errors"].values()) == 0.0
    assert found["faster"]["errors"]["strouhal"] == pytest.approx(0.03, rel=2e-2)
    assert found["heavier"]["errors"]["drag"] == pytest.approx(0.1, rel=1e-2)
    for name in ("lift", "fluctuation"):
        assert found["livelier"]["errors"][name] == pytest.approx(0.1, rel=1e-6), name
    assert found["livelier"]["errors"]["spectrum"] == pytest.approx(0.21, rel=1e-6)
    assert found["livelier"]["errors"]["mean"] == 0.0
    assert set(found["lost"]["errors"].values()) == {None}
    # All blocks are the same, so chance moves neither profiles nor drag.
    assert max(found["reference"]["interval"][name] for name in ("mean", "fluctuation", "drag", "lift")) < 1e-9


def test_the_mean_counts_from_the_stream_and_blocks_that_differ_have_an_interval():
    other = record()
    other["mean"] = other["mean"] + 0.1 * np.array([0.0, 1.0])[:, None, None]  # a fifth of the deficit of 0.5
    varied: dict[str, Any] = record()
    varied["mean"] = varied["mean"] + np.linspace(-0.1, 0.1, BLOCKS)[:, None, None, None]
    found = numbers_of({"reference": record(), "other": other}, 1.0, 20.0)
    assert found["other"]["errors"]["mean"] == pytest.approx(0.2)
    interval = numbers_of({"reference": varied}, 1.0, 20.0)["reference"]["interval"]["mean"]
    # Both components move by 1.96 standard errors of twenty blocks, relative to the deficit of 0.5.
    expected = 1.96 * np.std(np.linspace(-0.1, 0.1, BLOCKS)) / np.sqrt(BLOCKS) * np.sqrt(2) / 0.5
    assert interval == pytest.approx(expected, rel=0.15)


def test_what_is_recorded_is_what_frames_say():
    flow = cylinder_wake(16, 300.0)
    start = flow.initial_state((0.0, 1.0))
    found = recorded(flow, start, flow, 2 * BLOCKS, 1)
    _, frames = rollout(flow, start, 2 * BLOCKS, save_every=1, save=lambda state: flow.at_centers(state).velocity)
    for axis in range(2):
        values = frames[axis].values
        np.testing.assert_allclose(jnp.mean(found["mean"][:, axis], axis=0), jnp.mean(values, axis=0), atol=1e-5)
        last = values[-2:]
        np.testing.assert_allclose(found["variance"][-1, axis], jnp.var(last, axis=0), atol=1e-6)
    assert found["drag"].shape == (2 * BLOCKS,) and float(found["drag"][-1]) > 1.0  # along the stream, on the cylinder
    assert float(jnp.max(jnp.abs(found["lift"]))) < 1e-3 * float(found["drag"][-1])  # it has not begun to shed


@pytest.mark.slow
def test_a_small_run_writes_its_table_and_figures(tmp_path, capsys):
    words = """resolution=16 scale=2 warmup=100 frames=2 test_reynolds=300,1000 lasting=400 arms=none weights="""
    out = tmp_path / "run"
    command = ["run", "wake", "--preset", "lasting", "--out", str(out)]
    assert main([*command, *(word for one in words.split() for word in ("--set", one))]) == 0
    found = json.loads((out / "metrics.json").read_text())["lasting"]
    assert set(found) == {"300", "1000"} and set(found["300"]) == {"reference", "source"}
    assert 0.1 < found["300"]["reference"]["strouhal"] < 0.4
    assert {"lasting-300.png", "lasting-1000.png"} <= {path.name for path in (out / "figures").iterdir()}
    assert "by chance" in capsys.readouterr().out


@pytest.mark.parametrize("steps", ["390", "410", "20"])
def test_steps_that_blocks_cannot_share_are_refused(steps, capsys):
    assert main(["run", "wake", "--set", f"lasting={steps}"]) == 2
    assert "a multiple of 20" in capsys.readouterr().err

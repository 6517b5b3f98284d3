"""A study on a problem whose answer is known: heat conduction, whose source lacks a stencil of the reference."""

import dataclasses
import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.errors import InputError
from diffphys.learning import mean_absolute_error, with_parameters
from diffphys.learning.corrected import Precomputed
from diffphys.learning.study import (
    Study,
    StudySettings,
    data_path,
    generate_data,
    load_cases,
    load_evaluation,
    load_network,
    precomputed_corrections,
    run_study,
)
from diffphys.runs import Interrupted, Run, StopRequest, make_settings
from diffphys.view import find_runs
from diffphys.view.frames import case_words


GRID = dp.Grid((8,), (1.0,))
MISSING = jnp.array([0.03, -0.05, 0.02])
SHORT = {
    "warmup": 2,
    "train_frames": 9,
    "frames": 5,
    "unroll": (1, 2),
    "updates": (6, 4),
    "learning_rates": (1e-2, 1e-2),
    "averaging": 0.0,
}


class Stencil(eqx.Module):
    kernel: jax.Array

    def __call__(self, image):
        return jax.vmap(lambda row: jnp.convolve(jnp.concatenate([row[-1:], row, row[:1]]), self.kernel, "valid"))(
            image
        )


class Timed(eqx.Module):
    """Heat conduction, and whatever its correction is, with a clock: the state is a pair."""

    heat: dp.Heat
    diffusivity: jax.Array
    correction: Stencil | None = None

    def __call__(self, state):
        field, time = state
        field = with_parameters(self.heat, {"diffusivity": self.diffusivity})(field)
        if self.correction is not None:
            field = field.with_values(field.values + self.correction(field.values[None])[0])
        return field, time + self.heat.dt


def make_network(points: int, key: jax.Array) -> Stencil:
    return Stencil(jnp.zeros(points))


def largest_error(prediction, target):
    return jnp.max(jnp.abs(prediction["temperature"] - target["temperature"]))


def heat_study(**changes) -> Study:
    heat = dp.Heat(GRID, 0.05, 0.1, ((dp.Periodic(), dp.Periodic()),))
    first = jnp.sin(2 * jnp.pi * (jnp.arange(8) + 0.3) / 8) + jnp.cos(6 * jnp.pi * jnp.arange(8) / 8)
    study = Study(
        name="heat",
        case="diffusivity",
        train_cases=(0.05, 0.03),
        test_cases=(0.04,),
        reference=Timed(heat, jnp.asarray(0.05), Stencil(MISSING)),
        source=Timed(heat, jnp.asarray(0.05)),
        grid=GRID,
        begin=lambda system: (heat.initial_state(first), jnp.zeros(())),
        transfer=lambda state: {"temperature": state[0].values},
        state=lambda frame: (heat.initial_state(jnp.zeros(8)).with_values(frame["temperature"]), frame["time"]),
        names=("temperature",),
        fields=lambda state: (state[0],),
        make_network=make_network,
        architecture={"points": 3},
        parameters=lambda label: {"diffusivity": label},
        interval=0.1,
        metrics={
            "mae": mean_absolute_error,
            "largest": lambda p, t: jnp.max(jnp.abs(p["temperature"] - t["temperature"])),
        },
        diagnostics={"temperature": lambda fields: fields[0].values},
    )
    return dataclasses.replace(study, **changes)


def settings_of(**changes) -> StudySettings:
    return make_settings(StudySettings, {**SHORT, **changes})


def opened(directory, settings, stop=None):
    return Run.open(directory, "heat", "demo", settings, 0, stop)


def carry_out(directory, study=None, stop=None, **changes):
    settings = settings_of(**changes)
    with opened(directory, settings, stop) as run:
        run_study(study or heat_study(), settings, run)
        return run.read_metrics()


def test_training_finds_what_the_source_lacks_and_metrics_say_so(tmp_path):
    arms = ("none", "supervised", "one-step", "detached", "unrolled")
    long = {"arms": arms, "updates": (300, 60), "learning_rates": (2e-2, 5e-3), "rate_warmup": 0, "decay": 0.02}
    metrics = carry_out(tmp_path, **long)
    assert set(metrics["arms"]) == {"source", *arms} - {"none"}
    assert metrics["test_diffusivity"] == [0.04] and metrics["max_temperature"] < 2.5
    # What the source alone lacks after two steps is not what it lacks after one: that arm learns a bit of both.
    assert metrics["arms"]["supervised"]["mae_mean"] < 0.5 * metrics["mae_source_mean"]
    for arm in arms[2:]:
        assert metrics["arms"][arm]["mae_mean"] < 0.05 * metrics["mae_source_mean"], arm
        assert metrics["arms"][arm]["largest_mean"] >= metrics["arms"][arm]["mae_mean"]
        with opened(tmp_path, settings_of(**long)) as run:
            network, _ = load_network(heat_study(), str(run.checkpoint_path(f"network-{arm}")))
        # Conduction leaves the longest wave, and on that the stencil is the one that is missing.
        wave = jnp.sin(2 * jnp.pi * jnp.arange(8) / 8)[None]
        np.testing.assert_allclose(network(wave), Stencil(MISSING)(wave), atol=1e-3)


def test_what_is_looked_at_is_what_was_measured(tmp_path):
    """Frames, and errors over time, of every arm beside the reference; how training went."""
    metrics = carry_out(tmp_path, arms=("one-step", "unrolled"))
    run = find_runs(tmp_path)["."]
    assert run.frames == ["reference", "source", "one-step", "unrolled"]
    frames: dict[str, Any] = {name: run.dataset(name) for name in run.frames}
    curves = run.curves()
    for name in run.frames:
        np.testing.assert_allclose(frames[name].time, 0.1 * np.arange(1, 6), rtol=1e-12)
        assert case_words(frames[name]) == ["0.04"] and frames[name].temperature.dims == ("case", "time", "x")
    for name in run.frames[1:]:
        apart = abs(frames[name].temperature - frames["reference"].temperature).mean("x")[0]
        np.testing.assert_allclose(curves["mean absolute error over time"][name]["0.04"], apart, rtol=1e-4)
        np.testing.assert_allclose(apart.mean(), metrics["arms"][name]["mae_mean"], rtol=1e-4)
    training = curves["training"]["unrolled"]
    np.testing.assert_array_equal(training["update"], np.arange(1, 11))
    with opened(tmp_path, settings_of(arms=("one-step", "unrolled"))) as run:
        np.testing.assert_allclose(training["loss"], load_evaluation(run, "unrolled")["losses"], rtol=1e-5)


def test_a_further_loss_is_added_where_training_goes_through_the_source(tmp_path):
    """A loss is the mean over unrolled frames of what is summed over the windows of a batch, here 3."""
    one = {"unroll": (2,), "updates": (1,), "learning_rates": (1e-2,), "arms": ("supervised", "unrolled")}
    losses: dict[str, list[float]] = {arm: [] for arm in one["arms"]}
    for further in (None, lambda prediction, target: 10 * jnp.mean(target["temperature"] * 0 + 1)):
        directory = tmp_path / str(further is None)
        carry_out(directory, heat_study(further_loss=further), **one)
        with opened(directory, settings_of(**one)) as run:
            for arm, found in losses.items():
                found.append(float(load_evaluation(run, arm)["losses"][0]))
    np.testing.assert_allclose(np.diff(losses["unrolled"]), 30.0, rtol=1e-4)
    np.testing.assert_allclose(np.diff(losses["supervised"]), 0.0, atol=1e-6)


def test_errors_may_be_divided_by_what_the_source_lacks(tmp_path):
    one = {"unroll": (1,), "updates": (1,), "learning_rates": (1e-2,), "arms": ("one-step",)}
    losses = {}
    for scales in ("fields", "lacking"):
        carry_out(tmp_path / scales, heat_study(loss_scales=scales), **one)
        with opened(tmp_path / scales, settings_of(**one)) as run:
            losses[scales] = float(load_evaluation(run, "one-step")["losses"][0])
            data = load_cases(heat_study(), settings_of(**one), run, heat_study().train_cases, 9)
    frames = precomputed_corrections(heat_study(), data, 1).frames
    lacks = frames["temperature"][:, 1:] - frames["before temperature"][:, :-1]
    ratio = jnp.var(jnp.abs(data.frames["temperature"])) / jnp.mean(lacks**2)
    np.testing.assert_allclose(losses["lacking"] / losses["fields"], ratio, rtol=1e-3)


def test_corrections_of_the_references_own_states_train_as_one_step_does(tmp_path):
    """Mathematically the two are one, where the source is asked for one step from each frame."""
    one = {"unroll": (1,), "updates": (5,), "learning_rates": (1e-2,)}
    arms = carry_out(tmp_path, arms=("supervised", "one-step"), **one)["arms"]
    np.testing.assert_allclose(arms["supervised"]["mae"], arms["one-step"]["mae"], rtol=1e-4)


def test_noise_of_size_zero_is_one_step_and_a_pushforward_is_detached_over_two_steps(tmp_path):
    """The trick of Brandstetter et al. (2022): no gradient leads from the second step to the first."""
    two = {"unroll": (2,), "updates": (5,), "learning_rates": (1e-2,)}
    arms = ("one-step", "noise", "pushforward", "detached")
    found = carry_out(tmp_path / "none", arms=arms, noise=0.0, **two)["arms"]
    np.testing.assert_allclose(found["noise"]["mae"], found["one-step"]["mae"], rtol=1e-6)
    np.testing.assert_allclose(found["pushforward"]["mae"], found["detached"]["mae"], rtol=1e-6)
    assert found["pushforward"]["mae"] != found["one-step"]["mae"] and found["noise"]["unroll"] == 1
    some = carry_out(tmp_path / "some", arms=("noise",), noise=0.1, **two)["arms"]
    assert abs(some["noise"]["mae"][0] / found["noise"]["mae"][0] - 1) > 1e-5


def test_precomputed_states_are_those_of_the_source_alone(tmp_path):
    study, settings = heat_study(), settings_of()
    with opened(tmp_path, settings) as run:
        generate_data(study, settings, run, study.train_cases)
        data = load_cases(study, settings, run, study.train_cases, 9)
    found = precomputed_corrections(study, data, 3)
    assert found.length == 7  # two stretches of three steps, and the frame after them
    step = with_parameters(study.source, {"diffusivity": jnp.asarray(0.03)})
    for first in (0, 3):
        state = study.state(jax.tree.map(lambda leaf, first=first: leaf[1, first], data.frames))
        for index in range(first, first + 3):
            state = step(state)
            np.testing.assert_allclose(found.frames["before temperature"][1, index], state[0].values, atol=1e-6)
    # A source that is the reference needs no correction.
    same = precomputed_corrections(dataclasses.replace(study, source=study.reference), data, 3)
    np.testing.assert_allclose(same.frames["before temperature"][:, :-1], data.frames["temperature"][:, 1:7], atol=1e-6)


def test_a_step_that_was_made_before_keeps_state_and_numbers():
    solver = Precomputed(heat_study().source)
    assert solver((1, 2)) == (1, 2)
    assert with_parameters(solver, {"diffusivity": jnp.asarray(0.5)}).solver.diffusivity == 0.5


def test_frames_know_their_time_and_skip_steps_of_the_reference(tmp_path):
    study = heat_study(steps_per_frame=2, interval=0.2)
    settings = settings_of(warmup=4)
    with opened(tmp_path, settings) as run:
        generate_data(study, settings, run, study.test_cases)
        frames, numbers = load_cases(study, settings, run, study.test_cases, 6).case(0)
    state = study.begin(study.reference)
    step = with_parameters(study.reference, numbers)
    for index in range(4 + 2 * 5):
        state = step(state)
        if index >= 3 and (index - 3) % 2 == 0:
            frame = (index - 3) // 2
            np.testing.assert_allclose(frames["time"][frame], state[1], rtol=1e-5)
            np.testing.assert_allclose(frames["temperature"][frame], state[0].values, atol=1e-6)


def test_data_are_shared_by_runs_of_the_same_systems_only(tmp_path):
    shared = {"arms": ("none",), "data": str(tmp_path / "shared")}
    first = carry_out(tmp_path / "one", **shared)
    assert first["data_seconds"] > 0 and not (tmp_path / "one" / "data").exists()
    second = carry_out(tmp_path / "two", **shared)
    assert second["data_seconds"] == 0 and second["reference_step_ms"] is None
    assert second["mae_source"] == first["mae_source"]
    assert len(list((tmp_path / "shared").iterdir())) == 1
    # Another start, other frames, another system: other data.
    for name, changes, study in (
        ("warmup", {"warmup": 3}, heat_study()),
        ("frames", {"frames": 6}, heat_study()),
        ("identity", {}, heat_study(identity={"scheme": "other"})),
    ):
        assert carry_out(tmp_path / name, study, **shared, **changes)["data_seconds"] > 0
    with jax.enable_x64(True):
        assert carry_out(tmp_path / "precision", **shared)["data_seconds"] > 0
    assert len(list((tmp_path / "shared").iterdir())) == 5


def test_an_interrupted_study_ends_with_the_same_bits(tmp_path):
    options = {"arms": ("unrolled",), "checkpoint_seconds": 0.0}
    straight = carry_out(tmp_path / "straight", **options)

    class AfterSome(StopRequest):
        left = 9

        @property
        def requested(self) -> bool:
            self.left -= 1
            return self.left < 0

    stopped = 0
    while True:
        try:
            resumed = carry_out(tmp_path / "stopped", stop=AfterSome(), **options)
            break
        except Interrupted:
            stopped += 1
    assert stopped >= 2
    for arm in ("source", "unrolled"):
        assert resumed["arms"][arm]["mae"] == straight["arms"][arm]["mae"]
        name = f"evaluation-{arm}.checkpoint"
        paths = [tmp_path / one / "checkpoints" / name for one in ("straight", "stopped")]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_network_of_another_study_and_a_reference_that_explodes_are_refused(tmp_path):
    carry_out(tmp_path, updates=(1, 1))
    path = str(tmp_path / "checkpoints" / "network-unrolled.checkpoint")
    with pytest.raises(InputError, match="no network of the wake experiment"):
        load_network(heat_study(name="wake"), path)
    with pytest.raises(InputError, match="ships none"):
        load_network(heat_study(), "shipped")
    exploding = heat_study(reference=Timed(heat_study().reference.heat, jnp.asarray(0.05), Stencil(1e20 * MISSING)))
    with pytest.raises(InputError, match="diffusivity 0.04 does not stay finite"):
        carry_out(tmp_path / "exploding", exploding, arms=("none",), frames=8)


def test_another_directory_of_data_does_not_make_another_run(tmp_path):
    settings = settings_of(arms=("none",))
    with opened(tmp_path, settings) as run:
        own = data_path(heat_study(), settings, run, 0.04)
    assert own == tmp_path / "data" / "diffusivity-0.04.zarr"
    assert json.loads((tmp_path / "settings.json").read_text())["settings"]["data"] == ""
    with opened(tmp_path, settings_of(arms=("none",), data=str(tmp_path / "shared"))):
        pass


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"unroll": (1,)}, "one each for every stage"),
        ({"unroll": (1, 9)}, "fewer steps than frames"),
        ({"arms": ("none", "none")}, "one or more different texts"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        settings_of(**changes)

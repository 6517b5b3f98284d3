"""Training in the loop, on a problem whose answer is known."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import diffphys as dp
from diffphys.errors import InputError
from diffphys.learning import half_sum_of_squares, mean_absolute_error, train
from diffphys.learning.training import initial_progress


GRID = dp.Grid((8,), (1.0,))
SIDES = ((dp.Periodic(), dp.Periodic()),)
SHORT = [dp.Stage(1, 3, optax.adam(1e-2)), dp.Stage(2, 2, optax.adam(1e-2))]


def heat(diffusivity: float = 0.05) -> dp.Heat:
    return dp.Heat(GRID, diffusivity, 0.1, SIDES)


MISSING = jnp.array([0.03, -0.05, 0.02])  # what the true step does beyond the heat equation


class Stencil(eqx.Module):
    """A correction by a three-point stencil: the true one is known, and training has to find it."""

    kernel: jax.Array

    def __call__(self, image):
        return jax.vmap(lambda row: jnp.convolve(jnp.concatenate([row[-1:], row, row[:1]]), self.kernel, "valid"))(
            image
        )


def trajectories(diffusivities=(0.05, 0.03), frames: int = 12) -> dp.Trajectories:
    """Frames of the heat equation with a correction."""
    start = heat().initial_state(jax.random.normal(jax.random.key(1), (8,)))
    cases = [
        dp.rollout(dp.Corrected(heat(value), Stencil(MISSING)), start, frames, save_every=1)[1]
        for value in diffusivities
    ]
    frames_of_all = jax.tree.map(lambda *leaves: jnp.stack(leaves), *cases)
    return dp.Trajectories(frames_of_all, {"diffusivity": jnp.asarray(diffusivities)})


def start_model() -> dp.Corrected:
    return dp.Corrected(heat(), Stencil(jnp.zeros(3)))


def error(prediction, target):
    return half_sum_of_squares(prediction.values, target.values)


@pytest.mark.parametrize("adjoint", [dp.StoreAll(), dp.Detached(), dp.Truncated(2), dp.Checkpointed()])
def test_training_finds_what_is_missing(adjoint):
    optimizer = optax.adam(optax.cosine_decay_schedule(2e-2, 1500))
    trained, log = train(
        start_model(), trajectories(), unroll=4, updates=1500, optimizer=optimizer, loss=error, adjoint=adjoint
    )
    assert log.losses[-20:].mean() < 1e-4 * log.losses[:20].mean()
    assert jnp.allclose(trained.network.kernel, MISSING, atol=1e-5)
    assert log.skipped == 0 and np.all(log.unroll == 4)


def test_going_on_gives_the_same_bits():
    settings: dict[str, Any] = {"curriculum": SHORT, "averaging": 0.5, "loss": error}
    whole, log = train(start_model(), trajectories(), **settings)
    kept = {}

    def keep(progress, number, loss):
        kept[number] = progress

    train(start_model(), trajectories(), after_update=keep, **settings)
    for number in (0, 2, 3):  # within a stage, at its end, within the next
        resumed, again = train(start_model(), trajectories(), resume=kept[number], **settings)
        assert jnp.array_equal(resumed.network.kernel, whole.network.kernel)
        assert np.array_equal(again.losses, log.losses)
    like = initial_progress(start_model(), SHORT)
    assert jax.tree.structure(like) == jax.tree.structure(kept[4])


def test_the_seed_decides_what_is_drawn():
    results = [train(start_model(), trajectories(), updates=3, seed=seed, loss=error)[1].losses for seed in (0, 0, 1)]
    assert np.array_equal(results[0], results[1]) and not np.array_equal(results[0], results[2])


def test_updates_compile_once(monkeypatch):
    traces = []

    def counting(prediction, target):
        traces.append(1)
        return error(prediction, target)

    train(start_model(), trajectories(), updates=1, loss=counting)
    once = len(traces)
    traces.clear()
    train(start_model(), trajectories(), updates=6, loss=counting)
    assert len(traces) <= once


def test_the_first_loss_is_the_mean_over_steps_summed_over_the_batch():
    data = trajectories((0.05,), frames=3)  # one window of two steps only
    _, log = train(start_model(), data, unroll=2, updates=1, batch=3, loss=error)
    frames, _ = data.case(0)
    state = jax.tree.map(lambda leaf: leaf[0], frames)
    total = 0.0
    for step in (1, 2):
        state = heat()(state)
        total += float(error(state, jax.tree.map(lambda leaf, step=step: leaf[step], frames)))
    assert log.losses[0] == pytest.approx(3 * total / 2, rel=1e-5)


def test_an_update_without_a_finite_gradient_is_left_out():
    def broken(prediction, target):
        return error(prediction, target) * jnp.where(jnp.max(jnp.abs(target.values)) > 0, jnp.nan, 1.0)

    trained, log = train(start_model(), trajectories(), updates=2, loss=broken)
    assert log.skipped == 2 and jnp.array_equal(trained.network.kernel, jnp.zeros(3))


def test_validation_is_asked_for_and_kept():
    _, log = train(start_model(), trajectories(), updates=5, loss=error, validation=lambda step: 7.0, validate_every=2)
    assert log.validation == [(2, 7.0), (4, 7.0), (5, 7.0)]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"unroll": 12}, "unroll"),
        ({"unroll": 0}, "unroll"),
        ({"updates": 0}, "updates"),
        ({"batch": 0}, "batch"),
        ({"curriculum": [], "updates": 1000}, "curriculum is empty"),
        ({"curriculum": dp.Stage(1, 2, optax.sgd(0.1)), "updates": 1000}, "a list of Stage"),
        ({"curriculum": SHORT}, "updates or optimizer is given beside curriculum"),
        ({"loss": lambda prediction, target: prediction}, r"loss returns an array of shape \("),
        ({"averaging": 1.0}, "averaging"),
        ({"step": heat()}, "Heat"),
    ],
)
def test_bad_arguments_are_named(changes, word):
    arguments = {"step": start_model(), "data": trajectories(), "updates": 1, "loss": error} | changes
    with pytest.raises(dp.InputError, match=word):
        train(arguments.pop("step"), arguments.pop("data"), **arguments)


@pytest.mark.parametrize(
    "setting", ["jax_debug_nans", "jax_debug_infs", pytest.param("jax_disable_jit", marks=pytest.mark.slow)]
)
def test_checks_of_jax_can_be_on(setting):
    """What has no value yet is not NaN; training gives the same as without them."""
    data, stages = trajectories(frames=3), [dp.Stage(2, 1, optax.adam(1e-2))]
    expected, log = train(start_model(), data, curriculum=stages, averaging=0.5, loss=error)
    jax.config.update(setting, True)
    try:
        found, again = train(start_model(), data, curriculum=stages, averaging=0.5, loss=error)
    finally:
        jax.config.update(setting, False)
    np.testing.assert_allclose(found.network.kernel, expected.network.kernel, rtol=1e-5)
    np.testing.assert_allclose(again.losses, log.losses, rtol=1e-5)


def test_losses():
    prediction, target = (
        {"a": jnp.array([1.0, 2.0]), "b": jnp.array([[3.0]])},
        {"a": jnp.zeros(2), "b": jnp.zeros((1, 1))},
    )
    assert float(half_sum_of_squares(prediction, target)) == 7.0
    assert float(half_sum_of_squares(prediction, target, {"a": 1.0, "b": 3.0})) == 3.0
    assert float(mean_absolute_error(prediction, target)) == 2.0


def test_what_is_returned_is_the_moving_average_of_what_was_trained():
    kept = [start_model().network.kernel]
    trained, _ = train(
        start_model(),
        trajectories(),
        curriculum=SHORT,
        averaging=0.75,
        loss=error,
        after_update=lambda progress, number, loss: kept.append(progress.trainable.kernel),
    )
    average = kept[0]
    for kernel in kept[1:]:
        average = 0.75 * average + 0.25 * kernel
    assert jnp.allclose(trained.network.kernel, average, rtol=1e-6)
    assert not jnp.allclose(average, kept[-1], rtol=1e-2)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.lbfgs(),
        optax.polyak_sgd(),
        optax.chain(optax.adam(3e-3), optax.contrib.reduce_on_plateau(patience=2)),
        optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(8)),
    ],
    ids=["lbfgs", "polyak_sgd", "reduce_on_plateau", "backtracking"],
)
def test_an_optimizer_that_asks_for_the_loss_is_given_it(optimizer):
    # One case of two frames is one window: every update sees the same loss.
    curriculum, data = [dp.Stage(1, 8, optimizer)], trajectories((0.05,), frames=2)
    seen = {}

    def keep(progress, number, loss):
        seen[number] = progress

    trained, log = train(start_model(), data, curriculum=curriculum, loss=error, after_update=keep)
    # The least of them: steps of Polyak's length near the minimizer, but not each of them goes down.
    assert log.losses.min() < 0.8 * log.losses[0] and log.skipped == 0
    again, repeated = train(start_model(), data, curriculum=curriculum, loss=error, resume=seen[3])
    np.testing.assert_array_equal(again.network.kernel, trained.network.kernel)
    np.testing.assert_array_equal(repeated.losses, log.losses)


def test_a_loss_on_all_unrolled_steps_takes_the_place_of_that_of_each():
    def of_all(prediction, target):
        return jnp.mean(jax.vmap(error)(prediction, target))

    one, log = train(start_model(), trajectories(), curriculum=SHORT, loss=error)
    other, again = train(start_model(), trajectories(), curriculum=SHORT, unrolled_loss=of_all)
    np.testing.assert_allclose(one.network.kernel, other.network.kernel, rtol=1e-6)
    np.testing.assert_allclose(log.losses, again.losses, rtol=1e-6)


def test_training_recovers_from_an_update_that_diverges():
    """A frame of which one case has gone wild: its windows have gradients far beyond all others."""
    data = trajectories()
    values = data.frames.values.at[1, 6].multiply(1e6)
    spoiled = dp.Trajectories(jax.tree.map(lambda _: values, data.frames), data.parameters)
    settings: dict[str, Any] = {"updates": 800, "optimizer": optax.adam(optax.cosine_decay_schedule(2e-2, 800))}
    spoilt, log = train(start_model(), spoiled, loss=error, **settings)
    recovery = dp.learning.Recovery(patience=20)
    kept, other = train(start_model(), spoiled, loss=error, recovery=recovery, **settings)
    assert log.skipped == 0 < other.skipped
    off = [float(jnp.max(jnp.abs(model.network.kernel - MISSING))) for model in (spoilt, kept)]
    assert off[1] < 1e-3 < off[0]


def test_what_a_window_begins_with_is_perturbed_and_its_targets_are_not():
    """Heat conduction keeps a constant: from zeros it leads to zeros, and the loss is that of the constant frames."""
    constant = heat().initial_state(1.5)
    frames = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (2, 5, *leaf.shape)), constant)
    data = dp.Trajectories(frames, {"diffusivity": jnp.asarray([0.05, 0.03])})
    options: dict[str, Any] = {"unroll": 2, "updates": 1, "loss": error, "batch": 3}
    zeros = lambda key, frame: jax.tree.map(jnp.zeros_like, frame)  # noqa: E731
    _, log = train(start_model(), data, perturb=zeros, **options)
    assert log.losses[0] == pytest.approx(3 * 0.5 * 8 * 1.5**2)
    _, log = train(start_model(), data, **options)
    assert log.losses[0] == pytest.approx(0.0, abs=1e-10)


def test_windows_have_noise_of_their_own_and_are_drawn_as_without():
    data = trajectories()
    options: dict[str, Any] = {"updates": 2, "loss": error, "batch": 3}
    _, plain = train(start_model(), data, **options)
    _, same = train(start_model(), data, perturb=lambda key, frame: frame, **options)
    np.testing.assert_array_equal(plain.losses, same.losses)


def test_each_window_has_noise_of_its_own():
    """A normal number in all eight cells stays there, and the loss is four times its square."""
    still = dp.Trajectories(jax.tree.map(jnp.zeros_like, trajectories().frames), {"diffusivity": jnp.full(2, 0.05)})

    def number(key, frame):
        return jax.tree.map(lambda leaf: jnp.full_like(leaf, jax.random.normal(key)), frame)

    options: dict[str, Any] = {"updates": 60, "optimizer": optax.sgd(1e-12), "loss": error, "perturb": number}
    one = train(start_model(), still, batch=1, **options)[1].losses
    four = train(start_model(), still, batch=4, **options)[1].losses
    assert len(np.unique(one)) == 60
    # Squares of one and of four normal numbers: were they the same in a batch, four would vary by twice as much.
    assert np.mean(one) == pytest.approx(4, rel=0.5) and np.mean(four) == pytest.approx(16, rel=0.3)
    assert np.std(four) / np.mean(four) < 1.1


def test_a_sub_range_longer_than_all_stages_is_refused_and_a_shorter_stage_takes_all_its_steps():
    with pytest.raises(InputError, match="train: window of the adjoint is 3; at most the unrolled steps"):
        train(start_model(), trajectories(), curriculum=SHORT, loss=error, adjoint=dp.Truncated(3))
    one, _ = train(start_model(), trajectories(), curriculum=SHORT, loss=error, adjoint=dp.Truncated(2))
    other, _ = train(start_model(), trajectories(), curriculum=SHORT, loss=error)
    np.testing.assert_allclose(one.network.kernel, other.network.kernel, rtol=1e-6)

"""How far a rollout or a training has come is told in order, and costs nothing where nobody asks."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import diffphys as dp
from diffphys import learning


def step(state):
    return jnp.sin(state)


def test_a_rollout_tells_its_steps_from_zero_to_the_last():
    seen: list[tuple[int, int]] = []
    start = jnp.ones(3)

    def tell(done, total):
        seen.append((done, total))

    alone, _ = dp.rollout(step, start, 250, progress=tell)
    jax.effects_barrier()
    assert [done for done, _ in seen] == [0, *range(3, 250, 3), 250] and {total for _, total in seen} == {250}
    np.testing.assert_array_equal(alone, dp.rollout(step, start, 250)[0])

    seen.clear()
    compiled = jax.jit(jax.vmap(lambda state: dp.rollout(step, state, 50, save_every=10, progress=tell)[0]))
    jax.block_until_ready(compiled(jnp.ones((2, 3))))
    jax.effects_barrier()
    assert [done for done, _ in seen] == list(range(51))


def test_a_gradient_tells_its_way_forward_and_a_bar_counts_no_step_twice(capsys):
    seen: list[int] = []
    bar = dp.ProgressBar("gradient")

    def tell(done, total):
        seen.append(done)
        bar(done, total)

    def loss(state, progress):
        return jnp.sum(dp.rollout(step, state, 40, progress=progress)[0])

    found = jax.grad(lambda state: loss(state, tell))(jnp.ones(2))
    jax.effects_barrier()
    np.testing.assert_allclose(found, jax.grad(lambda state: loss(state, None))(jnp.ones(2)), rtol=1e-6)
    assert seen[:41] == list(range(41)) and len(seen) > 41  # and again, segment by segment from the last
    assert capsys.readouterr().err.count("gradient: 40/40") == 1 and not bar.shown


def test_without_progress_the_program_has_no_callback():
    def text(progress: Any) -> str:
        return str(jax.make_jaxpr(lambda state: dp.rollout(step, state, 10, progress=progress)[0])(jnp.ones(2)))

    assert "callback" not in text(None) and "callback" not in text(False) and "callback" in text(True)


def test_equal_bars_share_one_program(capsys):
    traced = []

    def counted(state):
        traced.append(1)
        return jnp.sin(state)

    for _ in range(3):
        dp.rollout(counted, jnp.ones(2), 20, progress=dp.ProgressBar("same"))
        jax.effects_barrier()
        once = len(traced)
        assert "same: 20/20" in capsys.readouterr().err
    assert len(traced) == once and dp.ProgressBar("same") != dp.ProgressBar("other")


def test_what_is_no_function_is_one_sentence():
    for given in (3, "bar"):
        wrong: Any = given
        with pytest.raises(dp.InputError, match="progress"):
            dp.rollout(step, jnp.ones(2), 3, progress=wrong)


def trained(after_update, updates=6):
    hybrid = dp.Corrected(lambda state: state, eqx.nn.Lambda(lambda x: x))
    hybrid = eqx.tree_at(lambda one: one.network, hybrid, eqx.nn.Conv1d(1, 1, 1, key=jax.random.key(0)))
    data = dp.Trajectories(jnp.ones((1, 4, 1, 5)))
    return dp.train(hybrid, data, updates=updates, optimizer=optax.sgd(1e-3), after_update=after_update)[1]


def test_a_training_shows_its_loss_and_several_callbacks_come_in_turn(capsys):
    seen = []
    log = trained(
        learning.in_turn(learning.show_training(), lambda progress, number, loss: seen.append((number, loss)))
    )
    assert [number for number, _ in seen] == list(range(6))
    np.testing.assert_allclose([loss for _, loss in seen], log.losses, rtol=1e-6)
    assert "training: 6/6, " in (said := capsys.readouterr().err) and f"loss {log.losses[-1]:.2e}" in said


def test_tensorboard_reads_what_was_logged(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # pyright: ignore[reportMissingImports]

    log = trained(learning.log_to_tensorboard(tmp_path, every=2))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    found = events.Tensors("loss") if "loss" in events.Tags()["tensors"] else events.Scalars("loss")
    assert [event.step for event in found] == [2, 4, 6]
    values = [event.value if hasattr(event, "value") else float(event.tensor_proto.float_val[0]) for event in found]
    np.testing.assert_allclose(values, log.losses[1::2], rtol=1e-5)


def test_where_tensorboard_is_missing_a_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboard.summary", None)
    with pytest.raises(dp.InputError, match=r'pip install "diffphys\[tensorboard\]"'):
        learning.log_to_tensorboard("logs")

r"""How far the states that an arm meets lie from those that it was trained on, in their principal components.

A network sees in training other states than it leads to when it runs by itself: a shift of its inputs. Of $N$ training
states $x_j$, as vectors whose fields are divided by their scales, let $\bar x$ be the mean and $(e_i, \lambda_i)$ the
principal components, of which the first $k$ hold a given part of the variance. Of another state there are told

$$T = \Big(\frac1k \sum_{i \le k} \frac{(e_i \cdot (x - \bar x))^2}{\lambda_i}\Big)^{1/2}, \qquad
Q = \Big(\frac{\lVert x - \bar x - \sum_{i \le k} e_i\, e_i \cdot (x - \bar x) \rVert^2}
{\sum_{i > k} \lambda_i}\Big)^{1/2}:$$

how unusual its part within the leading components is (Hotelling 1931), and how much of it lies beyond them (Jackson and
Mudholkar 1979). The root of the mean square of both over the training states themselves is one.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.errors import InputError
from diffphys.learning.corrected import with_parameters
from diffphys.learning.study.settings import PUSHED, StudySettings
from diffphys.learning.study.study import Frame, Study
from diffphys.learning.study.training import with_noise
from diffphys.learning.trajectories import Trajectories
from diffphys.stepping import rollout


PER_WINDOW = 8  # states of an unrolled window that are looked at: neighbors are nearly the same


class Components(NamedTuple):
    """What is kept of training states.

    Attributes:
        mean: Of the states, (numbers,).
        directions: The leading principal components, (components, numbers), each of length one.
        variances: Along each of them, (components,).
        rest: The variance of all other directions together.
    """

    mean: np.ndarray
    directions: np.ndarray
    variances: np.ndarray
    rest: float


class Shift(NamedTuple):
    """How far states lie from others, one number for each state.

    Attributes:
        within: T, in the leading components.
        beyond: Q, outside of them.
    """

    within: np.ndarray
    beyond: np.ndarray


def principal_components(states: np.ndarray, held: float = 0.95) -> Components:
    """The leading principal components of states, as few as hold a part of the variance.

    Args:
        states: (states, numbers), more than two that differ.
        held: The part of the variance, above 0 and below 1. At least one component is left out, so that there is
            something beyond.

    Raises:
        InputError: fewer states, states that are all the same, or another part.
    """
    if not 0.0 < held < 1.0:
        raise InputError(f"principal_components: held is {held:g}; a part above 0 and below 1 is accepted.")
    states = np.asarray(states, np.float64)
    if states.ndim != 2 or len(states) < 3:
        raise InputError(f"principal_components: states has shape {states.shape}; three or more rows are accepted.")
    mean = states.mean(axis=0)
    apart = states - mean
    # The components from the small matrix of products: there are fewer states than numbers.
    values, vectors = np.linalg.eigh(apart @ apart.T / len(states))
    values, vectors = values[::-1].clip(0.0), vectors[:, ::-1]
    rank = int(np.sum(values > 1e-12 * values[0]))
    if rank < 2:
        raise InputError("principal_components: states vary in fewer than two directions; states that do are accepted.")
    count = min(1 + int(np.searchsorted(np.cumsum(values) / values.sum(), held)), rank - 1)
    directions = (apart.T @ vectors[:, :count]).T / np.sqrt(len(states) * values[:count, None])
    return Components(mean, directions, values[:count], float(values[count:].sum()))


def shift_from(components: Components, states: np.ndarray) -> Shift:
    """How far states, (states, numbers), lie from those of the components."""
    apart = np.asarray(states, np.float64) - components.mean
    along = apart @ components.directions.T
    left = apart - along @ components.directions
    within = np.sqrt(np.mean(along**2 / components.variances, axis=-1))
    return Shift(within, np.sqrt(np.sum(left**2, axis=-1) / components.rest))


def states_of_training(
    study: Study,
    settings: StudySettings,
    data: Trajectories,
    arm: str,
    step: Any,
    scales: Mapping[str, float],
    count: int,
) -> np.ndarray:
    """States from which the steps of a trained arm go out in its last stage, (states, numbers).

    Frames of the training cases, spread evenly, with noise where the arm adds it; of unrolled arms also what the arm,
    as it is after training, makes of them.

    Args:
        study: The study.
        settings: The settings with which the arm is trained.
        data: The training cases.
        arm: How it is trained.
        step: The corrected source.
        scales: What each field is divided by.
        count: About how many states.
    """
    longest = max(settings.unroll)
    ahead = {"pushforward": min(PUSHED, longest), "detached": longest, "unrolled": longest}.get(arm, 1)
    kept = np.unique(np.linspace(0, ahead - 1, min(ahead, PER_WINDOW)).round().astype(int))
    windows = max(1, round(count / (len(kept) * data.cases)))
    firsts = np.unique(np.linspace(0, data.length - 1 - ahead, windows).round().astype(int))
    noise = with_noise({name: settings.noise * scale for name, scale in scales.items()}) if arm == "noise" else None

    @eqx.filter_jit
    def of_case(step: Any, frames: Frame, parameters: Mapping[str, Array], keys: Array) -> Frame:
        adapted = with_parameters(step, parameters)

        def of_window(window: tuple[Array, Array]) -> Frame:
            first, key = window
            frame = jax.tree.map(lambda leaf: leaf[first], frames)
            frame = frame if noise is None else noise(key, frame)
            seen = {name: frame[name][None] for name in study.names}
            if ahead > 1:
                _, more = rollout(adapted, study.state(frame), ahead - 1, save_every=1, save=study.observe)
                seen = {name: jnp.concatenate([part, more[name]])[kept] for name, part in seen.items()}
            return seen

        found = jax.lax.map(of_window, (jnp.asarray(firsts), keys))
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found)

    found = []
    for index in range(data.cases):
        frames, parameters = data.case(index)
        keys = jax.random.split(jax.random.fold_in(jax.random.key(0), index), len(firsts))
        found.append(vectors(of_case(step, frames, parameters, keys), scales))
    return np.concatenate(found)


def states_of_rollouts(study: Study, step: Any, test: Trajectories, scales: Mapping[str, float]) -> np.ndarray:
    """The states that a step leads to from the first frame of every test case, (cases, frames, numbers)."""

    @eqx.filter_jit
    def roll(step: Any, frames: Frame, parameters: Mapping[str, Array]) -> Frame:
        first = jax.tree.map(lambda leaf: leaf[0], frames)
        adapted = with_parameters(step, parameters)
        return rollout(adapted, study.state(first), test.length - 1, save_every=1, save=study.observe)[1]

    return np.stack([vectors(roll(step, *test.case(index)), scales) for index in range(test.cases)])


def vectors(frames: Mapping[str, Any], scales: Mapping[str, float]) -> np.ndarray:
    """Fields (states, ...) by name as one vector for each state, each field divided by its scale."""
    parts = [np.asarray(frames[name]) / scale for name, scale in scales.items()]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

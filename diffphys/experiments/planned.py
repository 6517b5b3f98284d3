"""Trajectory optimization of several scenes, one by one, and how images of a marker are compared on wide scales."""

from collections.abc import Callable, Mapping, Sequence
from time import process_time
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from diffphys.control import Trajectory
from diffphys.runs import Run


def plan_each(
    run: Run,
    scenes: Any,
    plan: Callable[[Any], Trajectory],
    *,
    measure: Callable[[Trajectory, Any], Mapping[str, Array]],
    picture: Callable[[Trajectory], Any],
    keep: Sequence[str],
    name: str = "plans",
) -> dict[str, list[float]]:
    """Plan each scene by itself, as one compiled program, and keep what was found after each.

    The picture of the first one stands in the checkpoint of that name.

    Args:
        run: Where it is saved; called again on the same directory, this goes on from the last scene that was planned.
        scenes: A pytree whose leaves have a leading axis of scenes.
        plan: From a scene to its controlled run; traced.
        measure: From runs and scenes, each with a leading axis, to named numbers.
        picture: From runs with a leading axis to arrays with that axis.
        keep: The names of the numbers that are kept.
        name: Of the checkpoint.

    Returns:
        For each of these names, and for "seconds", the numbers of all scenes; seconds are those of the processor for
        one plan, without compiling.
    """
    count = len(jax.tree.leaves(scenes)[0])
    first = jax.tree.map(lambda leaf: leaf[:1], scenes)

    def planned(scenes: Any) -> Trajectory:
        only = plan(jax.tree.map(lambda leaf: leaf[0], scenes))
        return jax.tree.map(lambda leaf: leaf[None], only)

    shapes = jax.eval_shape(lambda scenes: picture(planned(scenes)), first)
    kept = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), shapes)
    found: dict[str, list[float]] = {key: [] for key in (*keep, "seconds")}
    if run.has_checkpoint(name):
        found, kept = run.checkpoint_metadata(name), run.load_checkpoint(name, kept)
    done = len(found["seconds"])
    with run.progress("trajectory optimization", total=count, done=done) as advance:
        optimize = jax.jit(planned).lower(first).compile() if done < count else planned
        for number in range(done, count):
            scene = jax.tree.map(lambda leaf, number=number: leaf[number : number + 1], scenes)
            began = process_time()
            trajectory = jax.block_until_ready(optimize(scene))
            found["seconds"].append(process_time() - began)
            numbers = measure(trajectory, scene)
            for key in keep:
                found[key].append(float(numbers[key]))
            if number == 0:
                kept = jax.tree.map(lambda leaf: leaf[0], picture(trajectory))
            run.save_checkpoint(name, kept, found)
            run.leave_if_asked()
            advance()
    return found


def blur_matrix(cells: int, width: ArrayLike) -> Array:
    """Along one axis, the mean of neighbors with the weights of a Gaussian so many cells wide, (cells, cells)."""
    places = jnp.arange(cells)
    weights = jnp.exp(-0.5 * ((places[:, None] - places) / width) ** 2)
    return weights / jnp.sum(weights[cells // 2])

# %% [markdown]
# # Spots, worms and labyrinths
#
# Two substances that react and spread make patterns (Gray and Scott 1984). Which pattern it is depends on two rates
# (Pearson 1993). Six pairs of them are one batch.

# %%
import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import diffphys as dp


CELLS = 192
STEPS = 10000

grid = dp.Grid((CELLS, CELLS), (2.0, 2.0))
system = dp.GrayScott(
    grid,
    substrate_diffusivity=2e-5,
    activator_diffusivity=1e-5,
    feed=0.035,
    kill=0.065,
    dt=1.0,
    conditions=((dp.Periodic(), dp.Periodic()),) * 2,
    stepping=dp.RungeKutta(2),
)

# %% [markdown]
# Everywhere substrate alone is stable. A pattern needs a start: twenty spots with activator, at random places.

# %%
x, y = grid.centers()
places = jax.random.uniform(jax.random.key(0), (20, 2), maxval=2.0)
spots = jnp.any(jnp.maximum(jnp.abs(x - places[:, :1, None]), jnp.abs(y - places[:, 1:, None])) < 0.08, axis=0)
start = system.initial_state(jnp.where(spots, 0.5, 1.0), jnp.where(spots, 0.25, 0.0))


@jax.jit
@jax.vmap
def grow(feed, kill):
    return dp.rollout(dataclasses.replace(system, feed=feed, kill=kill), start, STEPS)[0]


patterns = {
    "spots that divide": (0.035, 0.065),
    "labyrinth": (0.04, 0.06),
    "waves and chaos": (0.026, 0.051),
    "worms": (0.062, 0.061),
    "holes": (0.039, 0.058),
    "crowded spots": (0.030, 0.062),
}
feed, kill = jnp.array(list(patterns.values())).T
final = grow(feed, kill)

# %%
figure, panels = plt.subplots(2, 3, figsize=(7.5, 5.4), layout="constrained")
for panel, name, values in zip(panels.flat, patterns, final.activator.values):
    image = panel.imshow(values.T, origin="lower", cmap="magma", interpolation="bilinear", vmin=0, vmax=0.4)
    panel.set(xticks=[], yticks=[], title=f"{name}\nF = {patterns[name][0]}, k = {patterns[name][1]}")
figure.colorbar(image, ax=panels, label="activator", shrink=0.6)

# %% [markdown]
# # A wave around an island
#
# A hump of water, two meters high, runs over a sea 200 m deep and meets an island. Where it is shallow the wave is
# slow, so it bends around the island. Which part of the sea floor decides how high it rises behind?

# %%
import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import diffphys as dp


CELLS = 72
STEPS = 168

grid = dp.Grid((CELLS, CELLS), (40e3, 40e3))
x, y = grid.centers()
bottom = -200.0 + 230.0 * jnp.exp(-((x - 20e3) ** 2 + (y - 20e3) ** 2) / 4e3**2)
sea = dp.ShallowWater(grid, dt=5.0, sides=dp.Open(), bottom=bottom)
start = sea.initial_state(surface=2.0 * jnp.exp(-(((x - 6e3) / 2e3) ** 2)) + 0.0 * y)

# %% [markdown]
# The state holds depth and momentum; the surface is depth plus bottom, and land is where there is no water.

# %% tags=["thumbnail"]
final, frames = dp.rollout(sea, start, STEPS, save_every=STEPS // 4)
surface = np.where(frames.depth.values > 0.01, frames.depth.values + bottom, np.nan)
figure, panels = plt.subplots(1, 4, figsize=(10, 3), layout="constrained", sharey=True)
colors = plt.get_cmap("RdBu_r").with_extremes(bad="0.5")
for index, panel in enumerate(panels):
    image = panel.imshow(surface[index].T, origin="lower", extent=(0, 40, 0, 40), cmap=colors, vmin=-2, vmax=2)
    panel.set(title=f"t = {(index + 1) * STEPS // 4 * 5} s", xlabel="x / km")
panels[0].set_ylabel("y / km")
figure.colorbar(image, ax=panels, label="surface / m", shrink=0.8)


# %% [markdown]
# A gauge stands behind the island. Its highest reading is a function of 5184 heights of the sea floor, and one
# backward pass gives all derivatives. (The highest of many frames, taken smoothly.)


# %%
def reading(bottom):
    floor = dataclasses.replace(sea, bottom=bottom)
    gauge = (3 * CELLS // 4, CELLS // 2)
    water = floor.initial_state(surface=2.0 * jnp.exp(-(((x - 6e3) / 2e3) ** 2)) + 0.0 * y)
    return dp.rollout(floor, water, STEPS, save_every=1, save=lambda state: state.depth.values[gauge] + bottom[gauge])[
        1
    ]


def highest(bottom):
    return jax.nn.logsumexp(20.0 * reading(bottom)) / 20.0


value, gradient = jax.jit(jax.value_and_grad(highest))(bottom)
print(f"highest reading {value:.2f} m")

# %%
per_meter = np.where(bottom < 0, gradient * 1e6 / (grid.spacing[0] * grid.spacing[1]) * 1e3, np.nan)
limit = np.nanpercentile(np.abs(per_meter), 97)
browns = plt.get_cmap("PuOr_r").with_extremes(bad="0.5")
figure, panel = plt.subplots(figsize=(5.2, 4), layout="constrained")
image = panel.imshow(per_meter.T, origin="lower", extent=(0, 40, 0, 40), cmap=browns, vmin=-limit, vmax=limit)
panel.plot(30.2, 20.2, "k^", label="gauge")
panel.set(xlabel="x / km", ylabel="y / km", title="What a higher floor does to the gauge")
panel.legend(frameon=False)
figure.colorbar(image, ax=panel, label="mm per meter and square km")

# %% [markdown]
# Orange: a shallower sea there raises the wave at the gauge, since what it scatters arrives with the crest. Farther
# off, purple, the detour takes too long and what arrives is out of step: this is a Fresnel zone, as in optics. The
# island's own shores count most. (The stripes are the scheme's: its limiter has kinks, where the derivative is that of
# one side.)

# %% [markdown]
# # A plume in three dimensions
#
# Hot smoke rises against a sphere and flows around it. The program is the one of two dimensions with one more number
# in each tuple.

# %%
import jax
import jax.numpy as jnp

import diffphys as dp


CELLS = (24, 24, 36)
STEPS = 160

grid = dp.Grid(CELLS, (2.0, 2.0, 3.0))
flow = dp.IncompressibleFlow(
    grid,
    viscosity=1e-3,
    dt=0.04,
    sides=dict(x=dp.Wall(), y=dp.Wall(), z=(dp.Wall(), dp.Open())),
    solid=dp.Sphere((1.1, 1.0, 1.4), 0.35),
    scalars={"smoke": dp.PassiveScalar(diffusivity=1e-3, source=dp.Sphere((1.0, 1.0, 0.25), 0.25), rate=1.0)},
    forces=(dp.Buoyancy("smoke", (0.0, 0.0, 1.0)),),
)
final, frames = dp.rollout(flow, flow.initial_state(), STEPS, save_every=STEPS // 4)

# %% [markdown]
# The smoke as one sees it from the front, summed up along the line of sight, and a slice of the speed through the
# middle.

# %% tags=["thumbnail"]
dp.plot(frames, quantity="smoke", across="y", how="mean", title="Smoke, mean along y")

# %%
dp.plot(final, quantity="velocity", across="y", overlay="streamlines", solid=flow)


# %% [markdown]
# How high is the smoke, and what lifts it? The mean height at the end has a derivative with respect to all that went
# in.

# %%
LIFT = 30


@jax.jit
@jax.value_and_grad
def height(flow):
    final, _ = dp.rollout(flow, flow.initial_state(), LIFT)
    smoke = final.scalars["smoke"].values
    return jnp.sum(smoke * grid.centers()[2]) / jnp.sum(smoke)


value, gradient = height(flow)
source = gradient.scalars["smoke"]
print(f"mean height {value:.3f}")
print(f"by ten percent more buoyancy:  {0.1 * gradient.forces[0].acceleration[2]:+.4f}")
print(f"by ten percent more smoke:     {0.1 * source.rate:+.4f}")
print(f"by ten percent more viscosity: {0.1 * flow.viscosity * gradient.viscosity:+.6f}")

# %% [markdown]
# The first two agree: twice the smoke or twice the weight is the same force, and where the smoke is in the mean does
# not depend on its amount.

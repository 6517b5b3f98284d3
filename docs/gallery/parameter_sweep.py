# %% [markdown]
# # A sweep in one program: when does a wake begin to swing?
#
# Behind a square the flow is steady as long as the viscosity is large. Below some viscosity it swings by itself.
# Sixteen flows, one for each Reynolds number, are one `jax.vmap`.

# %%
import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import diffphys as dp


CELLS = (64, 32)
STEPS = 2500
CASES = 16

grid = dp.Grid(CELLS, (16.0, 8.0))
flow = dp.IncompressibleFlow(
    grid,
    viscosity=0.01,
    dt=0.1,
    sides=dict(x=(dp.Inflow(1.0), dp.Outflow()), y=dp.Wall(slip=True)),
    solid=dp.Box((3.5, 3.5), (4.5, 4.5)),
    stepping=dp.RungeKutta(3),
)
x, y = grid.coordinates((0.5, 0.0), periodic=(False, False))
start = flow.initial_state((1.0, 0.3 * jnp.exp(-((x - 5.5) ** 2) - (y - 4.0) ** 2)))


# %%
@jax.jit
@jax.vmap
def lift(reynolds):
    changed = dataclasses.replace(flow, viscosity=1.0 / reynolds)
    return dp.rollout(changed, start, STEPS, save_every=1, save=lambda state: changed.forces_on_solid(state).force[1])[
        1
    ]


reynolds = jnp.linspace(40.0, 100.0, CASES)
signals = lift(reynolds)

# %% [markdown]
# Near the onset the amplitude grows like the square root of what Reynolds number there is beyond the critical one
# (Landau): its square is a straight line, whose zero is the onset.

# %%
time = flow.dt * jnp.arange(1, STEPS + 1)
late = signals[:, 3 * STEPS // 4 :]
amplitude = jnp.sqrt(2 * jnp.var(late, axis=1))
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
for index in range(0, CASES, 5):
    left.plot(time, 2 * signals[index], linewidth=0.8, label=f"Re = {reynolds[index]:.0f}")
left.set(xlabel="time", ylabel="lift coefficient", xlim=(200, 250), ylim=(-0.12, 0.12))
left.legend(frameon=False, fontsize=8, ncols=2)
right.plot(reynolds, (2 * amplitude) ** 2, "o-", color="tab:orange")
right.set(xlabel="Reynolds number", ylabel="(amplitude of the lift)²", title="Onset")

# %% [markdown]
# In a wide stream and on fine cells a square begins to shed vortices near Re 50; here the walls of the narrow channel
# steady the flow, and the onset lies near 70.

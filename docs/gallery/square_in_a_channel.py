# %% [markdown]
# # Drag on a square, and its gradients
#
# A stream passes a square and sheds vortices from it. The drag is a number that the simulation computes, so it has a
# derivative with respect to every number that went in.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import diffphys as dp


# %% [markdown]
# The square has sides of length one, the stream has speed one, and the viscosity makes the Reynolds number 100. An
# obstacle made of whole cells fits a square exactly.

# %%
CELLS = (96, 48)
STEPS = 1000

grid = dp.Grid(CELLS, (16.0, 8.0))
flow = dp.IncompressibleFlow(
    grid,
    viscosity=0.01,
    dt=0.06,
    sides=dict(x=(dp.Inflow(1.0), dp.Outflow()), y=dp.Wall(slip=True)),
    solid=dp.Box((3.5, 3.5), (4.5, 4.5)),
    stepping=dp.RungeKutta(3),
)


def force(state):
    return flow.forces_on_solid(state).force  # drag and lift, per density


# %% [markdown]
# Without a disturbance the flow would stay symmetric for long, so it begins with a gust across the stream, behind the
# square.

# %% tags=["thumbnail"]
x, y = grid.coordinates((0.5, 0.0), periodic=(False, False))
gust = 0.5 * jnp.exp(-((x - 5.5) ** 2) - (y - 4.0) ** 2)
developed, forces = dp.rollout(flow, flow.initial_state((1.0, gust)), STEPS, save_every=1, save=force)
dp.plot(developed, solid=flow, title="Vorticity behind a square, Re = 100")

# %%
time = flow.dt * jnp.arange(1, STEPS + 1)
figure, panel = plt.subplots(figsize=(8, 2.6), layout="constrained")
panel.plot(time, 2 * forces[:, 0], label="drag coefficient")
panel.plot(time, 2 * forces[:, 1], label="lift coefficient")
panel.set(xlabel="time", ylim=(-1.5, 3.5))
panel.legend(frameon=False, ncols=2)


# %% [markdown]
# What would lower the mean drag? The rollout goes on from the developed flow for four periods of the vortices. The
# mean is over the last two, so that the flow has settled after a change. One backward pass gives all derivatives, in
# a gradient that has the structure of the flow.

# %%
FURTHER = 440


@jax.jit
@jax.value_and_grad
def mean_drag(flow):
    def drag(state):
        return flow.forces_on_solid(state).force[0]

    _, drags = dp.rollout(flow, developed, FURTHER, save_every=1, save=drag)
    return jnp.mean(drags[FURTHER // 2 :])


value, gradient = mean_drag(flow)
print(f"mean drag {value:.3f}")
print(f"one percent more viscosity: {flow.viscosity * gradient.viscosity / value:+.2f} percent")
print(f"one percent more speed: {gradient.sides[0][0].speed / value:+.2f} percent")

# %% [markdown]
# Drag grows nearly with the square of the speed: about two percent for one percent.

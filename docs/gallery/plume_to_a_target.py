# %% [markdown]
# # Steer a plume to a target
#
# Smoke rises from the floor. Three fans can blow in any direction. When must each do what, so that the smoke arrives
# in the circle?

# %%
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import diffphys as dp
from diffphys.control import ControlProblem, Force, optimize_controls


CELLS = (32, 48)
STEPS = 80
ITERATIONS = 60

grid = dp.Grid(CELLS, (2.0, 3.0))
flow = dp.IncompressibleFlow(
    grid,
    viscosity=2e-3,
    dt=0.05,
    sides=dp.Wall(),
    scalars={"smoke": dp.PassiveScalar(diffusivity=1e-3)},
    forces=(dp.Buoyancy("smoke", (0.0, 1.0)),),
    advection=dp.MacCormack(),
)
x, y = grid.centers()
start = flow.initial_state(scalars={"smoke": jnp.exp(-((x - 1.0) ** 2 + (y - 0.4) ** 2) / 0.04)})

# %% [markdown]
# A step that takes an input can be steered. The input of a flow is a force on the faces of each axis: here of three
# fans, each with a number of this step for either axis.

# %%
places = [(0.6, 0.8), (1.1, 1.5), (1.5, 2.2)]
faces = [grid.coordinates(offset, periodic=(False, False)) for offset in ((0.0, 0.5), (0.5, 0.0))]
fans = [jnp.stack([jnp.exp(-((a - u) ** 2 + (b - v) ** 2) / 0.15) for u, v in places]) for a, b in faces]


def step(state, strengths):
    return flow(state, [jnp.tensordot(push, fan, axes=1) for push, fan in zip(strengths, fans)])


# %% [markdown]
# What counts is the mean squared distance of the smoke from the middle of the circle at the end, and a little what
# the fans spend.


# %%
def distance(state, target):
    smoke = state.scalars["smoke"].values
    return jnp.sum(smoke * ((x - target[0]) ** 2 + (y - target[1]) ** 2)) / jnp.sum(smoke)


problem = ControlProblem(
    step,
    STEPS,
    jnp.zeros((2, 3)),
    terminal_cost=distance,
    target=jnp.array([1.5, 2.2]),
    regularizers=(Force(1e-5),),
    lower=-5.0,
    upper=5.0,
)
plan = optimize_controls(problem, start, optimizer=optax.adam(0.3), iterations=ITERATIONS)
print(f"cost {plan.first_cost:.3f} without control, {plan.cost:.3f} with it")

# %% tags=["thumbnail"]
final, frames = dp.rollout(step, start, STEPS, inputs=plan.controls, save_every=STEPS // 5)
figure = dp.plot(frames, quantity="smoke")
for panel in figure.axes[:5]:
    panel.add_patch(plt.Circle((1.5, 2.2), 0.3, fill=False, color="red", linestyle="--", zorder=9))
figure

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", sharey=True)
time = flow.dt * jnp.arange(STEPS)
for axis, panel in enumerate(panels):
    for index, place in enumerate(("low", "middle", "high")):
        panel.step(time, plan.controls[:, axis, index], where="post", label=place)
    panel.set(xlabel="time", title=("to the right", "upward")[axis])
panels[0].set_ylabel("strength of the fans")
panels[0].legend(frameon=False, ncols=3)

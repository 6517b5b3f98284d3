# %% [markdown]
# # Steer your own system
#
# A pendulum hangs from a cart that can be pushed to and fro with a bounded force. Which pushes bring it upright, and
# keep it there though somebody knocks against it? The system is a function of one's own, a step of plain JAX, and to
# steer it takes fewer than thirty lines.

# %%
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import diffphys as dp
from diffphys.control import (
    ControlProblem,
    Force,
    ModelPredictive,
    closed_loop,
    linear_quadratic_regulator,
    optimize_controls,
)


# %% [markdown]
# ## The system
#
# The state is where the cart is, the angle from upright, and how fast both change: $(x, \theta, \dot x, \dot\theta)$.
# With a cart of mass 1, a bob of mass 0.2 on a rod of length 0.5 and the force $u$,
#
# $$\ddot x = \frac{u + m \sin\theta\,(\ell \dot\theta^2 - g \cos\theta)}{M + m \sin^2\theta}, \qquad
# \ell \ddot\theta = g \sin\theta - \ddot x \cos\theta.$$
#
# Speeds first, then places with the new speeds: the symplectic Euler method.

# %%
cart, bob, rod, gravity, dt = 1.0, 0.2, 0.5, 9.81, 0.02


def step(state, push):
    place, speed = state[:2], state[2:]
    sine, cosine = jnp.sin(place[1]), jnp.cos(place[1])
    forces = push[0] + bob * sine * (rod * speed[1] ** 2 - gravity * cosine)
    acceleration = forces / (cart + bob * sine**2)
    speed = speed + dt * jnp.array([acceleration, (gravity * sine - acceleration * cosine) / rod])
    return jnp.concatenate([place + dt * speed, speed])


# %% [markdown]
# ## What is wanted
#
# Upright, at rest and in the middle after 100 steps (two seconds), with little force and never more than 15.


# %%
def away(state, target):
    return 10 * (1 - jnp.cos(state[1])) + jnp.sum((state - target)[jnp.array([0, 2, 3])] ** 2)


hanging, upright = jnp.array([0.0, jnp.pi, 0.0, 0.0]), jnp.zeros(4)
problem = ControlProblem(
    step,
    100,
    jnp.zeros(1),
    terminal_cost=lambda state, target: 50 * away(state, target),
    target=upright,
    regularizers=(Force(1e-3),),
    lower=-15.0,
    upper=15.0,
)

# %% [markdown]
# ## A plan
#
# Gradients of the cost pass backwards through all steps, and L-BFGS within the bounds does the rest. To begin without a
# push would be to stay: hanging is a state of rest. So the first guess is to push to and fro.

# %%
guess = 5 * jnp.sign(jnp.sin(2 * jnp.pi * jnp.arange(100) * dt / 1.2))[:, None]
plan = optimize_controls(problem, hanging, controls=guess, iterations=200)
print(f"cost {float(plan.first_cost):.3g} at first, {float(plan.cost):.3g} in the end")
print(f"largest push {float(jnp.max(jnp.abs(plan.controls))):.4g}")

# %% [markdown]
# ## To keep it there
#
# Somebody knocks against the bob, once gently and once hard. A linear-quadratic regulator takes what it needs to know
# from the step's Jacobian, once. Model-predictive control plans again in every step, 30 steps ahead. Both are policies,
# and `closed_loop` runs them. After the hard knock the bob cannot be held: the regulator knows the world near its state
# of rest alone, and whirls it around. The planner lets it fall, and catches it on the other side, at an angle of
# $2\pi$.

# %%
keep = ControlProblem(
    step,
    150,
    jnp.zeros(1),
    running_cost=lambda state, push, target: away(state, target),
    terminal_cost=lambda state, target: 50 * away(state, target),
    target=upright,
    regularizers=(Force(1e-3),),
    lower=-15.0,
    upper=15.0,
)
policies = {
    "regulator": linear_quadratic_regulator(step, upright, jnp.zeros(1), state_weight=1.0, control_weight=0.05),
    "model-predictive": ModelPredictive(keep, horizon=30, iterations=15),
}
knocks = {"gently": upright.at[3].set(2.0), "hard": upright.at[3].set(8.0)}
runs = {
    (name, knock): closed_loop(keep, policy, start)
    for name, policy in policies.items()
    for knock, start in knocks.items()
}
for (name, knock), run in runs.items():
    print(f"{name:16} {knock:6} cost {float(run.cost):7.1f}, angle at the end {float(run.final[1]):+.3f}")

# %%
time = dt * np.arange(1, problem.steps + 1)
figure, panels = plt.subplots(1, 3, figsize=(9.0, 3.0), layout="constrained")
states, _ = dp.rollout(step, hanging, problem.steps, inputs=plan.controls, save_every=1)[::-1]
panels[0].plot(time, states[:, 1], label="angle")
panels[0].plot(time, plan.controls[:, 0] / 15, label="push / 15")
panels[0].set_title("swung up by a plan")
for panel, knock in zip(panels[1:], knocks, strict=True):
    for name in policies:
        run = runs[name, knock]
        panel.plot(dt * np.arange(1, keep.steps + 1), run.states[:, 1], label=name)
    panel.set_title(f"knocked {knock}")
panels[2].set_ylim(-1, 12)
for panel in panels:
    panel.set_xlabel("time")
    panel.legend(frameon=False)
    panel.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("angle from upright")

assert float(plan.cost) < 5
assert all(abs(float(runs[name, "gently"].final[1])) < 0.1 for name in policies)
assert abs(float(jnp.cos(runs["model-predictive", "hard"].final[1])) - 1) < 0.01
assert all(float(jnp.max(jnp.abs(run.controls))) <= 15 for run in runs.values())

# %% [markdown]
# [Steering a simulator](../control.md) tells which method to take when, and what else there is: hierarchies of plans,
# policies that are trained through the solver, environments for agents that learn by trying.

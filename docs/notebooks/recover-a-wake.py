# %% [markdown]
# # Recover a wake
#
# A flow passes a cylinder. Only its final velocity is known. What were the viscosity and the inflow speed?
#
# We simulate, differentiate the simulation with respect to both numbers, and descend the gradient with Optax. This is
# an inverse problem with two unknowns; with a million unknowns the program would be the same.

# %%
import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import diffphys as dp
from diffphys import plots


# %% [markdown]
# ## Simulate
#
# A channel of 100 x 200 with 24 x 48 cells: walls left and right, inflow from below, outflow above, a cylinder. The
# flow is given a gust behind the cylinder, so that it is not symmetric. `SemiLagrangian(1)` tells the advection that
# nothing moves more than one cell in a step, which lets it work without gathers.

# %%
grid = dp.Grid(cells=(24, 48), size=(100.0, 200.0))
cylinder = dp.Sphere(center=(50.0, 50.0), radius=10.0)


def sides(speed):
    return dict(x=dp.Wall(slip=True), y=(dp.Inflow(speed), dp.Outflow()))


advection = dp.SemiLagrangian(1)
flow = dp.IncompressibleFlow(grid, viscosity=0.5, dt=1.5, sides=sides(1.0), solid=cylinder, advection=advection)

x, y = grid.coordinates((0.0, 0.5), periodic=(False, False))
gust = jnp.exp(-(((x - 50.0) / 8.0) ** 2) - ((y - 75.0) / 8.0) ** 2)
start = flow.initial_state((gust, 1.0))

STEPS = 64
_, frames = dp.rollout(flow, start, steps=STEPS, save_every=16)
print(frames.velocity[0].values.shape)


# %% [markdown]
# The saved states have a leading axis. Their vorticity, with the flow from left to right:


# %%
def vorticity(state):
    return plots.vorticity(state.velocity[0].values, state.velocity[1].values, grid.spacing)


times = np.array([16, 32, 48, 64]) * 1.5
solid = [((50.0, 50.0), 10.0)]
plots.frames_figure({"simulated": vorticity(frames)}, times, grid.size, solid=solid)


# %% [markdown]
# ## Differentiate
#
# The two unknowns enter as logarithms, $\theta = (\log \nu, \log v)$, which keeps them positive and of comparable
# size. The misfit is the mean square difference of the final velocity from the observed one,
#
# $$L(\theta) = \frac12 \sum_a \operatorname{mean}\left[(v_a(T; \theta) - v_a^\text{observed})^2\right].$$


# %%
def simulate(unknowns):
    viscosity, speed = jnp.exp(unknowns)
    changed = dataclasses.replace(flow, viscosity=viscosity, sides=sides(speed))
    final, _ = dp.rollout(changed, start, steps=STEPS)
    return final


truth = jnp.log(jnp.array([0.5, 1.0]))
observed = jax.jit(simulate)(truth)


@jax.jit
@jax.value_and_grad
def misfit(unknowns):
    final = simulate(unknowns)
    pairs = zip(final.velocity, observed.velocity, strict=True)
    return sum(0.5 * jnp.mean((mine.values - theirs.values) ** 2) for mine, theirs in pairs)


guess = jnp.log(jnp.array([1.5, 0.7]))
value, gradient = misfit(guess)
print(f"misfit {float(value):.4f}, gradient {np.asarray(gradient)}")

# %% [markdown]
# Is the gradient right? A difference quotient must agree to the accuracy that single precision allows.

# %%
for index, name in enumerate(("log viscosity", "log speed")):
    step = jnp.zeros(2).at[index].set(1e-2)
    quotient = (misfit(guess + step)[0] - misfit(guess - step)[0]) / 2e-2
    print(f"{name:14} gradient {float(gradient[index]):+.5f}   difference quotient {float(quotient):+.5f}")
    np.testing.assert_allclose(gradient[index], quotient, rtol=0.02, atol=1e-5)

# %% [markdown]
# ## Descend

# %%
optimizer = optax.adam(optax.cosine_decay_schedule(0.08, 120, alpha=0.02))
unknowns, optimizer_state = guess, optimizer.init(guess)
path, misfits = [guess], []
for _ in range(120):
    value, gradient = misfit(unknowns)
    update, optimizer_state = optimizer.update(gradient, optimizer_state)
    unknowns = optax.apply_updates(unknowns, update)
    path.append(unknowns)
    misfits.append(float(value))

viscosity, speed = np.exp(unknowns)
print(f"viscosity {viscosity:.4f} (true 0.5), inflow speed {speed:.4f} (true 1.0)")
np.testing.assert_allclose([viscosity, speed], [0.5, 1.0], rtol=0.02)

# %% [markdown]
# The misfit falls by orders of magnitude, and both numbers find their true values (dashed).

# %%
numbers = np.exp(np.array(path))
figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.0), layout="constrained")
left.semilogy(misfits, color="tab:gray")
left.set(xlabel="update", ylabel="misfit")
for column, (label, color) in enumerate((("viscosity", "tab:blue"), ("inflow speed", "tab:orange"))):
    right.plot(numbers[:, column], color=color, label=label)
    right.axhline((0.5, 1.0)[column], color=color, linestyle="--", linewidth=1.0)
right.set(xlabel="update")
right.legend(frameon=False)
for panel in (left, right):
    panel.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# The final vorticity: observed, as first guessed, and as recovered, on one color scale.

# %%
shown = {
    "observed": vorticity(observed)[None],
    "first guess": vorticity(simulate(guess))[None],
    "recovered": vorticity(simulate(unknowns))[None],
}
plots.frames_figure(shown, times[-1:], grid.size, solid=solid)

# %% [markdown]
# ## Control
#
# The same gradient steers. A force acts near the cylinder, one number per step for its strength across the stream.
# Which strengths make the flow at the end as symmetric as can be, and cost little? A step that takes an input is
# `step(state, input)`; the rollout hands it one input per step.

# %%
nozzle = jnp.exp(-(((x - 50.0) / 10.0) ** 2) - ((y - 68.0) / 8.0) ** 2)


def blown(state, strength):
    return flow(state, (strength * nozzle, jnp.zeros(())))


@jax.jit
@jax.value_and_grad
def asymmetry(strengths):
    final, _ = dp.rollout(blown, start, steps=STEPS, inputs=strengths)
    across = final.velocity[0].values
    return jnp.mean((across + across[::-1]) ** 2) + 1e-3 * jnp.mean(strengths**2)


optimizer = optax.adam(0.01)
strengths = jnp.zeros(STEPS)
optimizer_state = optimizer.init(strengths)
before, _ = asymmetry(strengths)
for _ in range(60):
    value, gradient = asymmetry(strengths)
    update, optimizer_state = optimizer.update(gradient, optimizer_state)
    strengths = optax.apply_updates(strengths, update)
print(f"asymmetry {float(before):.2e} without control, {float(value):.2e} with it")
assert value < 0.5 * before

# %%
final, _ = dp.rollout(blown, start, steps=STEPS, inputs=strengths)
shown = {"without control": vorticity(observed)[None], "with control": vorticity(final)[None]}
plots.frames_figure(shown, times[-1:], grid.size, solid=solid)

# %% [markdown]
# Sixty-four numbers were found here as easily as two before: one backward pass gives the gradient for all of them.
# Replace them by the weights of a network that sees the state, and this is [training in the
# loop](../training-in-the-loop.md).

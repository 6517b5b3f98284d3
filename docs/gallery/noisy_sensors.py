# %% [markdown]
# # Where does it leak? A fit to noisy sensors
#
# Gas leaks somewhere upwind of two buildings. Five sensors measure its concentration, with noise. Where is the leak,
# how strong is it, and how well can one know?

# %%
import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Ellipse

import diffphys as dp


CELLS = (64, 32)
STEPS = 100

grid = dp.Grid(CELLS, (4.0, 2.0))
buildings = dp.Box((0.75, 0.0), (1.25, 0.75)) | dp.Box((1.75, 0.0), (2.25, 0.5))
wind = dp.IncompressibleFlow(
    grid,
    viscosity=5e-3,
    dt=0.04,
    sides=dict(x=(dp.Inflow(1.0), dp.Outflow()), y=(dp.Wall(), dp.Wall(slip=True))),
    solid=buildings,
    scalars={"gas": dp.PassiveScalar(diffusivity=5e-3)},
)
steady, _ = dp.rollout(wind, wind.initial_state(), 3 * STEPS)

# %% [markdown]
# The unknowns are two coordinates and a rate. Numbers of a flow are leaves, so a candidate is the same flow with
# another source.

# %%
sensors = np.array([[1.5, 0.95], [2.5, 0.6], [2.5, 1.0], [3.4, 0.5], [3.4, 1.1]])


def simulate(unknowns):
    x, y, rate = unknowns
    leak = dp.PassiveScalar(diffusivity=5e-3, source=dp.Sphere((x, y), 0.12), rate=rate)
    flow = dataclasses.replace(wind, scalars={"gas": leak})
    return dp.rollout(flow, steady, STEPS, save_every=2, save=lambda state: state.scalars["gas"])


def signals(unknowns):
    gas = simulate(unknowns)[1]
    return jax.vmap(lambda one: dp.operators.sample(one, list(sensors.T)))(gas).ravel()


@jax.jit
def linearized(unknowns):
    return signals(unknowns), jax.jacfwd(signals)(unknowns)


truth = jnp.array([0.4, 0.55, 2.0])
NOISE = 0.02
exact, _ = linearized(truth)
measured = exact + NOISE * jax.random.normal(jax.random.key(0), exact.shape)

# %% [markdown]
# Gauss and Newton: linearize, solve the linear fit, repeat. Three unknowns are three tangents that go forward through
# the simulation.

# %%
found = jnp.array([0.5, 0.75, 1.0])
for _ in range(8):
    seen, jacobian = linearized(found)
    found = found + jnp.linalg.lstsq(jacobian, measured - seen)[0]
covariance = NOISE**2 * jnp.linalg.inv(jacobian.T @ jacobian)
for name, value, error, true in zip(("x", "y", "rate"), found, jnp.sqrt(jnp.diag(covariance)), truth):
    print(f"{name:4} {value:.3f} +- {error:.3f}   (true {true:.3f})")

# %% [markdown]
# The covariance comes from the same Jacobian. The red ellipse holds the true place, the cross, in 95 of 100
# repetitions.

# %% tags=["thumbnail"]
final, _ = jax.jit(simulate)(found)
figure = dp.plot(final, quantity="gas", solid=buildings, title="The leak that was found, and the sensors")
panel = figure.axes[0]
panel.plot(*sensors.T, "o", color="tab:orange", markeredgecolor="black")
lengths, axes = np.linalg.eigh(covariance[:2, :2])
tilt = np.degrees(np.arctan2(axes[1, 0], axes[0, 0]))
panel.add_patch(Ellipse(found[:2], *2 * np.sqrt(5.99 * lengths), angle=tilt, fill=False, color="red", zorder=9))
panel.plot(*truth[:2], "x", color="red", zorder=9)
figure

# %%
time = 2 * wind.dt * jnp.arange(1, STEPS // 2 + 1)
figure, panel = plt.subplots(figsize=(8, 3), layout="constrained")
for index, (points, curve) in enumerate(zip(measured.reshape(-1, 5).T, seen.reshape(-1, 5).T)):
    panel.plot(time, points, ".", color=f"C{index}", markersize=3)
    panel.plot(time, curve, color=f"C{index}", label=f"sensor {index + 1}")
panel.set(xlabel="time", ylabel="concentration", title="Measured (points) and fitted (lines)")
panel.legend(frameon=False, fontsize=8)

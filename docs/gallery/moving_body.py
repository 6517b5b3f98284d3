# %% [markdown]
# # A cylinder that swings
#
# A cylinder swings to and fro in a fluid at rest. What force does it take? The case is a classic with measured and
# computed answers: Keulegan-Carpenter number 5 and Reynolds number 100 (Dütsch, Durst, Becker and Lienhart, J. Fluid
# Mech. 360, 1998).

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import diffphys as dp


CELLS = (80, 64)
STEPS = 750
PERIOD = 5.0  # KC = speed * period / diameter, with speed and diameter one

# %% [markdown]
# A body that moves is a function from the time to the body as it is then, with its velocity. Its surface cuts through
# cells.


# %% tags=["thumbnail"]
def body(time):
    phase = 2 * jnp.pi * time / PERIOD
    place = jnp.stack([-PERIOD / (2 * jnp.pi) * jnp.sin(phase), jnp.zeros_like(time)])
    velocity = jnp.stack([-jnp.cos(phase), jnp.zeros_like(time)])
    return dp.Immersed(dp.Sphere(place, 0.5), velocity=velocity)


grid = dp.Grid(CELLS, (10.0, 8.0), origin=(-5.0, -4.0))
flow = dp.IncompressibleFlow(
    grid,
    viscosity=0.01,
    dt=0.02,
    sides=dict(x=dp.Wall(), y=dp.Wall(slip=True)),
    solid=body,
    stepping=dp.RungeKutta(2),
)


def save(state):
    return state, flow.forces_on_solid(state).force[0]


final, (frames, force) = dp.rollout(flow, flow.initial_state(), STEPS, save_every=5, save=save)
late = jax.tree.map(lambda leaf: leaf[-50::20], frames)  # of the last period
dp.plot(late, quantity="vorticity", solid=flow, title="Vorticity")

# %% [markdown]
# Morison's formula describes the force by a part in phase with the velocity and one in phase with the acceleration,
# $F = -\tfrac12 c_d |u| u - c_a \tfrac{\pi}{4} \dot u$ per density and length. Least squares over the last two
# periods give the two numbers.

# %%
time = frames.time
phase = 2 * jnp.pi * time / PERIOD
speed, acceleration = -jnp.cos(phase), 2 * jnp.pi / PERIOD * jnp.sin(phase)
terms = jnp.stack([-0.5 * jnp.abs(speed) * speed, -jnp.pi / 4 * acceleration], axis=1)
two = time > time[-1] - 2 * PERIOD
coefficients = jnp.linalg.lstsq(terms[two], force[two])[0]
print(f"drag coefficient {coefficients[0]:.2f} (published 2.09), added mass {coefficients[1]:.2f} (published 1.45)")

figure, panel = plt.subplots(figsize=(8, 3), layout="constrained")
panel.plot(time / PERIOD, force, color="tab:blue", label="computed")
panel.plot(time / PERIOD, terms @ coefficients, "k--", linewidth=1, label="Morison's formula")
panel.set(xlabel="periods", ylabel="force on the cylinder", ylim=(-3, 3))
panel.legend(frameon=False, ncols=2)

# %% [markdown]
# The small jumps of the computed force are those of a face that the surface opens or closes; they shrink with the
# cells.

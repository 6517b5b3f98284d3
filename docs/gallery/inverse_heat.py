# %% [markdown]
# # Inverse heat conduction
#
# A thermocouple sits inside a wall. How much heat went into the wall's surface, and when? This is the inverse problem
# of reentry shields and of quenching (Beck 1970). It is hard because conduction smears out what happens at the
# surface before it reaches the thermocouple.

# %%
import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import diffphys as dp


STEPS = 200

grid = dp.Grid((40,), (1.0,))
wall = dp.Heat(
    grid, diffusivity=1.0, dt=0.005, conditions=((dp.Neumann(0.0), dp.Neumann(0.0)),), stepping=dp.ImplicitExplicit(2)
)

# %% [markdown]
# The slope at the lower end is a number of the wall, so the heat flux of each step can be the step's input.


# %%
def heated(temperature, flux):
    return dataclasses.replace(wall, conditions=((dp.Neumann(flux), dp.Neumann(0.0)),))(temperature)


def thermocouple(fluxes):
    def read(temperature):
        return jnp.interp(0.2, grid.centers()[0], temperature.values)

    return dp.rollout(heated, wall.initial_state(), STEPS, inputs=fluxes, save_every=1, save=read)[1]


time = wall.dt * jnp.arange(1, STEPS + 1)
truth = jnp.where((time > 0.2) & (time < 0.5), 1.0, 0.0) + jnp.maximum(0.0, 1 - jnp.abs(time - 0.75) / 0.12)
NOISE = 0.005
measured = thermocouple(truth) + NOISE * jax.random.normal(jax.random.key(0), (STEPS,))

# %% [markdown]
# Conduction is linear: the readings are a matrix times the fluxes. The matrix is the Jacobian. Regularization asks
# for a smooth flux, $\min_q |J q - m|^2 + \lambda |\Delta q|^2$. How smooth? Morozov's rule takes the $\lambda$ whose
# residual is what the noise explains.

# %%
jacobian = jax.jit(jax.jacrev(thermocouple))(jnp.zeros(STEPS))
differences = jnp.diff(jnp.eye(STEPS), axis=0)


def solve(weight):
    flux = jnp.linalg.solve(jacobian.T @ jacobian + weight * differences.T @ differences, jacobian.T @ measured)
    return flux, jnp.sqrt(jnp.mean((jacobian @ flux - measured) ** 2))


weights = jnp.logspace(-7, 0, 60)
fluxes, residuals = jax.vmap(solve)(weights)
best = int(jnp.argmin(jnp.abs(residuals - NOISE)))
print(f"weight {weights[best]:.1e}: mean error of the flux {jnp.mean(jnp.abs(fluxes[best] - truth)):.3f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.plot(time, measured, ".", color="0.6", markersize=3, label="measured")
left.plot(time, jacobian @ fluxes[best], color="tab:orange", label="of the flux found")
left.set(xlabel="time", ylabel="temperature at 0.2", title="Thermocouple")
right.plot(time, truth, "k--", label="true")
for index, label, style in ((20, "hardly regularized", ":"), (best, "by the noise", "-"), (59, "too smooth", "-.")):
    right.plot(time, fluxes[index], style, linewidth=1.2, label=label)
right.set(xlabel="time", ylabel="heat flux", title="Surface", ylim=(-0.6, 2.2))
left.legend(frameon=False, fontsize=8)
right.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")

# %% [markdown]
# # Sample a viscosity
#
# A fit gives one answer. A sample gives all answers that the measurements allow. A posterior density of a
# simulation's numbers is a function with a gradient, so the samplers that want gradients work: here Hamiltonian Monte
# Carlo from BlackJAX.

# %%
import dataclasses

import blackjax
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import diffphys as dp


SAMPLES = 600
NOISE = 0.05

grid = dp.Grid((32,), (1.0,))
burgers = dp.Burgers(grid, viscosity=0.01, dt=0.02, conditions=((dp.Periodic(), dp.Periodic()),))
x = jnp.arange(32) / 32

# %% [markdown]
# A wave of unknown height in a fluid of unknown viscosity steepens and decays. Eight noisy values of its velocity are
# seen at the end.


# %%
def simulate(unknowns):
    viscosity, height = jnp.exp(unknowns)
    system = dataclasses.replace(burgers, viscosity=viscosity)
    final, _ = dp.rollout(system, system.initial_state([height * jnp.sin(2 * jnp.pi * x)]), 20)
    return final[0].values


def seen(unknowns):
    return simulate(unknowns)[2::4]


truth = jnp.log(jnp.array([0.01, 1.0]))
measured = seen(truth) + NOISE * jax.random.normal(jax.random.key(0), (8,))


def log_density(unknowns):
    likelihood = -0.5 * jnp.sum(((seen(unknowns) - measured) / NOISE) ** 2)
    off = unknowns - jnp.log(jnp.array([0.02, 1.0]))
    prior = -0.5 * jnp.sum((off / jnp.array([1.0, 0.3])) ** 2)  # the height is known to some thirty percent
    return likelihood + prior


# %%
@jax.jit
def sample(key):
    warm, go = jax.random.split(key)
    warmup = blackjax.window_adaptation(blackjax.hmc, log_density, num_integration_steps=8)
    (state, settings), _ = warmup.run(warm, jnp.log(jnp.array([0.02, 0.8])), 200)
    kernel = blackjax.hmc(log_density, **settings)

    def one(state, key):
        state, _ = kernel.step(key, state)
        return state, jnp.exp(state.position)

    return jax.lax.scan(one, state, jax.random.split(go, SAMPLES))[1]


samples = sample(jax.random.key(1))
for name, values, true in zip(("viscosity", "height"), samples.T, jnp.exp(truth)):
    low, middle, high = np.percentile(values, (5, 50, 95))
    print(f"{name:10} {middle:.4f}, nine tenths between {low:.4f} and {high:.4f} (true {true:.4f})")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
left.plot(*samples.T, ".", markersize=2, alpha=0.4)
left.plot(*jnp.exp(truth), "x", color="red", markersize=9, label="true")
left.set(xlabel="viscosity", ylabel="height of the wave", title="Posterior")
left.legend(frameon=False)
curves = jax.jit(jax.vmap(simulate))(jnp.log(samples[:: SAMPLES // 60]))
right.plot(x, curves.T, color="tab:blue", alpha=0.15, linewidth=0.8)
right.plot(x[2::4], measured, "ko", markersize=4, label="measured")
right.set(xlabel="x", ylabel="velocity", title="Sixty samples at the end")
right.legend(frameon=False)

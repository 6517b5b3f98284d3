# %% [markdown]
# # One batch on two devices
#
# The same program on several devices: put the batch where it is to be computed, and JAX does the rest. Here the two
# devices are two halves of a processor, so that everybody can try it; with two graphics cards leave out the first
# lines.

# %%
import os


os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2 " + os.environ.get("XLA_FLAGS", "")

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import diffphys as dp


CELLS = 64
STEPS = 800

grid = dp.Grid((CELLS, CELLS), (2 * np.pi, 2 * np.pi))
flow = dp.IncompressibleFlow(
    grid,
    viscosity=5e-3,
    dt=0.01,
    sides=dp.Periodic(),
    advection=dp.Spectral(),
    stepping=dp.ExponentialRungeKutta(2),
)

# %% [markdown]
# Eight cases of two-dimensional turbulence, each with a random streamfunction of its own.


# %%
def begin(key):
    x, y = jnp.meshgrid(*[jnp.arange(CELLS) * 2 * jnp.pi / CELLS] * 2, indexing="ij")
    waves = jax.random.randint(key, (20, 2), -4, 5)
    phases = jax.random.uniform(key, (20,), maxval=2 * jnp.pi)
    angle = waves[:, :1, None] * x + waves[:, 1:, None] * y + phases[:, None, None]
    u = -jnp.mean(waves[:, 1:, None] * jnp.sin(angle), axis=0)
    v = jnp.mean(waves[:, :1, None] * jnp.sin(angle), axis=0)
    return flow.initial_state((1.5 * u, 1.5 * v))


starts = jax.vmap(begin)(jax.random.split(jax.random.key(0), 8))

# %% [markdown]
# The batch is spread over the devices by its leading axis. Everything after that, gradients too, stays there.

# %%
mesh = jax.make_mesh((2,), ("cases",), axis_types=(jax.sharding.AxisType.Auto,))
spread = jax.device_put(starts, jax.NamedSharding(mesh, jax.P("cases")))


@jax.jit
def simulate(starts):
    return jax.vmap(lambda start: dp.rollout(flow, start, STEPS)[0])(starts)


final = simulate(spread)
for shard in final.pressure.values.addressable_shards:
    print(shard.device, "holds cases", shard.index[0].start or 0, "to", (shard.index[0].stop or 8) - 1)

# %% [markdown]
# The numbers are those of one device.

# %%
alone = simulate(starts)
print("largest difference", float(jnp.max(jnp.abs(alone.velocity[0].values - final.velocity[0].values))))

# %%
figure, panels = plt.subplots(2, 4, figsize=(9, 4.8), layout="constrained")
for case, panel in enumerate(panels.flat):
    one = jax.tree.map(lambda leaf: leaf[case], jax.device_get(final))
    swirl = dp.operators.curl(one.velocity).values
    panel.imshow(swirl.T, origin="lower", cmap="RdBu_r", vmin=-3, vmax=3, interpolation="bilinear")
    panel.set(xticks=[], yticks=[], title=f"device {case // 4}, case {case}")

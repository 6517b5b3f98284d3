# %% [markdown]
# # Invert heat conduction
#
# What was the temperature, given what heat conduction has left of it? The simulator forgets fine structure
# exponentially, so its exact inverse turns round-off into everything, and its gradient sees only the coarsest waves.
# An inverse simulator that knows about noise stands between, and trains a network.

# %%
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

from diffphys.experiments.heat_inverse import draw_boxes
from diffphys.inversion import NoiseAwareHeatInverse, SpectralHeat, check_inverse, scale_invariant_loss
from diffphys.nets import UNet


jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## The simulator and its inverses
#
# On 32 x 32 periodic cells with $\nu t = 4$, each Fourier mode decays by $e^{-\nu t |2\pi k|^2}$. Temperatures are
# soft boxes.

# %%
heat = SpectralHeat(diffusion_time=4.0)
inverse = NoiseAwareHeatInverse(heat, noise=1e-6)


@jax.jit
def draw(key):
    return jax.vmap(lambda one: draw_boxes(one, 32))(jax.random.split(key, 128))


truth = draw(jax.random.key(0))[:4]
seen = jax.vmap(heat)(truth)
start = jnp.broadcast_to(jnp.mean(seen, axis=(1, 2), keepdims=True), seen.shape)  # the mean is known: heat is conserved


def exactly(target, x, y):
    """Divide by the decay, whatever comes out."""
    modes = jnp.fft.rfftn(target - y) * jnp.exp(heat.exponents(target.shape, target.dtype))
    return x + jnp.fft.irfftn(modes, s=target.shape)


found = {
    "gradient, one step": start - jax.vmap(heat)(jax.vmap(heat)(start) - seen),
    "exact inverse": jax.vmap(exactly)(seen, start, jax.vmap(heat)(start)),
    "noise-aware inverse": jax.vmap(inverse)(seen, start, jax.vmap(heat)(start)),
}
for name, x in found.items():
    print(f"{name:20} mean error {float(jnp.mean(jnp.abs(x - truth))):.2g}")

# %% [markdown]
# In double precision the exact inverse still multiplies round-off by $e^{79}$. The noise-aware one inverts the modes
# in which the residual can be signal, and leaves the others alone. Does it invert? `check_inverse` simulates its
# answer:

# %%
measured = check_inverse(heat, inverse, truth, start)
print("left of the distance to the target:", np.asarray(measured.ratio).round(6))
print("left of the distance to the truth: ", np.asarray(measured.distance).round(2))

# %%
figure, panels = plt.subplots(1, 4, figsize=(9.0, 2.5), layout="constrained")
shown = {"truth": truth, "seen": seen, "one gradient": found["gradient, one step"]}
shown["noise-aware inverse"] = found["noise-aware inverse"]
for panel, (name, x) in zip(panels, shown.items(), strict=True):
    panel.imshow(np.asarray(x[0]).T, origin="lower", vmin=0.0, vmax=float(truth[0].max()))
    panel.set_title(name)
    panel.set_axis_off()

# %% [markdown]
# ## Train a network by it
#
# A small U-Net is to see the blurred temperature and answer the original one. It is trained twice by Adam, from the
# same weights on the same data: once by the gradient through the simulator, once by the proxy loss
# $\frac12|x - \tilde x|^2$ with $\tilde x$ from the inverse simulator.

# %%
network = UNet(1, 1, features=8, levels=3, normalization="batch", key=jax.random.key(1))
network = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), network)


def predict(net, y):
    x = net(y[None].astype(jnp.float32))[0].astype(y.dtype)
    return x + jnp.mean(y) - jnp.mean(x)


def answers(net, y):
    return jax.vmap(lambda one: predict(net, one), axis_name="batch")(y)


def through_physics(net, y):
    return 0.5 * jnp.mean(jnp.sum((jax.vmap(heat)(answers(net, y)) - y) ** 2, axis=(1, 2)))


def by_inverse(net, y):
    return scale_invariant_loss(lambda one: predict(net, one), y, y, simulator=heat, inverse=inverse)[0]


def train(loss, updates=60):
    adam = optax.adam(3e-3)
    data = jax.vmap(heat)(draw(jax.random.key(2)))
    truths = draw(jax.random.key(2))

    @eqx.filter_jit
    def update(net, state, index):
        y = jax.lax.dynamic_slice_in_dim(data, 16 * (index % 8), 16)
        error = jnp.mean(jnp.abs(answers(net, y) - jax.lax.dynamic_slice_in_dim(truths, 16 * (index % 8), 16)))
        change, state = adam.update(eqx.filter_grad(loss)(net, y), state)
        return eqx.apply_updates(net, change), state, error

    net, errors = network, []
    state = adam.init(eqx.filter(net, eqx.is_inexact_array))
    for index in range(updates):
        net, state, error = update(net, state, jnp.asarray(index))
        errors.append(float(error))
    return errors


curves = {"gradient through the simulator": train(through_physics), "inverse simulator": train(by_inverse)}
for name, errors in curves.items():
    print(f"{name:32} mean error {np.mean(errors[-8:]):.4f}")

# %%
figure, panel = plt.subplots(figsize=(6.0, 3.0), layout="constrained")
for name, errors in curves.items():
    panel.semilogy(errors, label=name)
panel.set(xlabel="update", ylabel="mean error of the temperature")
panel.legend(frameon=False)
panel.spines[["top", "right"]].set_visible(False)
last = [np.mean(errors[-8:]) for errors in curves.values()]
assert last[1] < last[0]

# %% [markdown]
# `diffphys run heat-inverse` is the published experiment, with more optimizers; its figures stand in the
# [results](../results/inversion.md).

# %% [markdown]
# # Your own equation, and the term that is missing in it
#
# A population spreads and grows: $u_t = D u_{xx} + r u (1 - u)$ (Fisher 1937). Suppose that we know how it spreads,
# have seen some populations, and want to learn how it grows.
#
# A step is any function from a state to the next; here the state is an array, and the function is written in NumPy's
# manner.

# %%
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import diffphys as dp


CELLS = 64
FRAMES = 40
UPDATES = 600
SPACING, DT, DIFFUSIVITY = 1.0, 0.25, 1.0


def spread(u):
    return u + DT * DIFFUSIVITY * (jnp.roll(u, 1) - 2 * u + jnp.roll(u, -1)) / SPACING**2


def nature(u):
    return spread(u) + DT * 0.5 * u * (1.0 - u)


# %% [markdown]
# What has been seen: eight populations that begin in one place each, over time. Fronts run at the speed
# $2 \sqrt{r D}$.


# %%
def see(key):
    middle, width, height = jax.random.uniform(
        key, (3,), minval=jnp.array([16, 2, 0.3]), maxval=jnp.array([48, 8, 1.5])
    )
    x = SPACING * jnp.arange(CELLS)
    _, frames = dp.rollout(nature, height * jnp.exp(-(((x - middle) / width) ** 2)), FRAMES, save_every=1)
    return frames


data = dp.Trajectories(jax.vmap(see)(jax.random.split(jax.random.key(0), 8)))


# %% [markdown]
# The network sees one point and adds to it. What else is known goes in, too: nothing grows from nothing, so its
# answer is multiplied by $u$. (Without that a little grows everywhere, and runs ahead of the fronts.) `Corrected`
# puts the network behind the known step, and `train` unrolls four steps of both together and descends the gradient
# through them.


# %%
class Growth(eqx.Module):
    mlp: dp.nets.MLP

    def __call__(self, channels):  # (1, cells)
        return DT * channels * jax.vmap(self.mlp, in_axes=1, out_axes=1)(channels)


network = Growth(dp.nets.MLP((1, 16, 16, 1), jnp.tanh, key=jax.random.key(1)))
schedule = optax.cosine_decay_schedule(1e-2, UPDATES)
hybrid, log = dp.train(
    dp.Corrected(spread, network), data, unroll=4, updates=UPDATES, optimizer=optax.adam(schedule), batch=8
)

# %% [markdown]
# What it has found, beside the truth; and a front from a start that it has not seen.

# %%
u = jnp.linspace(0.0, 1.5, 100)
learned = jax.vmap(lambda one: hybrid.network(one[None, None])[0, 0])(u) / DT
start = jnp.where(jnp.abs(jnp.arange(CELLS) - CELLS // 2) < 4, 1.0, 0.0)
runs = {
    name: dp.rollout(step, start, 80, save_every=20)[1] for name, step in dict(nature=nature, learned=hybrid).items()
}

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.plot(u, 0.5 * u * (1 - u), "k--", label="true")
left.plot(u, learned, color="tab:orange", label="learned")
left.set(xlabel="u", ylabel="growth", title="The missing term")
left.legend(frameon=False)
for truth, found in zip(runs["nature"], runs["learned"]):
    right.plot(truth, "k--", linewidth=1)
    right.plot(found, color="tab:orange")
right.set(xlabel="x", ylabel="u", title="Fronts at t = 5, 10, 15, 20")
error = jnp.max(jnp.abs(runs["nature"] - runs["learned"]))
print(f"largest error of the fronts {error:.3f}")

# %% [markdown]
# # Your own oscillator, with half-inverse gradients
#
# Bring a simulator, any function of arrays that JAX can differentiate. A network steers it; half-inverse gradients
# train the network. The next cell is the whole program, and nothing in it but the update is from diffphys.
#
# A pendulum is to come to rest, hanging, from any start, by thirty torques that the network gives all at once.

# %%
import equinox as eqx
import jax
import jax.numpy as jnp

from diffphys.inversion import half_inverse_gradients, value_and_output_gradient


def simulate(torques, start):
    def step(state, torque):
        angle, speed = state
        speed = speed + 0.1 * (torque - jnp.sin(angle))
        return jnp.stack([angle + 0.1 * speed, speed]), None

    return jax.lax.scan(step, start, torques)[0]


def end_to_end(network, start):
    return simulate(network(start), start)


def loss(ends, starts):
    return jnp.mean(jnp.sum(ends**2, axis=1))


@eqx.filter_jit
def update(network, state, starts):
    value, gradient = value_and_output_gradient(loss, end_to_end, network, starts)
    change, state = optimizer.update(gradient, state, network, function=end_to_end, samples=starts)
    return eqx.apply_updates(network, change), state, value


optimizer = half_inverse_gradients(learning_rate=1.0, truncation=1e-3)
network = start = eqx.nn.MLP(2, 30, width_size=20, depth=2, activation=jnp.tanh, key=jax.random.key(0))
state, half_inverse = optimizer.init(eqx.filter(network, eqx.is_inexact_array)), []
batches = jax.random.uniform(jax.random.key(1), (100, 32, 2), minval=-1.5, maxval=1.5)
for starts in batches:
    network, state, value = update(network, state, starts)
    half_inverse.append(float(value))

# %% [markdown]
# Twenty-six lines, blank ones not counted. $J$ is the Jacobian of the two numbers in which each of 32 pendulums ends,
# by all weights of the network, through network and pendulum together. The update is $-\eta\, J^{-1/2} g$ with $g$
# the gradient of the loss by those 64 numbers, and singular values below a thousandth of the largest are left out.

# %%
print(f"loss {half_inverse[0]:.2f} at the start, {half_inverse[-1]:.1e} after {len(batches)} updates")
print(f"kept {state.spectrum.kept} of 64 singular values, the largest is {float(state.spectrum.largest):.1f}")

# %% [markdown]
# Adam with the same network and the same batches:

# %%
import optax


@eqx.filter_jit
def adam_update(network, state, starts):
    def objective(net):
        return loss(jax.vmap(lambda start: end_to_end(net, start))(starts), starts)

    value, gradient = eqx.filter_value_and_grad(objective)(network)
    change, state = adam.update(gradient, state)
    return eqx.apply_updates(network, change), state, value


adam = optax.adam(3e-3)
other = start
state = adam.init(eqx.filter(other, eqx.is_inexact_array))
by_adam = []
for starts in batches:
    other, state, value = adam_update(other, state, starts)
    by_adam.append(float(value))
print(f"Adam: {by_adam[-1]:.1e}")
assert half_inverse[-1] < 0.1 * by_adam[-1]

# %%
import matplotlib.pyplot as plt


def angles(net, start):
    torques = net(start)
    return jnp.stack([simulate(torques[:n], start)[0] for n in range(len(torques) + 1)])


figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 3.0), layout="constrained")
left.semilogy(half_inverse, color="tab:orange", label="half-inverse gradients")
left.semilogy(by_adam, color="tab:blue", label="Adam")
left.set(xlabel="update", ylabel="loss")
left.legend(frameon=False)
for start in ([1.2, 0.0], [-0.5, 1.0], [0.3, -1.4]):
    right.plot(angles(network, jnp.array(start)), color="tab:orange")
    right.plot(angles(other, jnp.array(start)), color="tab:blue", linestyle="--", linewidth=1.0)
right.axhline(0.0, color="0.7", linewidth=1.0)
right.set(xlabel="step", ylabel="angle")
for panel in (left, right):
    panel.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# An update costs more than one of Adam; what counts is the time. For this pendulum, and for small networks with few
# outputs in general, half-inverse gradients win; for large networks on large grids they do not. [Better
# updates](../inversion.md) says when to use which, and the [results](../results/inversion.md) are measured.

# %% [markdown]
# # A PyTorch network in the loop
#
# You have a network in PyTorch. `dp.to_torch` makes a simulation a function of tensors that PyTorch differentiates,
# so that the network is trained through the solver. Here it learns what a coarse grid leaves out of Burgers'
# equation.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import torch

import diffphys as dp


torch.manual_seed(0)
torch.set_num_threads(1)  # tensors are small
FINE, COARSE = 256, 32
CASES = 16
UPDATES = 600
UNROLL = 8

periodic = ((dp.Periodic(), dp.Periodic()),)


def burgers(cells, dt):
    return dp.Burgers(dp.Grid((cells,), (1.0,)), viscosity=2e-3, dt=dt, conditions=periodic)


fine, coarse = burgers(FINE, 0.0025), burgers(COARSE, 0.02)

# %% [markdown]
# The reference, on eight times finer cells, seen at the coarse points.


# %%
@jax.jit
@jax.vmap
def reference(key):
    phases, heights = jax.random.uniform(key, (3,), maxval=6.28), jax.random.normal(key, (3,))
    x = jnp.arange(FINE) / FINE
    start = sum(heights[k] * jnp.sin(2 * jnp.pi * (k + 1) * x + phases[k]) for k in range(3))
    _, frames = dp.rollout(fine, fine.initial_state([start]), 400, save_every=8)
    return frames[0].values[:, :: FINE // COARSE]


truth = torch.from_dlpack(reference(jax.random.split(jax.random.key(0), CASES + 4)))  # (cases, frames, cells)

# %% [markdown]
# A coarse step of the whole batch as a function of tensors, and the network that corrects what it gives.


# %%
def step(values):
    return coarse((dp.Field(values, coarse.grid, (0.0,), periodic),))[0].values


advance = dp.to_torch(jax.vmap(step))
network = torch.nn.Sequential(
    torch.nn.Conv1d(1, 16, 5, padding=2, padding_mode="circular"),
    torch.nn.Tanh(),
    torch.nn.Conv1d(16, 16, 5, padding=2, padding_mode="circular"),
    torch.nn.Tanh(),
    torch.nn.Conv1d(16, 1, 5, padding=2, padding_mode="circular"),
)


def corrected(state):
    state = advance(state)
    return state + 0.1 * network(state[:, None])[:, 0]


def unrolled(state, steps, step):
    frames = []
    for _ in range(steps):
        state = step(state)
        frames.append(state)
    return torch.stack(frames, 1)


optimizer = torch.optim.Adam(network.parameters(), 5e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, UPDATES)
for _ in range(UPDATES):
    first = int(torch.randint(0, truth.shape[1] - UNROLL, ()))
    found = unrolled(truth[:CASES, first], UNROLL, corrected)
    loss = (found - truth[:CASES, first + 1 : first + 1 + UNROLL]).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()

# %% [markdown]
# Four cases that the network has not seen, over all frames.

# %%
with torch.no_grad():
    tests = truth[CASES:]
    steps = tests.shape[1] - 1
    results = {"coarse": unrolled(tests[:, 0], steps, advance), "corrected": unrolled(tests[:, 0], steps, corrected)}
errors = {name: (result - tests[:, 1:]).abs().mean((0, 2)) for name, result in results.items()}
for name, error in errors.items():
    print(f"{name:10} mean error {error.mean():.4f}")

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
x = torch.arange(COARSE) / COARSE
left.plot(x, tests[0, -1], "k--", label="reference")
for name, color in (("coarse", "tab:blue"), ("corrected", "tab:orange")):
    left.plot(x, results[name][0, -1], color=color, label=name)
    right.plot(0.02 * torch.arange(1, tests.shape[1]), errors[name], color=color, label=name)
left.set(xlabel="x", ylabel="velocity", title="A test case at the end")
right.set(xlabel="time", title="Mean error over the test cases")
left.legend(frameon=False)

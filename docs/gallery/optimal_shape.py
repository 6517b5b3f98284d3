# %% [markdown]
# # The shape of least drag
#
# Which body of given area has the least drag at Reynolds number 20? Its outline is a circle with waves on it,
# $r(\theta) = r_0 (1 + \sum_k a_k \cos k \theta)$, and $r_0$ keeps the area. The numbers $a_k$ are leaves of the
# flow, and descend its gradient.

# %%
import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import diffphys as dp


CELLS = (48, 32)
STEPS = 40
UPDATES = 14
CENTER = jnp.array([2.0, 2.0])


class Outline(dp.grids.Shape):
    """A shape is what tells the distance to its surface, negative inside."""

    waves: jax.Array

    def radius(self, angle):
        orders = jnp.arange(1, len(self.waves) + 1)
        ripple = 1 + jnp.sum(self.waves * jnp.cos(angle[..., None] * orders), axis=-1)
        return 0.5 * ripple / jnp.sqrt(1 + jnp.sum(self.waves**2) / 2)

    def distance(self, points):
        x, y = points[0] - CENTER[0], points[1] - CENTER[1]
        from_center, angle = jnp.sqrt(x**2 + y**2 + 1e-12), jnp.arctan2(y, x + 1e-9)
        slope = jax.jvp(self.radius, (angle,), (jnp.ones_like(angle),))[1] / from_center
        return (from_center - self.radius(angle)) / jnp.sqrt(1 + slope**2)


grid = dp.Grid(CELLS, (6.0, 4.0))
flow = dp.IncompressibleFlow(
    grid,
    viscosity=0.05,
    dt=0.04,
    sides=dict(x=(dp.Inflow(1.0), dp.Outflow()), y=dp.Wall(slip=True)),
    solid=dp.Immersed(Outline(jnp.zeros(4))),
    stepping=dp.RungeKutta(2),
)


# %% [markdown]
# Each update goes on from the flow of the last, so that a short rollout is enough.


# %%
@jax.jit
def update(waves, memory, start):
    def drag(waves):
        changed = dataclasses.replace(flow, solid=dp.Immersed(Outline(waves)))
        final, forces = dp.rollout(
            changed, start, STEPS, save_every=1, save=lambda state: changed.forces_on_solid(state).force[0]
        )
        return jnp.mean(forces[-10:]), final

    (value, final), gradient = jax.value_and_grad(drag, has_aux=True)(waves)
    change, memory = optimizer.update(gradient, memory)
    return optax.apply_updates(waves, change), memory, final, value


optimizer = optax.adam(0.05)
waves = jnp.zeros(4)
memory, (state, _) = optimizer.init(waves), dp.rollout(flow, flow.initial_state(), 150)
history = []
for _ in range(UPDATES):
    waves, memory, state, value = update(waves, memory, state)
    history.append((waves, float(value)))
print(f"drag coefficient {2 * history[0][1]:.3f} of the circle, {2 * history[-1][1]:.3f} at the end")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.plot([2 * value for _, value in history], color="tab:orange")
left.set(xlabel="update", ylabel="drag coefficient")
angle = jnp.linspace(0, 2 * jnp.pi, 200)
for label, numbers in {"circle": jnp.zeros(4), "found": waves}.items():
    radius = Outline(numbers).radius(angle)
    right.plot(radius * jnp.cos(angle), radius * jnp.sin(angle), label=label)
right.set(aspect="equal", title="Outlines; the stream comes from the left")
right.legend(frameon=False, loc="center")

# %%
dp.plot(state, quantity=["velocity", "pressure"], solid=Outline(waves), overlay="streamlines")

# %% [markdown]
# The body has become slender, and has a quarter less drag. The bump in the middle is what four waves leave of a
# straight flank: more of them would smooth it.

# %% [markdown]
# # What the inflow does to the drag
#
# Which part of the oncoming stream makes the drag of a square? The inflow is a profile, one number for each cell of
# the side; a force could act in any cell. One backward pass gives the derivative with respect to all of them: this is
# the adjoint flow.

# %%
import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import diffphys as dp


CELLS = (96, 48)
STEPS = 900

grid = dp.Grid(CELLS, (12.0, 6.0))
flow = dp.IncompressibleFlow(
    grid,
    viscosity=0.025,
    dt=0.05,
    sides=dict(x=(dp.Inflow(jnp.ones(CELLS[1])), dp.Outflow()), y=dp.Wall(slip=True)),
    solid=dp.Box((3.5, 2.5), (4.5, 3.5)),
    stepping=dp.RungeKutta(3),
)
steady, _ = dp.rollout(flow, flow.initial_state(), STEPS)
dp.plot(steady, quantity="velocity", overlay="streamlines", solid=flow, title="Speed, Re = 40")

# %% [markdown]
# The drag after a time that lets a change of the inflow pass the square, as a function of the profile and of a steady
# force.

# %%
FURTHER = 400


@jax.jit
@jax.grad
def sensitivity(inputs):
    profile, push = inputs
    sides = dict(x=(dp.Inflow(profile), dp.Outflow()), y=dp.Wall(slip=True))
    changed = dataclasses.replace(flow, sides=dp.grids.parse_sides(grid, sides), forces=((push, 0.0),))
    final, _ = dp.rollout(changed, steady, FURTHER)
    return changed.forces_on_solid(final).force[0]


faces = (CELLS[0] + 1, CELLS[1])
by_profile, by_push = sensitivity((jnp.ones(CELLS[1]), jnp.zeros(faces)))

# %% [markdown]
# Left: what one more unit of flux at each height of the inlet does to the drag. Right: what a push to the right does,
# wherever it acts. Upstream it drives fluid against the square, nearly force for force. Close behind, it pulls fluid
# away from the back and lowers the pressure there: more drag, too. Beside the square it helps the fluid past: less
# drag. Far away it does nothing.

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3), layout="constrained", width_ratios=(1, 3), sharey=True)
area = grid.spacing[0] * grid.spacing[1]
left.plot(by_profile / grid.spacing[1], grid.centers()[1].ravel())
left.axvline(0, color="0.8", linewidth=0.8)
left.set(xlabel="drag per flux", ylabel="y", title="Inflow")
limit = np.percentile(np.abs(by_push / area), 99.5)
image = right.imshow((by_push / area).T, origin="lower", extent=(0, 12, 0, 6), cmap="PuOr_r", vmin=-limit, vmax=limit)
right.add_patch(plt.Rectangle((3.5, 2.5), 1, 1, color="0.5"))
right.set(xlabel="x", title="A push to the right")
figure.colorbar(image, ax=right, label="drag per force")

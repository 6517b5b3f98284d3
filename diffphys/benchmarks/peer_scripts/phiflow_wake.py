"""PhiFlow on JAX: the cylinder wake with explicit diffusion, semi-Lagrangian advection and conjugate gradients at 1e-4.

The whole loop is one compiled function, PhiFlow's fastest way. Walls without slip, as PhiFlow has no others here.
"""

from importlib.metadata import version

import jax
from phi.jax import flow as phi  # pyright: ignore[reportMissingImports]
from phiml.math._tree import disassemble_tree  # pyright: ignore[reportMissingImports]
from serving import serve  # pyright: ignore[reportMissingImports]


def make(wanted: dict):
    """Programs for the steps that are wanted."""
    resolution = wanted["resolution"]
    inflow = phi.vec(x=0.0, y=1.0)
    sides = {"x": 0, "y-": inflow, "y+": phi.ZERO_GRADIENT}
    start = phi.StaggeredGrid(inflow, sides, x=resolution, y=2 * resolution, bounds=phi.Box(x=100, y=200))
    start = phi.math.convert(start, phi.math.use("jax"))
    cylinder = phi.Obstacle(phi.Sphere(x=50, y=50, radius=10))

    def step(velocity):
        velocity = phi.diffuse.explicit(velocity, 1e4 / 1638.4 / 1000.0, 1.0)
        velocity = phi.advect.semi_lagrangian(velocity, velocity, 1.0)
        return phi.fluid.make_incompressible(velocity, [cylinder], phi.Solve("CG", 1e-4))[0]

    def after(velocity, steps):
        for _ in range(steps):
            velocity = step(velocity)
        return velocity

    start = phi.math.jit_compile(lambda velocity: after(velocity, 4))(start)
    programs = {}
    for steps in wanted["lengths"]:
        forward = phi.math.jit_compile(lambda velocity, steps=steps: after(velocity, steps))
        gradient = phi.math.jit_compile(
            phi.math.gradient(lambda velocity, steps=steps: phi.math.l2_loss(after(velocity, steps)), get_output=False)
        )
        programs[f"step, {steps} in a row"] = lambda forward=forward: ready(forward(start))
        programs[f"gradient, {steps} steps"] = lambda gradient=gradient: ready(gradient(start))
    divergence = phi.field.divergence(start).values
    return f"PhiFlow {version('phiflow')}", programs, float(phi.math.max(abs(divergence))) * 100 / resolution


def ready(given):
    """Wait until every array is there. JAX does not see into PhiFlow's fields, and would wait for nothing."""
    arrays = [array for tensor in disassemble_tree(given, cache=False)[1] for array in tensor._natives()]
    assert arrays and all(isinstance(array, jax.Array) for array in arrays)
    return jax.block_until_ready(arrays)


serve(make)

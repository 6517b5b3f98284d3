"""The papers and studies that diffphys reproduces: one file each, listed here.

An experiment is one file in this directory that ends in one value:

    PROGRAM = Program("wake", Settings, {"demo": {"frames": 100}, "book": {}}, run, report)

and one line in `EXPERIMENTS` below:

    "wake": Entry("diffphys.experiments.wake", "what a reader of the list should know"),

The line holds what a list shows, so that listing imports no experiment (and with it JAX and the simulators).

An experiment of another package is such a file there, named in the entry point group `diffphys.experiments` of its
`pyproject.toml`; it is listed, run, resumed and reported as ours are:

    [project.entry-points."diffphys.experiments"]
    pendulum = "my_package.pendulum:PROGRAM"
"""

from diffphys.runs import Catalog, Entry


__all__ = ["EXPERIMENTS"]

EXPERIMENTS = Catalog(
    "experiment",
    "run",
    "Experiments",
    "demo",
    {
        "wake": Entry(
            "diffphys.experiments.wake", "2D cylinder wake: a network, trained through a coarse solver, corrects it"
        ),
        "wake-3d": Entry(
            "diffphys.experiments.wake_3d",
            "3D cylinder wake: a network corrects a coarse solver, arm by arm",
        ),
        "buoyancy": Entry(
            "diffphys.experiments.buoyancy", "smoke rises in a box: how far ahead training has to look, arm by arm"
        ),
        "three-cylinders": Entry(
            "diffphys.experiments.three_cylinders",
            "three bodies in a stream: a network corrects a coarse solver around layouts it has not seen",
        ),
        "burgers": Entry(
            "diffphys.experiments.burgers", "forced Burgers in 1D: how gradients cross the solver, arm by arm"
        ),
        "forced-advection-diffusion": Entry(
            "diffphys.experiments.forced_advection_diffusion",
            "a forced velocity carries itself in 2D: a network corrects a coarse solver",
        ),
        "pressure-guess": Entry(
            "diffphys.experiments.pressure_guess", "a network guesses the pressure from which conjugate gradients start"
        ),
        "plasma": Entry(
            "diffphys.experiments.plasma", "drift-wave turbulence: a network stands for the scales a coarse grid lacks"
        ),
        "flame": Entry("diffphys.experiments.flame", "methane flames: a network completes a solver without chemistry"),
        "decaying-turbulence": Entry(
            "diffphys.experiments.decaying_turbulence",
            "2D turbulence through PISO: a network's force stands for what a coarse grid lacks",
        ),
        "temporal-mixing-layer": Entry(
            "diffphys.experiments.temporal_mixing_layer",
            "two streams mix, through PISO: a network's force, unrolled arms, baselines",
        ),
        "spatial-mixing-layer": Entry(
            "diffphys.experiments.spatial_mixing_layer",
            "two streams enter and mix, through PISO: an unseen inlet, long runs and their statistics",
        ),
        "kolmogorov": Entry(
            "diffphys.experiments.kolmogorov", "what gradients through unrolled steps are worth: Kolmogorov's flow"
        ),
        "kuramoto-sivashinsky": Entry(
            "diffphys.experiments.kuramoto_sivashinsky",
            "what gradients through unrolled steps are worth: Kuramoto-Sivashinsky in 1D",
        ),
        "toy-trajectories": Entry(
            "diffphys.experiments.toy_trajectories",
            "improved updates: gradient, Newton, inverse simulator in the plane",
        ),
        "linear-chain": Entry(
            "diffphys.experiments.linear_chain", "half-inverse gradients: a network steers two coupled oscillators"
        ),
        "half-inverse-toy": Entry(
            "diffphys.experiments.half_inverse_toy", "half-inverse gradients (HIG) against saturated neurons"
        ),
        "exponential": Entry("diffphys.experiments.exponential", "scale-invariant training: inverting the exponential"),
        "sine": Entry("diffphys.experiments.sine", "scale-invariant training: a stretched and rotated problem"),
        "heat-inverse": Entry("diffphys.experiments.heat_inverse", "scale-invariant training: heat conduction undone"),
        "poisson-inverse": Entry(
            "diffphys.experiments.poisson_inverse", "scale-invariant training: from potential to source"
        ),
        "swirl": Entry("diffphys.experiments.swirl", "scale-invariant training: a velocity from two images of a cloud"),
        "half-inverse-poisson": Entry(
            "diffphys.experiments.half_inverse_poisson", "half-inverse gradients (HIG) without a Jacobian: Poisson"
        ),
        "quantum-dipole": Entry("diffphys.experiments.quantum_dipole", "half-inverse gradients: a quantum particle"),
        "control-burgers": Entry(
            "diffphys.experiments.control_burgers",
            "Burgers steered with little force: plans, policies, learning by trying",
        ),
        "control-shapes": Entry(
            "diffphys.experiments.control_shapes",
            "a drop of marker becomes another shape at another place, pushed by a force",
        ),
        "control-indirect": Entry(
            "diffphys.experiments.control_indirect",
            "smoke is driven from the border, around obstacles, into one of three buckets",
        ),
        "control-wake": Entry(
            "diffphys.experiments.control_wake", "a cylinder turns about its axis so that its vortex street dies away"
        ),
        "control-rigid-body": Entry(
            "diffphys.experiments.control_rigid_body",
            "a disk and a box are steered to targets in a flow that they stir, by controllers that do not see it",
        ),
        "oscillators": Entry("diffphys.experiments.oscillators", "half-inverse gradients: nonlinear oscillators"),
    },
    group="diffphys.experiments",
)

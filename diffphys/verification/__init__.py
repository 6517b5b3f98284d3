"""Physics against known answers: one file per case, each with its bounds in code.

A case is one file in this directory that ends in one value:

    PROGRAM = verification("heat", Settings, {"quick": {"cells": (6, 5)}}, measure, judge, draw, SOURCES)

and one line in `CASES` below. `measure` computes and `judge` holds the numbers to their bounds; only numbers pass
between the two, so that `diffphys report` makes table and figures again from what is on disk. Every case runs in
float64.

A case of another package is such a file there, named in the entry point group `diffphys.verification` of its
`pyproject.toml`; it is listed, run and reported as ours are, by its name:

    [project.entry-points."diffphys.verification"]
    fisher = "my_package.fisher_front:PROGRAM"
"""

from diffphys.runs import Catalog, Entry
from diffphys.verification.case import Check, Parts, checks_of, summary_table, verification


__all__ = ["CASES", "Check", "Parts", "checks_of", "summary_table", "verification"]

CASES = Catalog(
    "verification",
    "verify",
    "Verification",
    "full",
    {
        "heat": Entry("diffphys.verification.heat", "decay of every mode between all kinds of sides"),
        "burgers": Entry("diffphys.verification.burgers", "a steepening wave against the Cole-Hopf solution"),
        "wave": Entry("diffphys.verification.wave", "standing waves, energy, and what a change of speed sends back"),
        "gray-scott": Entry("diffphys.verification.gray_scott", "growth of Turing modes, and a closed reaction"),
        "hasegawa-wakatani": Entry(
            "diffphys.verification.hasegawa_wakatani", "drift waves, and the averages of plasma turbulence"
        ),
        "reacting-flow": Entry(
            "diffphys.verification.reacting_flow", "ignition, a planar flame, mass, and the variable-density projection"
        ),
        "rigid-body": Entry(
            "diffphys.verification.rigid_body", "a body and its flow: momentum, added mass, how it settles and rises"
        ),
        "shallow-water": Entry("diffphys.verification.shallow_water", "lakes at rest, dam breaks, and a steep wave"),
        "advection": Entry("diffphys.verification.advection", "a profile carried once around by every scheme"),
        "taylor-green": Entry("diffphys.verification.taylor_green", "orders in space and time of decaying vortices"),
        "spectral": Entry(
            "diffphys.verification.spectral", "Fourier modes: exact flows, orders, budgets, other solvers"
        ),
        "poiseuille": Entry("diffphys.verification.poiseuille", "flow between plates that a force or an inflow drives"),
        "couette": Entry("diffphys.verification.couette", "flow between plates that move"),
        "kovasznay": Entry("diffphys.verification.kovasznay", "flow behind a row of bodies, with inflow and outflow"),
        "cavity": Entry("diffphys.verification.cavity", "lid-driven square and cube against published profiles"),
        "piso": Entry("diffphys.verification.piso", "implicit momentum: orders, cavity, channel, mass and gradients"),
        "cylinder": Entry(
            "diffphys.verification.cylinder", "forces on a cylinder in a channel, as published by others"
        ),
        "conservation": Entry("diffphys.verification.conservation", "energy, mass and momentum, kept to round-off"),
        "smoke": Entry("diffphys.verification.smoke", "buoyancy: rest, internal waves, and a plume that converges"),
        "adjoints": Entry("diffphys.verification.adjoints", "derivatives of every operator, solver and step, proven"),
    },
    group="diffphys.verification",
)

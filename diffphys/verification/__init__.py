"""Physics against known answers: one file per case, each with its bounds in code.

A case is one file in this directory that ends in one value:

    CASE = Case("heat", Settings, {"quick": {"cells": (6, 5)}}, measure, judge, draw, SOURCES)

and one line in `CASES` below. `measure` computes and `judge` holds the numbers to their bounds; only numbers pass
between the two, so that `diffphys report` makes table and figures again from what is on disk. Every case runs in
float64.
"""

import importlib

from diffphys.errors import InputError
from diffphys.runs import Listed, nearest
from diffphys.verification.case import (
    Case,
    Check,
    Parts,
    checks_table,
    report_case,
    run_case,
    seconds_of,
    summary_table,
)


__all__ = [
    "CASES",
    "Case",
    "Check",
    "Parts",
    "checks_table",
    "load_case",
    "report_case",
    "run_case",
    "seconds_of",
    "summary_table",
]

CASES: dict[str, Listed] = {
    "heat": Listed("diffphys.verification.heat", "decay of every mode between all kinds of sides"),
    "burgers": Listed("diffphys.verification.burgers", "a steepening wave against the Cole-Hopf solution"),
    "wave": Listed("diffphys.verification.wave", "standing waves, energy, and what a change of speed sends back"),
    "gray-scott": Listed("diffphys.verification.gray_scott", "growth of Turing modes, and a reaction in closed form"),
    "shallow-water": Listed("diffphys.verification.shallow_water", "lakes at rest, dam breaks, and a steepening wave"),
    "advection": Listed("diffphys.verification.advection", "a profile carried once around by every scheme"),
    "taylor-green": Listed("diffphys.verification.taylor_green", "orders in space and time of decaying vortices"),
    "poiseuille": Listed("diffphys.verification.poiseuille", "flow between plates that a force or an inflow drives"),
    "couette": Listed("diffphys.verification.couette", "flow between plates that move"),
    "kovasznay": Listed("diffphys.verification.kovasznay", "flow behind a row of bodies, with inflow and outflow"),
    "cavity": Listed("diffphys.verification.cavity", "lid-driven square and cube against published profiles"),
    "cylinder": Listed("diffphys.verification.cylinder", "forces on a cylinder in a channel, as published by others"),
    "conservation": Listed("diffphys.verification.conservation", "energy, mass and momentum, kept to round-off"),
    "smoke": Listed("diffphys.verification.smoke", "buoyancy: rest, internal waves, and a plume that converges"),
    "adjoints": Listed("diffphys.verification.adjoints", "derivatives of every operator, solver and step, proven"),
}


def load_case(name: str) -> Case:
    """Import a case by its name.

    Raises:
        InputError: there is no case of this name.
    """
    if name not in CASES:
        raise InputError(f'there is no verification "{name}": {nearest(name, CASES)}')
    return importlib.import_module(CASES[name].module).CASE

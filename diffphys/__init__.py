"""Differentiable physics on JAX: simulators that networks are trained through.

    import diffphys as dp

Everything named in `__all__` is at hand as `dp.NAME`, and every room as `dp.ROOM`. A name is imported when it is
first asked for, so that the command line can list what there is without waiting for JAX.
"""

import importlib
from typing import TYPE_CHECKING

from diffphys.cache import keep_compiled_programs


if TYPE_CHECKING:
    __version__: str
    from diffphys import benchmarks as benchmarks
    from diffphys import cache as cache
    from diffphys import cli as cli
    from diffphys import control as control
    from diffphys import devices as devices
    from diffphys import errors as errors
    from diffphys import exchange as exchange
    from diffphys import experiments as experiments
    from diffphys import gradients as gradients
    from diffphys import grids as grids
    from diffphys import inversion as inversion
    from diffphys import learning as learning
    from diffphys import linear as linear
    from diffphys import nets as nets
    from diffphys import operators as operators
    from diffphys import physics as physics
    from diffphys import plots as plots
    from diffphys import poisson as poisson
    from diffphys import progress as progress
    from diffphys import runs as runs
    from diffphys import scenarios as scenarios
    from diffphys import stepping as stepping
    from diffphys import verification as verification
    from diffphys import view as view
    from diffphys.errors import InputError as InputError
    from diffphys.exchange import from_xarray as from_xarray
    from diffphys.exchange import to_torch as to_torch
    from diffphys.exchange import to_xarray as to_xarray
    from diffphys.experiments.pretrained import model_card as model_card
    from diffphys.experiments.pretrained import pretrained as pretrained
    from diffphys.gradients import GradientCheck as GradientCheck
    from diffphys.gradients import check_gradient as check_gradient
    from diffphys.grids import Box as Box
    from diffphys.grids import Dirichlet as Dirichlet
    from diffphys.grids import Field as Field
    from diffphys.grids import Grid as Grid
    from diffphys.grids import Inflow as Inflow
    from diffphys.grids import Neumann as Neumann
    from diffphys.grids import Open as Open
    from diffphys.grids import Outflow as Outflow
    from diffphys.grids import Periodic as Periodic
    from diffphys.grids import Sphere as Sphere
    from diffphys.grids import Wall as Wall
    from diffphys.learning import Corrected as Corrected
    from diffphys.learning import Normalization as Normalization
    from diffphys.learning import Stage as Stage
    from diffphys.learning import Trajectories as Trajectories
    from diffphys.learning import load_trajectories as load_trajectories
    from diffphys.learning import save_trajectories as save_trajectories
    from diffphys.learning import train as train
    from diffphys.operators import CubicSemiLagrangian as CubicSemiLagrangian
    from diffphys.operators import MacCormack as MacCormack
    from diffphys.operators import SemiLagrangian as SemiLagrangian
    from diffphys.operators import SkewSymmetric as SkewSymmetric
    from diffphys.operators import Spectral as Spectral
    from diffphys.operators import Upwind as Upwind
    from diffphys.operators import VanLeer as VanLeer
    from diffphys.physics import Buoyancy as Buoyancy
    from diffphys.physics import Burgers as Burgers
    from diffphys.physics import DynamicSmagorinsky as DynamicSmagorinsky
    from diffphys.physics import FlowInput as FlowInput
    from diffphys.physics import FlowState as FlowState
    from diffphys.physics import GrayScott as GrayScott
    from diffphys.physics import HasegawaWakatani as HasegawaWakatani
    from diffphys.physics import Heat as Heat
    from diffphys.physics import Held as Held
    from diffphys.physics import Immersed as Immersed
    from diffphys.physics import IncompressibleFlow as IncompressibleFlow
    from diffphys.physics import LinearDrag as LinearDrag
    from diffphys.physics import PassiveScalar as PassiveScalar
    from diffphys.physics import ReactingFlow as ReactingFlow
    from diffphys.physics import RigidBody as RigidBody
    from diffphys.physics import RigidBodyFlow as RigidBodyFlow
    from diffphys.physics import RigidBodyInput as RigidBodyInput
    from diffphys.physics import ShallowWater as ShallowWater
    from diffphys.physics import SinusoidalForce as SinusoidalForce
    from diffphys.physics import Smagorinsky as Smagorinsky
    from diffphys.physics import Sponge as Sponge
    from diffphys.physics import Wave as Wave
    from diffphys.plots import animate as animate
    from diffphys.plots import plot as plot
    from diffphys.progress import ProgressBar as ProgressBar
    from diffphys.stepping import PISO as PISO
    from diffphys.stepping import Checkpointed as Checkpointed
    from diffphys.stepping import Detached as Detached
    from diffphys.stepping import ExponentialRungeKutta as ExponentialRungeKutta
    from diffphys.stepping import ImplicitExplicit as ImplicitExplicit
    from diffphys.stepping import RungeKutta as RungeKutta
    from diffphys.stepping import Splitting as Splitting
    from diffphys.stepping import StoreAll as StoreAll
    from diffphys.stepping import SubSteps as SubSteps
    from diffphys.stepping import Truncated as Truncated
    from diffphys.stepping import rollout as rollout


_ROOMS = (
    "benchmarks",
    "cache",
    "cli",
    "control",
    "devices",
    "errors",
    "exchange",
    "experiments",
    "gradients",
    "grids",
    "inversion",
    "learning",
    "linear",
    "nets",
    "operators",
    "physics",
    "plots",
    "poisson",
    "progress",
    "runs",
    "scenarios",
    "stepping",
    "verification",
    "view",
)

_HOME = {
    "InputError": "errors",
    "ProgressBar": "progress",
    **dict.fromkeys(("GradientCheck", "check_gradient"), "gradients"),
    **dict.fromkeys(
        ("Box", "Dirichlet", "Field", "Grid", "Inflow", "Neumann", "Open", "Outflow", "Periodic", "Sphere", "Wall"),
        "grids",
    ),
    **dict.fromkeys(
        ("CubicSemiLagrangian", "MacCormack", "SemiLagrangian", "SkewSymmetric", "Spectral", "Upwind", "VanLeer"),
        "operators",
    ),
    **dict.fromkeys(
        (
            "Checkpointed",
            "Detached",
            "ExponentialRungeKutta",
            "ImplicitExplicit",
            "PISO",
            "RungeKutta",
            "Splitting",
            "StoreAll",
            "SubSteps",
            "Truncated",
            "rollout",
        ),
        "stepping",
    ),
    **dict.fromkeys(
        (
            "Buoyancy",
            "Burgers",
            "DynamicSmagorinsky",
            "FlowInput",
            "Immersed",
            "FlowState",
            "GrayScott",
            "HasegawaWakatani",
            "Heat",
            "Held",
            "IncompressibleFlow",
            "LinearDrag",
            "PassiveScalar",
            "ReactingFlow",
            "RigidBody",
            "RigidBodyFlow",
            "RigidBodyInput",
            "ShallowWater",
            "SinusoidalForce",
            "Smagorinsky",
            "Sponge",
            "Wave",
        ),
        "physics",
    ),
    **dict.fromkeys(("from_xarray", "to_torch", "to_xarray"), "exchange"),
    **dict.fromkeys(("model_card", "pretrained"), "experiments.pretrained"),
    **dict.fromkeys(("animate", "plot"), "plots"),
    **dict.fromkeys(
        ("Corrected", "Normalization", "Stage", "Trajectories", "load_trajectories", "save_trajectories", "train"),
        "learning",
    ),
}

keep_compiled_programs()

# The rooms in which one looks for more than the names below; `from diffphys import *` leaves the others alone, which
# import the command line or what one may not need.
_MAIN_ROOMS = ("grids", "stepping", "operators", "poisson", "physics", "nets", "learning", "control")

__all__ = [*_MAIN_ROOMS, *_HOME]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("diffphys")
    if name in _ROOMS:
        return importlib.import_module(f"diffphys.{name}")
    if name in _HOME:
        value = getattr(importlib.import_module(f"diffphys.{_HOME[name]}"), name)
        globals()[name] = value  # asked for once
        return value
    raise AttributeError(f"module 'diffphys' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS, "__version__"})

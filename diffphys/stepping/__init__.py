"""Time: the rollout with its adjoints; integrators as values, for any system that says how fast its state changes."""

from diffphys.stepping.integrators import (
    Advanced,
    ExponentialRungeKutta,
    ImplicitExplicit,
    Integrator,
    RungeKutta,
    Splitting,
    System,
)
from diffphys.stepping.piso import PISO, PISOReport
from diffphys.stepping.rollout import Adjoint, Checkpointed, Detached, StoreAll, Truncated, WorkingForm, rollout
from diffphys.stepping.sub_steps import SubSteps


__all__ = [
    "rollout",
    "Adjoint",
    "Checkpointed",
    "Detached",
    "StoreAll",
    "Truncated",
    "WorkingForm",
    "Advanced",
    "ExponentialRungeKutta",
    "ImplicitExplicit",
    "Integrator",
    "PISO",
    "PISOReport",
    "RungeKutta",
    "Splitting",
    "SubSteps",
    "System",
]

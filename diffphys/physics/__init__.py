"""One file per system. Each is a pure function `step(state) -> state` whose numbers are traced leaves."""

from diffphys.physics.burgers import Burgers
from diffphys.physics.heat import Heat
from diffphys.physics.immersed import Immersed
from diffphys.physics.incompressible import FlowState, Held, IncompressibleFlow, PassiveScalar
from diffphys.physics.runge_kutta import FlowInput, Forces, RungeKuttaFlow
from diffphys.physics.smoke import Smoke
from diffphys.physics.substeps import SubSteps


__all__ = [
    "Burgers",
    "Heat",
    "Immersed",
    "FlowState",
    "Held",
    "IncompressibleFlow",
    "PassiveScalar",
    "FlowInput",
    "Forces",
    "RungeKuttaFlow",
    "Smoke",
    "SubSteps",
]

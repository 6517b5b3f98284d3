"""One file per system. Each is a pure function `step(state) -> state` whose numbers are traced leaves."""

from diffphys.physics.burgers import Burgers
from diffphys.physics.gray_scott import Concentrations, GrayScott
from diffphys.physics.heat import Heat
from diffphys.physics.immersed import Immersed
from diffphys.physics.incompressible import FlowState, Held, IncompressibleFlow, PassiveScalar
from diffphys.physics.runge_kutta import FlowInput, Forces, RungeKuttaFlow
from diffphys.physics.shallow_water import ShallowWater, WaterState
from diffphys.physics.smoke import Smoke
from diffphys.physics.substeps import SubSteps
from diffphys.physics.wave import Wave, WaveState


__all__ = [
    "Burgers",
    "Concentrations",
    "GrayScott",
    "Heat",
    "Immersed",
    "FlowState",
    "Held",
    "IncompressibleFlow",
    "PassiveScalar",
    "FlowInput",
    "Forces",
    "RungeKuttaFlow",
    "ShallowWater",
    "WaterState",
    "Smoke",
    "SubSteps",
    "Wave",
    "WaveState",
]

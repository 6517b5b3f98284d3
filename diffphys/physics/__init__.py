"""One file per system. Each is a pure function `step(state) -> state` whose numbers are traced leaves."""

from diffphys.physics.added_viscosity import DynamicSmagorinsky, Smagorinsky, Sponge
from diffphys.physics.burgers import Burgers
from diffphys.physics.combustion import Burnt, Gas, Mixture, OneStepReaction
from diffphys.physics.flow_state import FlowState, Forces
from diffphys.physics.forces import Buoyancy, FlowInput, Held, LinearDrag, SinusoidalForce
from diffphys.physics.gray_scott import Concentrations, GrayScott
from diffphys.physics.hasegawa_wakatani import HasegawaWakatani, PlasmaBudget, PlasmaState
from diffphys.physics.heat import Heat
from diffphys.physics.incompressible import IncompressibleFlow
from diffphys.physics.obstacles import Immersed
from diffphys.physics.reacting_flow import ReactingFlow
from diffphys.physics.rigid_body import RigidBody, RigidBodyFlow, RigidBodyInput, RigidBodyState
from diffphys.physics.scalars import PassiveScalar
from diffphys.physics.shallow_water import ShallowWater, WaterState
from diffphys.physics.wave import Wave, WaveState


__all__ = [
    "Buoyancy",
    "Burgers",
    "Concentrations",
    "DynamicSmagorinsky",
    "GrayScott",
    "HasegawaWakatani",
    "PlasmaBudget",
    "PlasmaState",
    "Heat",
    "Immersed",
    "FlowState",
    "Held",
    "IncompressibleFlow",
    "LinearDrag",
    "PassiveScalar",
    "FlowInput",
    "Forces",
    "RigidBodyFlow",
    "RigidBody",
    "RigidBodyState",
    "RigidBodyInput",
    "ReactingFlow",
    "OneStepReaction",
    "Gas",
    "Mixture",
    "Burnt",
    "ShallowWater",
    "SinusoidalForce",
    "Smagorinsky",
    "Sponge",
    "WaterState",
    "Wave",
    "WaveState",
]

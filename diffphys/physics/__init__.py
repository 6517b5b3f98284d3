"""One file per system. Each is a pure function `step(state) -> state` whose numbers are traced leaves."""

from diffphys.physics.burgers import Burgers as Burgers
from diffphys.physics.heat import Heat as Heat
from diffphys.physics.incompressible import FlowState as FlowState
from diffphys.physics.incompressible import Held as Held
from diffphys.physics.incompressible import IncompressibleFlow as IncompressibleFlow
from diffphys.physics.incompressible import PassiveScalar as PassiveScalar

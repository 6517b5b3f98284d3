"""Differentiable physics on JAX: simulators that networks are trained through."""

from diffphys import grids as grids
from diffphys import operators as operators
from diffphys import physics as physics
from diffphys import poisson as poisson
from diffphys.errors import InputError as InputError
from diffphys.grids import Box as Box
from diffphys.grids import Field as Field
from diffphys.grids import Grid as Grid
from diffphys.grids import Inflow as Inflow
from diffphys.grids import Open as Open
from diffphys.grids import Outflow as Outflow
from diffphys.grids import Periodic as Periodic
from diffphys.grids import Sphere as Sphere
from diffphys.grids import Wall as Wall
from diffphys.physics import Burgers as Burgers
from diffphys.physics import FlowState as FlowState
from diffphys.physics import Heat as Heat
from diffphys.physics import Held as Held
from diffphys.physics import IncompressibleFlow as IncompressibleFlow
from diffphys.physics import PassiveScalar as PassiveScalar
from diffphys.rollout import Checkpointed as Checkpointed
from diffphys.rollout import Detached as Detached
from diffphys.rollout import rollout as rollout
from diffphys.rollout import StoreAll as StoreAll
from diffphys.rollout import Truncated as Truncated

"""Calculus on a staggered grid: differences, interpolation, advection, diffusion, coarsening."""

from diffphys.operators.advection import semi_lagrangian as semi_lagrangian
from diffphys.operators.coarsening import coarsen as coarsen
from diffphys.operators.differences import difference as difference
from diffphys.operators.differences import divergence as divergence
from diffphys.operators.differences import gradient as gradient
from diffphys.operators.differences import laplacian as laplacian
from diffphys.operators.diffusion import explicit_diffusion as explicit_diffusion
from diffphys.operators.diffusion import stable_diffusion_step as stable_diffusion_step
from diffphys.operators.interpolation import interpolate as interpolate
from diffphys.operators.interpolation import sample as sample

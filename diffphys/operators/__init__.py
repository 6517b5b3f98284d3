"""Calculus on a staggered grid: differences, interpolation, advection, diffusion, coarsening."""

from diffphys.operators.advection import semi_lagrangian
from diffphys.operators.coarsening import coarsen
from diffphys.operators.convection import control_volume, convection
from diffphys.operators.differences import difference, divergence, gradient, laplacian
from diffphys.operators.diffusion import (
    crank_nicolson_diffusion,
    exact_diffusion,
    explicit_diffusion,
    implicit_diffusion,
    stable_diffusion_step,
)
from diffphys.operators.interpolation import interpolate, sample


__all__ = [
    "semi_lagrangian",
    "coarsen",
    "control_volume",
    "convection",
    "difference",
    "divergence",
    "gradient",
    "laplacian",
    "crank_nicolson_diffusion",
    "exact_diffusion",
    "explicit_diffusion",
    "implicit_diffusion",
    "stable_diffusion_step",
    "interpolate",
    "sample",
]

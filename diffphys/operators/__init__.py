"""Calculus on a staggered grid: differences, interpolation, advection, diffusion, coarsening."""

from diffphys.operators.advection import (
    Advection,
    CubicSemiLagrangian,
    FluxAdvection,
    MacCormack,
    SemiLagrangian,
    SkewSymmetric,
    Spectral,
    Upwind,
    VanLeer,
    advect,
    advection_rate,
    control_volume,
    convection,
    cubic_semi_lagrangian,
    maccormack,
    semi_lagrangian,
)
from diffphys.operators.brackets import Arakawa, Dealiased, poisson_bracket
from diffphys.operators.coarsening import coarsen, refine
from diffphys.operators.conversion import centers_to_faces, convert, faces_to_centers
from diffphys.operators.curl import curl
from diffphys.operators.differences import difference, divergence, gradient, laplacian
from diffphys.operators.diffusion import (
    crank_nicolson_diffusion,
    diffusion_limit,
    diffusion_number,
    exact_diffusion,
    explicit_diffusion,
    implicit_change,
    implicit_diffusion,
    stable_diffusion_step,
)
from diffphys.operators.interpolation import interpolate, sample
from diffphys.operators.waves import Waves


__all__ = [
    "Advection",
    "Arakawa",
    "CubicSemiLagrangian",
    "Dealiased",
    "FluxAdvection",
    "MacCormack",
    "SemiLagrangian",
    "SkewSymmetric",
    "Spectral",
    "Upwind",
    "VanLeer",
    "advect",
    "advection_rate",
    "cubic_semi_lagrangian",
    "maccormack",
    "semi_lagrangian",
    "coarsen",
    "refine",
    "control_volume",
    "convection",
    "curl",
    "difference",
    "divergence",
    "gradient",
    "laplacian",
    "poisson_bracket",
    "crank_nicolson_diffusion",
    "exact_diffusion",
    "explicit_diffusion",
    "implicit_diffusion",
    "implicit_change",
    "stable_diffusion_step",
    "diffusion_number",
    "diffusion_limit",
    "centers_to_faces",
    "convert",
    "faces_to_centers",
    "interpolate",
    "sample",
    "Waves",
]

"""Updates that know the physics: scale-invariant training by inverse simulators, and half-inverse gradients."""

from diffphys.inversion.check import InverseCheck, check_inverse
from diffphys.inversion.half_inverse import (
    HalfInverseState,
    gauss_newton,
    half_inverse_gradients,
    value_and_output_gradient,
)
from diffphys.inversion.jacobian_power import Engine, Spectrum, choose_engine, default_truncation, jacobian_power
from diffphys.inversion.linear_inverses import (
    LinearInverse,
    NoiseAwareHeatInverse,
    PoissonSolve,
    PoissonStencil,
    SpectralHeat,
)
from diffphys.inversion.local_inverses import BFGS, GaussNewton, LocalSolution, Newton, SaddleFreeNewton
from diffphys.inversion.newton import newton
from diffphys.inversion.repeated import RepeatedInverse
from diffphys.inversion.saturation import Saturation, neuron_saturation
from diffphys.inversion.scale_invariant import (
    absolute_values,
    half_squares,
    scale_invariant_loss,
    scale_invariant_target,
    scale_invariant_update,
)
from diffphys.inversion.time_reversal import TimeReversal


__all__ = [
    "scale_invariant_loss",
    "scale_invariant_target",
    "scale_invariant_update",
    "half_squares",
    "absolute_values",
    "check_inverse",
    "InverseCheck",
    "LinearInverse",
    "PoissonSolve",
    "PoissonStencil",
    "SpectralHeat",
    "NoiseAwareHeatInverse",
    "RepeatedInverse",
    "TimeReversal",
    "Newton",
    "SaddleFreeNewton",
    "GaussNewton",
    "BFGS",
    "LocalSolution",
    "half_inverse_gradients",
    "gauss_newton",
    "newton",
    "value_and_output_gradient",
    "HalfInverseState",
    "jacobian_power",
    "choose_engine",
    "default_truncation",
    "Engine",
    "Spectrum",
    "neuron_saturation",
    "Saturation",
]

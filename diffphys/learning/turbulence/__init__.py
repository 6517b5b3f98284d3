"""Learning for turbulence: losses on unrolled flows, forces by networks, statistics while a flow runs."""

from diffphys.learning.turbulence.forced import Forced, OnlyForced
from diffphys.learning.turbulence.losses import (
    LossWeights,
    mean_flow_error,
    spectral_energy_error,
    squared_error,
    strain_rate_error,
    turbulence_loss,
)
from diffphys.learning.turbulence.spectra import energy_spectrum, shell_wavenumbers, two_point_correlation
from diffphys.learning.turbulence.statistics import Average, Moments, with_statistics
from diffphys.learning.turbulence.thickness import momentum_thickness, vorticity_thickness
from diffphys.learning.turbulence.time_series import bootstrap_interval, frequency_by_phase, periodograms


__all__ = [
    "Forced",
    "OnlyForced",
    "LossWeights",
    "turbulence_loss",
    "squared_error",
    "spectral_energy_error",
    "strain_rate_error",
    "mean_flow_error",
    "energy_spectrum",
    "shell_wavenumbers",
    "two_point_correlation",
    "Average",
    "Moments",
    "with_statistics",
    "frequency_by_phase",
    "periodograms",
    "bootstrap_interval",
    "vorticity_thickness",
    "momentum_thickness",
]

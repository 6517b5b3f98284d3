"""Set-ups that several programs use: one file each, so that experiment, benchmark and README mean the same flow."""

from diffphys.scenarios.cylinder_wake import (
    CYLINDER,
    SIZE,
    VISCOSITY_TIMES_LABEL,
    cylinder_wake,
)
from diffphys.scenarios.plasma import drift_wave_noise, plasma_turbulence


__all__ = ["drift_wave_noise", "plasma_turbulence", "cylinder_wake", "CYLINDER", "SIZE", "VISCOSITY_TIMES_LABEL"]

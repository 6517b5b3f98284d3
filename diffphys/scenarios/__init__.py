"""Set-ups that several programs use: one file each, so that experiment, benchmark and README mean the same flow."""

from diffphys.scenarios.cylinder_wake import (
    CYLINDER,
    SIZE,
    VISCOSITY_TIMES_LABEL,
    cylinder_wake,
)


__all__ = ["cylinder_wake", "CYLINDER", "SIZE", "VISCOSITY_TIMES_LABEL"]

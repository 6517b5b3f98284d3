"""Set-ups that several programs use: one file each, so that experiment, benchmark and README mean the same flow."""

from diffphys.scenarios.cylinder_wake import (
    CYLINDER,
    SIZE,
    VISCOSITY_TIMES_LABEL,
    cylinder_wake,
)
from diffphys.scenarios.cylinder_wake_3d import (
    CYLINDER_3D,
    SPAN,
    cylinder_wake_3d,
    first_wake_3d,
)
from diffphys.scenarios.flames import (
    BUNSEN_DT,
    PLANAR_DT,
    Flame,
    bunsen_flame,
    planar_flame,
    random_inlet,
)
from diffphys.scenarios.plasma import drift_wave_noise, plasma_turbulence
from diffphys.scenarios.turbulence import (
    decaying_turbulence,
    perturbed_streams,
    random_vortices,
    spatial_mixing_layer,
    temporal_mixing_layer,
)


__all__ = [
    "drift_wave_noise",
    "plasma_turbulence",
    "decaying_turbulence",
    "random_vortices",
    "temporal_mixing_layer",
    "perturbed_streams",
    "spatial_mixing_layer",
    "Flame",
    "planar_flame",
    "bunsen_flame",
    "random_inlet",
    "PLANAR_DT",
    "BUNSEN_DT",
    "cylinder_wake",
    "cylinder_wake_3d",
    "first_wake_3d",
    "CYLINDER",
    "CYLINDER_3D",
    "SIZE",
    "SPAN",
    "VISCOSITY_TIMES_LABEL",
]

"""Published values, each with its source and with what is known of its errors.

Velocities are in units of the lid's or the mean inflow's speed, lengths in units of the cavity's edge.
"""

from typing import Any

import numpy as np


# The lid-driven square cavity -----------------------------------------------------------------------------------------

GHIA = "U. Ghia, K. N. Ghia, C. T. Shin, J. Comput. Phys. 48 (1982) 387-411, tables I and II"
BOTELLA = "O. Botella, R. Peyret, Comput. Fluids 27 (1998) 421-433, tables 9 and 10"

GHIA_Y = np.array(
    [1.0000, 0.9766, 0.9688, 0.9609, 0.9531, 0.8516, 0.7344, 0.6172, 0.5000,
     0.4531, 0.2813, 0.1719, 0.1016, 0.0703, 0.0625, 0.0547, 0.0000]
)  # fmt: skip

# u(x = 0.5, y), the lid at y = 1 moving with u = 1.
GHIA_U: dict[float, Any] = {
    100: np.array(
        [1.00000, 0.84123, 0.78871, 0.73722, 0.68717, 0.23151, 0.00332, -0.13641, -0.20581,
         -0.21090, -0.15662, -0.10150, -0.06434, -0.04775, -0.04192, -0.03717, 0.00000]
    ),
    400: np.array(
        [1.00000, 0.75837, 0.68439, 0.61756, 0.55892, 0.29093, 0.16256, 0.02135, -0.11477,
         -0.17119, -0.32726, -0.24299, -0.14612, -0.10338, -0.09266, -0.08186, 0.00000]
    ),
    1000: np.array(
        [1.00000, 0.65928, 0.57492, 0.51117, 0.46604, 0.33304, 0.18719, 0.05702, -0.06080,
         -0.10648, -0.27805, -0.38289, -0.29730, -0.22220, -0.20196, -0.18109, 0.00000]
    ),
}  # fmt: skip

GHIA_X = np.array(
    [1.0000, 0.9688, 0.9609, 0.9531, 0.9453, 0.9063, 0.8594, 0.8047, 0.5000,
     0.2344, 0.2266, 0.1563, 0.0938, 0.0781, 0.0703, 0.0625, 0.0000]
)  # fmt: skip

# v(x, y = 0.5).
GHIA_V: dict[float, Any] = {
    100: np.array(
        [0.00000, -0.05906, -0.07391, -0.08864, -0.10313, -0.16914, -0.22445, -0.24533, 0.05454,
         0.17527, 0.17507, 0.16077, 0.12317, 0.10890, 0.10091, 0.09233, 0.00000]
    ),
    400: np.array(
        [0.00000, -0.12146, -0.15663, -0.19254, -0.22847, -0.23827, -0.44993, -0.38598, 0.05186,
         0.30174, 0.30203, 0.28124, 0.22965, 0.20920, 0.19713, 0.18360, 0.00000]
    ),
    1000: np.array(
        [0.00000, -0.21388, -0.27669, -0.33714, -0.39188, -0.51550, -0.42665, -0.31966, 0.02526,
         0.32235, 0.33075, 0.37095, 0.32627, 0.30353, 0.29012, 0.27485, 0.00000]
    ),
}  # fmt: skip

# The spectral solution of Botella and Peyret at Re = 1000, same places, with the sign of a lid that moves to the right.
# It converged to seven digits.
BOTELLA_U = np.array(
    [1.0000000, 0.6644227, 0.5808359, 0.5169277, 0.4723329, 0.3372212, 0.1886747, 0.0570178, -0.0620561,
     -0.1081999, -0.2803696, -0.3885691, -0.3004561, -0.2228955, -0.2023300, -0.1812881, 0.0000000]
)  # fmt: skip
BOTELLA_V = np.array(
    [0.0000000, -0.2279225, -0.2936869, -0.3553213, -0.4103754, -0.5264392, -0.4264545, -0.3202137, 0.0257995,
     0.3253592, 0.3339924, 0.3769189, 0.3330442, 0.3099097, 0.2962703, 0.2807056, 0.0000000]
)  # fmt: skip

# Places x at which Ghia's v contradicts a better source, and why. A solution that met these values would be wrong.
DOUBTED_V: dict[float, Any] = {
    100: {},
    # Between -0.22847 and -0.44993 of its neighbors on a smooth curve stands -0.23827, which no solution shows: about
    # -0.38 fits. The value is widely held to be a misprint.
    400: {0.9063: "a misprint: it breaks the curve of its neighbors"},
    # The boundary layer at the right wall: the spectral solution differs there by 0.011 to 0.019. A method of the kind
    # Ghia et al. used has that error on their grid: see `verification.vorticity`.
    1000: dict.fromkeys((0.9688, 0.9609, 0.9531, 0.9453, 0.9063), "Botella and Peyret 1998 differ by more than 0.01"),
}


# The lid-driven cube --------------------------------------------------------------------------------------------------

ALBENSOEDER = (
    "S. Albensoeder, H. C. Kuhlmann, J. Comput. Phys. 206 (2005) 536-558, tables 5 and 6 (cube, Re = 1000), as they "
    "stand in the tests of PICT (Franz et al. 2025)"
)

# Their cube is [-1/2, 1/2]^3 with its lid at x = -1/2 moving along y. Here the lid is at y = 1 and moves along x:
# y = 1/2 - x_theirs and x = y_theirs + 1/2, so that u here is their v, and v here is minus their u.
ALBENSOEDER_Y = 0.5 - np.array(
    [-0.5000, -0.4766, -0.4688, -0.4609, -0.4531, -0.3516, -0.2344, -0.1172, 0.0000,
     0.0469, 0.2187, 0.3281, 0.3984, 0.4297, 0.4375, 0.4453, 0.5000]
)  # fmt: skip
ALBENSOEDER_U = np.array(
    [1.00000, 0.58964, 0.48443, 0.39821, 0.33171, 0.12183, 0.07334, 0.03905, 0.00802,
     -0.00612, -0.10999, -0.25160, -0.27293, -0.23696, -0.22283, -0.20623, 0.00000]
)  # fmt: skip
ALBENSOEDER_X = 0.5 + np.array(
    [-0.5000, -0.4375, -0.4297, -0.4219, -0.4062, -0.3437, -0.2734, -0.2656, 0.0000,
     0.3047, 0.3594, 0.4063, 0.4453, 0.4531, 0.4609, 0.4688, 0.5000]
)  # fmt: skip
ALBENSOEDER_V = -np.array(
    [0.00000, -0.21738, -0.22746, -0.23503, -0.24407, -0.22924, -0.17580, -0.16987, -0.03674,
     0.15223, 0.31117, 0.43423, 0.33511, 0.29032, 0.24095, 0.18864, 0.00000]
)  # fmt: skip

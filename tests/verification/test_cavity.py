"""What the case of the cavity is compared with."""

import numpy as np
from scipy.interpolate import CubicSpline

from diffphys.verification import published
from diffphys.verification.vorticity import steady_cavity


def test_vorticity_and_streamfunction_converge_to_botella_and_peyret():
    """With second order, and not to the five values of Ghia et al. that the case does not hold itself to."""
    errors, profiles = [], []
    for cells in (48, 96):
        found = steady_cavity(1000.0, cells)
        profiles.append(CubicSpline(found["x"], found["v"])(published.GHIA_X))
        errors.append(np.abs(profiles[-1] - published.BOTELLA_V).max())
    assert np.log2(errors[0] / errors[1]) > 1.5, errors
    limit = (4 * profiles[1] - profiles[0]) / 3
    assert np.abs(limit - published.BOTELLA_V).max() < 0.005
    doubted = np.isin(published.GHIA_X, list(published.DOUBTED_V[1000]))
    tables = published.GHIA_V[1000], published.BOTELLA_V
    from_ghia, from_botella = (np.abs(limit - table)[doubted] for table in tables)
    assert from_ghia.min() > 2 * from_botella.max(), (from_ghia, from_botella)

"""The case of reacting flow: the eigenvalue that it holds the planar flame to."""

import numpy as np
import pytest

from diffphys.verification import reacting_flow


@pytest.mark.usefixtures("float64")
@pytest.mark.slow
def test_the_burning_rate_is_that_of_zeldovich_for_a_large_activation_energy(monkeypatch):
    r"""Where gas burns only when nearly burnt, $m^2 = 2 \int \rho^2 \alpha\, \dot T\, dT / (T_b - T_u)^2$."""
    energy = 6e5
    factor = 1e1 * np.exp(energy / 8.314 / 1800)
    monkeypatch.setattr(reacting_flow, "ENERGY", energy)
    monkeypatch.setattr(reacting_flow, "FACTOR", factor)
    mixture = reacting_flow.Mixture.with_air(300.0, 0.8)
    fuel, oxidizer, heat = float(mixture.fuel), float(mixture.oxidizer), 5.01e7 / 1450.0
    t = np.linspace(300.0, 300.0 + heat * fuel, 20001)
    done = (t - t[0]) / (t[-1] - t[0])
    f, o = fuel * (1 - done), oxidizer - 4 * fuel * done
    density = 101325.0 / (8.314462618 * t * (f / 0.016 + o / 0.032 + (1 - f - o) / 0.028))
    omega = factor * density * f / 0.016 * np.sqrt(density * o / 0.032) * np.exp(-energy / 8.314462618 / t)
    integral = np.trapezoid(density * 0.1 * heat * 0.016 * omega, t)
    assert reacting_flow.burning_rate(0.8) == pytest.approx(np.sqrt(2 * integral) / (t[-1] - t[0]), rel=0.1)

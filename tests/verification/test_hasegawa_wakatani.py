"""The case of plasma turbulence: its dispersion relation, and long runs that go on where they were stopped."""

import signal

import numpy as np
import pytest

import diffphys as dp
from diffphys.runs import Interrupted, Run
from diffphys.verification import Parts, hasegawa_wakatani


pytestmark = pytest.mark.usefixtures("float64")

SETTINGS = hasegawa_wakatani.Settings(turbulence=(32,), first=0.0, time=25.0)


def turbulence(directory, stopped=False):
    with Run.open(directory, "hasegawa-wakatani", "quick", SETTINGS, 0, kind="verification") as run:
        run.stop.signal = signal.SIGTERM if stopped else None
        return hasegawa_wakatani._turbulence(SETTINGS, Parts(run, "this code"), 32, 0)


def test_a_run_that_was_stopped_goes_on_with_the_same_bits(tmp_path):
    with pytest.raises(Interrupted):
        turbulence(tmp_path / "stopped", stopped=True)
    resumed, whole = turbulence(tmp_path / "stopped"), turbulence(tmp_path / "whole")
    for name, line in whole["series"].items():
        assert np.all(np.isfinite(line)) and len(line) == 50
        np.testing.assert_array_equal(resumed["series"][name], line)
    energy = whole["series"]["energy"]
    assert energy[-1] > energy[10], "waves grow"


def test_a_run_that_becomes_unstable_says_at_which_step(tmp_path, monkeypatch):
    monkeypatch.setattr(
        hasegawa_wakatani, "drift_wave_noise", lambda system, key: system.initial_state(0.0, _checkers(1e5))
    )
    with pytest.raises(dp.InputError, match=r"on 32 cells becomes unstable at step \d+, time .* the Courant number is"):
        turbulence(tmp_path)


def _checkers(size):
    """Random eddies that turn over faster than the step follows."""
    return size * np.random.default_rng(0).standard_normal((32, 32))


def test_the_growing_root_solves_the_dispersion_relation():
    for c, kx, ky in ((0.1, 0.0, 0.5), (1.0, 1.0, 1.0), (5.0, 0.5, 1.5)):
        squared = kx**2 + ky**2
        b, omega = c * (1 + squared) / squared, hasegawa_wakatani.frequency(c, kx, ky)
        assert abs(omega**2 + 1j * omega * b - 1j * b * ky / (1 + squared)) < 1e-12
        assert omega.imag > 0

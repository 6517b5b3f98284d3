"""The page With other libraries, whole: also the blocks that ask for libraries which `make test` does not install."""

import sys
import types
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.test_snippets import page_as_module


PAGE = Path(__file__).parents[1] / "docs" / "other-libraries.md"
LIBRARIES = ("torch", "flax", "exponax", "diffrax", "blackjax")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # theirs are theirs
def test_every_block_of_the_page_runs_and_does_what_it_says(monkeypatch):
    for library in LIBRARIES:
        pytest.importorskip(library)
    module = types.ModuleType("page_other_libraries")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    code = page_as_module(PAGE.read_text().replace("```{.python}", "```python"))
    with jax.enable_x64(False):
        exec(compile(code, str(PAGE), "exec"), module.__dict__)
    found = types.SimpleNamespace(**module.__dict__)

    np.testing.assert_allclose(found.viscosity, 0.02, rtol=0.1)  # Optax finds the viscosity of the target
    state = found.initial
    for _ in range(3):
        state = found.advance(state, found.torch.tensor(0.0))
    # PyTorch's network makes up for much of the viscosity that the solver lacks.
    assert float(found.loss.detach()) < 0.3 * float((state - found.wanted).square().mean())
    for log in (found.linen_log, found.nnx_log):
        assert np.mean(log.losses[-5:]) < 0.2 * np.mean(log.losses[:5])
    angle, speed = found.final  # a pendulum by Diffrax keeps its energy
    np.testing.assert_allclose(speed**2 / 2 - np.cos(angle), -np.cos(1.0), atol=1e-3)
    # Where the measured number is nearly linear in the logarithm, the posterior is about the viscosity measured with.
    assert abs(np.mean(found.samples) / 0.013 - 1) < 0.3 and np.std(found.samples) > 0

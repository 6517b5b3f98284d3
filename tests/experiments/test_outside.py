"""Experiments of other packages, and networks that the package ships."""

import json
import re
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.cli import main
from diffphys.experiments import EXPERIMENTS, wake
from diffphys.nets import count_parameters
from diffphys.runs import checkpoint_metadata, save_checkpoint
from diffphys.view import find_runs


ROOT = Path(__file__).parents[2]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package that the page shows, as pip would have installed it, with two that do not fit."""
    page = (ROOT / "docs" / "own-experiment.md").read_text()
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "pendulum.py").write_text(page.split("```python\n")[1].split("```")[0])
    described = tmp_path / "my_package-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    named = page.split("```toml\n")[1].split("```")[0].replace('[project.entry-points."', "[").replace('"]', "]")
    wrong = (
        "broken = my_package.missing:PROGRAM\nodd = my_package.pendulum:Settings\nwake = my_package.pendulum:PROGRAM\n"
    )
    (described / "entry_points.txt").write_text(named.replace('"', "") + wrong)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(EXPERIMENTS.__dict__, "known", raising=False)
    yield
    EXPERIMENTS.__dict__.pop("known", None)


@pytest.mark.usefixtures("installed")
def test_an_experiment_of_another_package_is_listed_run_and_reported(capsys):
    assert main(["list"]) == 0
    assert re.search(r"pendulum +from my-package", said := capsys.readouterr().out)
    assert re.search(r"wake +2D cylinder wake", said)  # a name of ours stays ours
    assert main(["run", "pendulum", "--help"]) == 0
    assert "length of the pendulum" in capsys.readouterr().out
    assert main(["run", "pendulum", "--set", "rounds=3", "--set", "angle=0.1"]) == 0
    (directory,) = Path("runs").iterdir()
    metrics = json.loads((directory / "metrics.json").read_text())
    # Small swings have the frequency sqrt(g / length); the method of Euler and Cromer is of first order.
    expected = 0.1 * np.cos(np.sqrt(9.81) * np.arange(1, 4))
    np.testing.assert_allclose(metrics["angles"], expected, atol=0.1 * 0.05)
    swinging = find_runs("runs")[directory.name].curves()["swinging"]["angle"]
    np.testing.assert_allclose(swinging["angle"], metrics["angles"], rtol=1e-5)
    capsys.readouterr()
    assert main(["run", "pendulum", "--set", "rounds=3", "--set", "angle=0.1"]) == 0
    assert "is finished" in capsys.readouterr().out
    (directory / "figures" / "angle.png").unlink()
    assert main(["report", str(directory)]) == 0 and (directory / "figures" / "angle.png").exists()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    "name, said", [("broken", "my-package cannot be imported"), ("odd", "Program"), ("pendulun", '"pendulum"')]
)
def test_an_experiment_that_does_not_fit_is_one_sentence(name, said, capsys):
    assert main(["run", name]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["wake", "wake-3d", "buoyancy"])
def test_the_shipped_network_is_ready_and_its_card_says_what_it_is(name):
    hybrid: Any = dp.pretrained(name)
    card = dp.model_card(name)
    assert f"{count_parameters(hybrid.network):,} parameters" in card
    assert isinstance(hybrid, dp.Corrected)
    for heading in ("Data", "Training", "Measured", "Limits", "License"):
        assert f"## {heading}\n" in card
    # The numbers of the card are those of the page of results.
    measured = card.split("## Measured")[1].split("## Limits")[0]
    page = (ROOT / "docs" / "results" / f"{name}.md").read_text()
    assert all(number in page for number in re.findall(r"0\.\d{4}", measured))
    state = hybrid.solver.initial_state()
    if name == "buoyancy":
        state = hybrid.solver.initial_state(scalars={"smoke": jnp.zeros((32, 32)).at[12:20, 5:12].set(1.0)})
    correction = jax.jit(lambda state: hybrid.correction(hybrid.fields(state)))(state)
    # Around a cylinder that the stream has only just met, and at the edge of smoke, there is something to correct, and
    # less than the stream and the smoke.
    assert 1e-4 < float(jnp.max(jnp.abs(correction))) < 1.0


def test_a_network_that_is_not_shipped_is_refused_with_the_nearest_name():
    for ask in (dp.pretrained, dp.model_card):
        with pytest.raises(dp.InputError, match='did you mean "wake"'):
            ask("wakes")


def test_the_network_of_a_run_takes_the_place_of_the_shipped_one(tmp_path):
    shipped: Any = dp.pretrained("wake")
    changed = jax.tree.map(lambda leaf: leaf + 0.25, eqx.filter(shipped.network, eqx.is_inexact_array))
    network = eqx.combine(changed, shipped.network)
    path = tmp_path / "network-unrolled.checkpoint"
    weights = wake.wake_study(wake.Settings()).shipped
    assert weights is not None
    save_checkpoint(
        path, (network, shipped.normalization), kind="wake: network-unrolled", metadata=checkpoint_metadata(weights)
    )
    found: Any = dp.pretrained("wake", path)
    assert eqx.tree_equal(found.network, network) and eqx.tree_equal(found.solver, shipped.solver)
    with pytest.raises(dp.InputError, match='"nowhere"'):
        dp.pretrained("wake", "nowhere")

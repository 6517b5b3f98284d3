"""Networks that the package ships, each ready in its solver and with a card that says what it is good for."""

from pathlib import Path

from diffphys.errors import InputError
from diffphys.experiments import buoyancy, wake, wake_3d
from diffphys.learning import Corrected
from diffphys.learning.study.training import load_network
from diffphys.runs import nearest


STUDIES = {
    "wake": lambda: wake.wake_study(wake.Settings()),
    "wake-3d": lambda: wake_3d.wake_study(wake_3d.Settings()),
    "buoyancy": lambda: buoyancy.buoyancy_study(buoyancy.Settings(bounded=True)),
}


def pretrained(name: str, weights: str | Path = "shipped") -> Corrected:
    """A solver with a trained network, ready to be used as any other step.

        hybrid = dp.pretrained("wake")
        hybrid = dp.learning.with_parameters(hybrid, {"viscosity": 0.01})
        final, frames = dp.rollout(hybrid, hybrid.solver.initial_state(), 500, save_every=10)

    `dp.model_card(name)` says on which data it was trained and how well it does, its limits and its license.

    Args:
        name: "wake", the flow behind a cylinder on 32 x 64 cells, "wake-3d", that with a span on 16 x 32 x 16, or
            "buoyancy", smoke that rises in a box of 32 x 32.
        weights: The network of a run of one's own in the place of the shipped one: the file
            "checkpoints/network-ARM.checkpoint" of its directory. The run's flow is the default one.

    Raises:
        InputError: for another name, or a file that holds no network of this experiment.

    Examples:
        >>> hybrid = dp.pretrained("wake")
        >>> hybrid.solver.grid.cells
        (32, 64)
    """
    _check(name)
    study = STUDIES[name]()
    return study.corrected(*load_network(study, str(weights)))


def model_card(name: str) -> str:
    """What a pretrained network is, in Markdown: data, training, measured errors, limits, license.

    Raises:
        InputError: for a name that `pretrained` does not know.

    Examples:
        >>> dp.model_card("wake").splitlines()[0]
        '# Model card: wake'
    """
    _check(name)
    return (Path(__file__).parent / "weights" / f"{name}.md").read_text(encoding="utf-8")


def _check(name: object) -> None:
    if name not in STUDIES:
        raise InputError(f"pretrained: there is no network {name!r}{nearest(str(name), STUDIES)}")

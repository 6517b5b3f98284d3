"""The settings that every study has."""

from dataclasses import dataclass
from typing import Any

from diffphys.errors import InputError
from diffphys.runs import setting


ARMS = ("none", "supervised", "least-squares", "one-step", "noise", "pushforward", "detached", "unrolled")
USUAL_ARMS = ("supervised", "one-step", "detached", "unrolled")
"""What most papers compare."""
PUSHED = 2  # steps of the pushforward, as published
PLAIN_ADAM = {"decay": 1.0, "rate_warmup": 0, "beta2": 0.999, "averaging": 0.0}
"""Adam at one rate, as most papers train: settings of presets."""


def stages(*rows: tuple[int, int, float]) -> dict[str, Any]:
    """The curriculum as settings of a preset: for each stage the unrolled steps, the updates, and the largest rate."""
    return dict(zip(("unroll", "updates", "learning_rates"), zip(*rows, strict=True), strict=True))


def named(settings: Any, *names: str) -> dict[str, Any]:
    """The settings of these names."""
    return {name: getattr(settings, name) for name in names}


@dataclass(frozen=True)
class StudySettings:
    """How long the data are, which arms are trained, and how. A study adds what its systems need."""

    arms: tuple[str, ...] = setting(
        ("unrolled",),
        help="what is trained: supervised (on corrections computed before), least-squares (on corrections fitted while "
        "source and reference run beside each other), one-step (no gradient crosses the solver), noise (one step from "
        "frames with noise), pushforward (two steps, no gradient from one to the other), detached (unrolled, no "
        "gradient from step to step), unrolled (gradients through all steps); none for the source solver alone",
        choices=ARMS,
        distinct=True,
    )
    warmup: int = setting(1000, help="steps of the reference before its first frame", minimum=1)
    train_frames: int = setting(500, help="frames of each training case", minimum=2)
    frames: int = setting(499, help="frames of each test case that follow the first", minimum=1)
    window: int = setting(
        0, help="steps through which gradients pass in the arm unrolled, the sub-range; 0 for all", minimum=0
    )
    noise: float = setting(
        0.03, help="standard deviation of the noise of the arm noise, in units of each field's scale", minimum=0.0
    )
    features: int = setting(32, help="channels of the network's layers", minimum=1)
    unroll: tuple[int, ...] = setting((1, 4, 8, 16, 32), help="the curriculum: unrolled steps in each stage", minimum=1)
    updates: tuple[int, ...] = setting((1000, 2000, 1500, 900, 600), help="updates in each stage", minimum=1)
    learning_rates: tuple[float, ...] = setting(
        (4e-3, 4e-3, 2e-3, 1e-3, 5e-4), help="Adam's largest rate in each stage", above=0.0
    )
    decay: float = setting(0.1, help="the rate at the end of a stage over its largest", above=0.0, maximum=1.0)
    rate_warmup: int = setting(50, help="updates over which the rate rises at the beginning of each stage", minimum=0)
    beta2: float = setting(0.99, help="Adam's decay of the mean squares of the gradient", above=0.0, maximum=0.9999)
    averaging: float = setting(
        0.97, help="decay of the moving average of the weights that is kept", minimum=0.0, maximum=0.9999
    )
    batch: int = setting(3, help="windows per update", minimum=1)
    weights: str = setting("", help='instead of training: "shipped", or the file of a network that a run has trained')
    data: str = setting(
        "",
        help="a directory of reference data that runs share; default: the run's own",
        changes_results=False,
    )
    checkpoint_seconds: float = setting(20.0, help="seconds between checkpoints", minimum=0.0, changes_results=False)

    def __post_init__(self):
        """Refuse what one setting alone cannot tell."""
        lengths = {name: len(getattr(self, name)) for name in ("unroll", "updates", "learning_rates")}
        if len(set(lengths.values())) > 1:
            raise InputError(
                f"unroll, updates and learning_rates have {list(lengths.values())} entries; one each for every stage "
                "is accepted."
            )
        if not self.weights and max(self.unroll) >= self.train_frames:
            raise InputError(
                f"unroll is {max(self.unroll)} but a training case has {self.train_frames} frames (train_frames); "
                "fewer steps than frames are accepted."
            )
        if self.window > max(self.unroll):
            raise InputError(
                f"window is {self.window} but the longest unroll is {max(self.unroll)}; at most that is accepted."
            )

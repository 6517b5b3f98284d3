"""What a study compares."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.grids import Field, Grid
from diffphys.learning.corrected import Corrected, Normalization
from diffphys.learning.losses import mean_absolute_error
from diffphys.learning.recovery import Recovery


Frame = dict[str, Array]


def _no_parameters(label: float) -> dict[str, Any]:
    return {}


def _no_numbers(solver: Any) -> Sequence[Array]:
    return ()


@dataclass(frozen=True)
class Variant:
    """An arm that differs from the others in more than its gradient: its size, its loss, its seed.

    Attributes:
        study: The study in which it is trained.
        settings: The settings with which it is.
        arm: How, the name of one of the arms that all studies have.
        seed: What is added to the run's for its network and the drawing of windows: 0, or from 1 on for further
            networks of the same arm.
    """

    study: "Study"
    settings: Any
    arm: str = "unrolled"
    seed: int = 0


@dataclass(frozen=True)
class Fit:
    """How corrections are fitted to the reference: see `least_squares`.

    Attributes:
        fine: From a state of the reference to the fields that are corrected, on the reference's own grid: the first of
            the study's names, the velocity before scalars. The others are what the source makes of them.
        weight: beta, of the change from step to step.
        divergence_free: Whether the corrections of the velocity have no divergence.
        project: From the reference and fields on its grid to those fields without divergence; None for no projection.
        margin: Cells of the source beside bounded ends whose faces do not count.
        closed: Whether nothing crosses the bounded ends: corrections of the faces there are zero.
    """

    fine: Callable[[Any], tuple[Field, ...]]
    weight: float
    divergence_free: bool = False
    project: Callable[[Any, tuple[Field, ...]], tuple[Field, ...]] | None = None
    margin: int = 2
    closed: bool = False


@dataclass(frozen=True)
class Study:
    """A source system that a network corrects so that it follows a better reference.

    A case is a number, its label: a Reynolds number, or the seed of a random forcing. Each case is one trajectory of
    the reference, whose states are transferred to frames of the source: mappings from names to arrays.

    Attributes:
        name: Of the experiment; networks and shared data say it.
        case: What a label is, in a word that names files and metrics.
        train_cases: Labels of the cases that are trained on.
        test_cases: Labels of the cases that are tested on.
        reference: The better step.
        source: The step that is corrected.
        grid: The source's grid.
        begin: From the reference, with a case's parameters, to its first state.
        transfer: From a state of the reference to a frame.
        state: From a frame to a state of the source.
        names: Of what is compared and corrected, in a frame.
        fields: From a state of the source to the fields of these names.
        parameters: From a label to those numbers of both steps in which cases differ (`with_parameters`).
        conditioning: From the source to the numbers that the network is told.
        make_network: `make_network(key=key, **architecture)`, a network from arrays (fields and numbers, *cells) to
            (fields, *cells).
        architecture: What the network is, as a checkpoint says it: names to numbers and texts.
        identity: The settings that decide what the reference computes, for data that runs share.
        steps_per_frame: Steps of the reference for one of the source.
        interval: The time between frames. Where it is given, each frame has a number "time", which is not compared;
            the reference begins at time zero.
        metrics: From (prediction, target), mappings of arrays, to a number; the first is the one that arms are
            compared by.
        further_loss: From (prediction, target) to a number that is added to the loss of each unrolled frame, such as a
            difference of statistics; for the arms that are trained with the source.
        unrolled_loss: From (prediction, target), with a leading axis of the unrolled steps, to the loss of them all;
            for all arms, in the place of the other losses.
        loss_scales: What each field's error is divided by in the loss: "fields", its scale in the network's inputs, or
            "lacking", the root mean square of what the step without its network lacks of the next frame. The latter
            where fields are wrong by very different parts of themselves: after a step without chemistry the velocity
            is wrong by all of itself, the fuel by a hundredth.
        recovery: What training does about updates that diverge.
        diagnostics: From a state's fields to an array, of which the largest magnitude in any frame of the source is
            reported.
        times: Frames at which the first metric is told by itself, counted from 1.
        shown_every: Of the first test case every so many frames are kept for figures.
        couple: From a network and its normalization to the step that is trained: a `Corrected`, the default, or a
            `Forced`.
        fit: How corrections are fitted for the arm least-squares; None where the study has no such arm.
        variants: Arms of its own, by name, beside those of the settings.
        published: Arm to the published mean of the first metric; "source" is the source alone.
        shipped: The file of the weights that the package ships.
        advice: What to do where the reference does not stay finite.
        label: From a label to words for tables and figures.
        error: What the first metric is, in words.
    """

    name: str
    case: str
    train_cases: tuple[float, ...]
    test_cases: tuple[float, ...]
    reference: Any
    source: Any
    grid: Grid
    begin: Callable[[Any], Any]
    transfer: Callable[[Any], Frame]
    state: Callable[[Frame], Any]
    names: tuple[str, ...]
    fields: Callable[[Any], tuple[Field, ...]]
    make_network: Callable[..., Any]
    architecture: Mapping[str, Any]
    parameters: Callable[[float], dict[str, Any]] = _no_parameters
    conditioning: Callable[[Any], Sequence[Array]] = _no_numbers
    identity: Mapping[str, Any] = field(default_factory=dict)
    steps_per_frame: int = 1
    interval: float | None = None
    metrics: Mapping[str, Callable[[Frame, Frame], Array]] = field(default_factory=lambda: {"mae": mean_absolute_error})
    further_loss: Callable[[Frame, Frame], Array] | None = None
    unrolled_loss: Callable[[Frame, Frame], Array] | None = None
    loss_scales: Literal["fields", "lacking"] = "fields"
    recovery: Recovery | None = None
    times: tuple[int, ...] = ()
    shown_every: int = 1
    couple: Callable[[Any, Normalization], Any] | None = None
    fit: Fit | None = None
    variants: Mapping[str, "Variant"] = field(default_factory=dict)
    diagnostics: Mapping[str, Callable[[tuple[Field, ...]], Array]] = field(default_factory=dict)
    published: Mapping[str, float] = field(default_factory=dict)
    shipped: Path | None = None
    advice: str = "other settings may be accepted"
    label: Callable[[float], str] = "{:g}".format
    error: str = "mean absolute error"

    def observe(self, state: Any) -> Frame:
        """What is compared of a state of the source."""
        return {name: field.values for name, field in zip(self.names, self.fields(state), strict=True)}

    def moments(self, frames: int) -> np.ndarray:
        """The times of the frames that follow the first, counted from there; their numbers where nobody knows."""
        apart = self.interval or getattr(self.source, "dt", 1.0)
        return np.arange(1, frames + 1) * float(str(apart))  # 0.1, not what single precision makes of it

    def corrected(self, network: Any, normalization: Normalization) -> Any:
        """The source with a network."""
        if self.couple is not None:
            return self.couple(network, normalization)
        return Corrected(self.source, network, normalization, fields=self.fields, conditioning=self.conditioning)

    def trained(self, settings: Any) -> dict[str, Variant]:
        """What a run with these settings trains, by name: the arms that all studies have, and then its own variants;
        the former alone where weights from a file take the place of training.
        """
        arms = {arm: Variant(self, settings, arm) for arm in settings.arms if arm != "none"}
        return arms if settings.weights else arms | dict(self.variants)

    def parameters_of(self, labels: Sequence[float]) -> dict[str, Array]:
        """The parameters of several cases, with a leading axis."""
        cases = [jax.tree.map(jnp.asarray, self.parameters(label)) for label in labels]
        return jax.tree.map(lambda *values: jnp.stack(values), *cases)


def with_seeds(study: Study, settings: Any, seeds: int) -> Study:
    """The study with further networks for each arm and variant, as variants named by `names_of_seeds`.

    Args:
        study: The study.
        settings: With which its arms are trained.
        seeds: How many networks each arm has.
    """
    further = {
        other: dataclasses.replace(arm, seed=seed)
        for name, arm in study.trained(settings).items()
        for seed, other in enumerate(names_of_seeds(name, seeds))
        if seed
    }
    return dataclasses.replace(study, variants={**study.variants, **further})


def names_of_seeds(arm: str, seeds: int) -> list[str]:
    """The names of the networks of an arm, one for each seed."""
    return [arm, *(f"{arm}-seed-{seed}" for seed in range(1, seeds))]

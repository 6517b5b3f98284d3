r"""A mixing layer that grows downstream: a network's force, an inlet that it has not seen, and a long run.

Two streams enter a domain of 256 x 64 with 256 x 64 cells, with the published disturbances; a step is 0.4. Trained is
on five pairs of their amplitudes, tested on another. Compared is what lies before the sponge, where the network acts.
Afterwards the source and the unrolled arm go on for a long time, whose statistics at three stations are compared with
those of the reference; how far these are known themselves a bootstrap over blocks of time tells (Efron 1979).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.table import Table

from diffphys import plots
from diffphys.experiments.studies import Frames, study_program
from diffphys.experiments.turbulence import (
    TurbulenceSettings,
    TurbulentCase,
    beside_reference,
    report_turbulence,
    run_turbulence,
    turbulence_study,
    variations,
)
from diffphys.learning import with_parameters
from diffphys.learning.study import USUAL_ARMS, Study, load_cases, load_network, stages
from diffphys.learning.turbulence import Average, Moments, bootstrap_interval, momentum_thickness, with_statistics
from diffphys.physics import FlowState, IncompressibleFlow
from diffphys.runs import Run, setting
from diffphys.scenarios import spatial_mixing_layer
from diffphys.scenarios.turbulence import SPATIAL, SPONGE
from diffphys.stepping import rollout


STATIONS = (0.25, 0.5, 0.75)  # of the length of the domain
SUM = 0.1  # of the two amplitudes, in all cases

# List, Chen, Thuerey 2022, tables 5 and 7: unrolled over 60 steps, with gradients through 30, 10 and 20 of them.
PUBLISHED = {
    "source": {"mse_1000": 2.03e-2},
    "unrolled": {"mse_1000": 2.98e-3},
    "window-10": {"mse_1000": 2.44e-3},
    "window-20": {"mse_1000": 2.73e-3},
}


@dataclass(frozen=True)
class Settings(TurbulenceSettings):
    """Settings of the spatial mixing layer."""

    train_amplitudes: tuple[float, ...] = setting(
        (0.05, 0.075, 0.025, 0.04, 0.06),
        help="first amplitudes at the inlet; both add up to 0.1",
        minimum=0.0,
        maximum=SUM,
    )
    test_amplitudes: tuple[float, ...] = setting(
        (0.082,), help="those of the tests", minimum=0.0, maximum=SUM, distinct=True
    )
    long_run: int = setting(5000, help="steps of the long run, the second half of which is averaged", minimum=20)
    blocks: int = setting(10, help="blocks of time from which the reference's interval is found", minimum=2)


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "arms": ("unrolled",),
        "resolution": 96,
        "scale": 2,
        "warmup": 400,
        "train_amplitudes": (0.05, 0.025),
        "train_frames": 300,
        "frames": 300,
        "compared_at": (100, 300),
        "features": 4,
        **stages((1, 300, 4e-3), (8, 200, 2e-3)),
        "simulator": False,
        "smagorinsky": (0.05, 0.1),
        "long_run": 1000,
    },
    # The same flow, tested over the published 1000 steps and then for 5000, by training that looks twice as far ahead.
    "longer": {
        "arms": ("one-step", "unrolled"),
        "resolution": 96,
        "scale": 2,
        "warmup": 400,
        "train_amplitudes": (0.05, 0.025),
        "train_frames": 300,
        "frames": 1000,
        "features": 4,
        **stages((1, 500, 4e-3), (8, 500, 3e-3), (16, 250, 1.5e-3)),
        "simulator": False,
        "smagorinsky": (0.05, 0.1),
    },
    "book": {
        "arms": ("one-step", "detached", "unrolled"),
        "scale": 2,
        "warmup": 1400,
        "train_amplitudes": (0.05, 0.075, 0.025),
        "train_frames": 300,
        "frames": 1000,
        "features": 6,
        "bias": True,
        **stages((1, 400, 4e-3), (8, 400, 3e-3), (20, 120, 1.5e-3)),
    },
    "paper": {
        "arms": USUAL_ARMS,
        "scale": 8,
        "warmup": 11001,
        "train_frames": 4000,
        "frames": 1000,
        "features": 16,
        "finer": (2, 4),
        **stages((1, 20000, 1e-3), (10, 20000, 3e-4), (30, 20000, 1e-4), (60, 20000, 5e-5)),
        "window": 30,
    },
}


class Disturbed(eqx.Module):
    """A step with the amplitudes at the inlet as a case has them.

    Args:
        solver: A `spatial_mixing_layer`.
        amplitudes: Of the two disturbances.
    """

    solver: IncompressibleFlow
    amplitudes: Array = eqx.field(converter=jnp.asarray, default=(0.05, 0.05))

    def __call__(self, state: FlowState, *inputs: Any) -> FlowState:
        return self.flow(state, *inputs)

    @property
    def flow(self) -> IncompressibleFlow:
        """The flow of this case."""
        return eqx.tree_at(lambda flow: flow.sides[0][0].speed.amplitudes, self.solver, self.amplitudes)

    @property
    def dt(self) -> Array:
        """The solver's."""
        return self.solver.dt

    def courant_number(self, state: FlowState) -> Array:
        """The solver's."""
        return self.solver.courant_number(state)


def begin(system: Disturbed) -> FlowState:
    """The inlet's profile everywhere, as published."""
    flow = system.flow
    u, v = flow.initial_state().velocity
    profile = flow.sides[0][0].speed.profile  # pyright: ignore[reportAttributeAccessIssue] (an Inflow)
    return flow.initial_state([jnp.broadcast_to(profile, u.shape), jnp.zeros(v.shape)])


def case_of(settings: Settings) -> TurbulentCase:
    """The flow: where there are fewer cells than published, they have the published size."""
    size = (settings.resolution * 1.0, settings.resolution * SPATIAL[1] / SPATIAL[0])
    flow = partial(spatial_mixing_layer, size=size)
    before = round(SPONGE * settings.resolution)
    inner = spatial_mixing_layer(before, settings.dt, size=(before * 1.0, size[1]))
    return TurbulentCase(
        name="spatial-mixing-layer",
        flow=flow,
        begin=begin,
        padding=("edge", "edge"),
        published=PUBLISHED,
        size=size,
        wrap=Disturbed,
        parameters=lambda first: {"amplitudes": jnp.array([first, SUM - first])},
        case="amplitudes",
        train_cases=settings.train_amplitudes,
        test_cases=settings.test_amplitudes,
        inner=inner,
        label="amplitude {:g}".format,
    )


def run(case: TurbulentCase, settings: Settings, run: Run) -> None:
    """Generate the data, train each arm, test it and the baselines, follow the long runs, write metrics."""
    run_turbulence(case, settings, run)
    study, metrics = turbulence_study(case, settings), run.read_metrics()
    numbers = jax.tree.map(jnp.asarray, study.parameters(study.test_cases[0]))
    first = load_cases(study, settings, run, study.test_cases[:1], 1).case(0)[0]
    start = study.state(jax.tree.map(lambda leaf: leaf[0], first))
    steps = {"source": study.source}
    for arm in (arm for arm in ("one-step", "unrolled") if arm in settings.arms):
        path = settings.weights or str(run.checkpoint_path(f"network-{arm}"))
        steps[arm] = study.corrected(*load_network(study, path))

    system = with_parameters(study.reference, numbers)
    ready, _ = rollout(system, study.begin(system), settings.warmup)
    found = {
        "reference": _kept(run, "reference", lambda: followed(study, settings, system, ready, study.steps_per_frame))
    }
    for name, step in steps.items():
        run.leave_if_asked()
        adapted = with_parameters(step, numbers)
        found[name] = _kept(run, name, lambda adapted=adapted: followed(study, settings, adapted, start, 1))
    known = interval(found["reference"])
    long = {name: compared(one, found["reference"]) for name, one in found.items() if name != "reference"}
    run.write_metrics(metrics | {"long_run": long | {"interval_of_the_reference": known}})


# Statistics of long runs ----------------------------------------------------------------------------------------------


def followed(study: Study, settings: Settings, step: Any, start: FlowState, per_frame: int) -> dict[str, Any]:
    """The statistics of the second half of a long run at the stations, block by block (leading axis)."""
    places = [round(part * study.grid.cells[0]) for part in STATIONS]
    length = settings.long_run // 2 // settings.blocks

    def measure(state: FlowState) -> dict[str, Array]:
        """At the faces of the stations; v, which lives half a cell behind, as the mean of both neighbors."""
        frame = study.transfer(state) if per_frame > 1 else study.observe(state)
        u, v = (frame[name] for name in study.names)
        across = jnp.stack([(v[place - 1] + v[place]) / 2 for place in places])
        velocity = jnp.stack([jnp.stack([u[place] for place in places]), (across[:, 1:] + across[:, :-1]) / 2])
        wave = jnp.fft.rfft(velocity, axis=-1) / velocity.shape[-1]
        return {"velocity": velocity, "spectrum": jnp.sum(jnp.abs(wave) ** 2, axis=0) / 2}

    @eqx.filter_jit
    def follow(step: Any, start: FlowState) -> tuple[FlowState, dict[str, Any]]:
        settled, _ = rollout(step, start, per_frame * (settings.long_run // 2))
        like = jax.eval_shape(measure, settled)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
        empty = {"velocity": Moments.empty(zeros["velocity"]), "spectrum": Average.empty(zeros["spectrum"])}

        def block(state: FlowState, _: None) -> tuple[FlowState, dict[str, Any]]:
            (state, of_block), _ = rollout(with_statistics(step, measure), (state, empty), per_frame * length)
            return state, of_block

        return jax.lax.scan(block, settled, None, settings.blocks)

    return follow(step, start)[1]


def profiles_of(blocks: Mapping[str, Any], chosen: Sequence[int] | None = None) -> dict[str, np.ndarray]:
    """Mean velocity, Reynolds stresses and spectrum, (stations, points), of all blocks or of some, each as often as it
    is chosen.
    """
    indices = range(len(blocks["velocity"].count)) if chosen is None else chosen
    parts = [jax.tree.map(lambda leaf, index=index: np.asarray(leaf[index], float), dict(blocks)) for index in indices]
    whole = parts[0]["velocity"]
    for part in parts[1:]:
        whole = whole.merged(part["velocity"])
    stress = np.asarray(whole.covariance)
    spectrum = np.mean([part["spectrum"].mean for part in parts], axis=0)
    mean = np.asarray(whole.mean)
    return {"mean": mean[0], "uu": stress[0, 0], "uv": stress[0, 1], "vv": stress[1, 1], "spectrum": spectrum}


def compared(blocks: Mapping[str, Any], reference: Mapping[str, Any]) -> dict[str, list[float]]:
    """For each profile its relative distance to the reference's at each station."""
    one, other = profiles_of(blocks), profiles_of(reference)
    return {name: distance(one[name], other[name]) for name in one}


def interval(reference: Mapping[str, Any], samples: int = 200) -> dict[str, list[float]]:
    """Within which relative distance 95 of 100 profiles lie that are made of blocks drawn with replacement."""
    whole = profiles_of(reference)

    def apart(chosen: np.ndarray) -> list[list[float]]:
        drawn = profiles_of(reference, chosen.tolist())
        return [distance(drawn[name], whole[name]) for name in whole]

    found = bootstrap_interval(len(reference["velocity"].count), apart, samples=samples)
    return dict(zip(whole, found.tolist(), strict=True))


def distance(one: np.ndarray, other: np.ndarray) -> list[float]:
    """The relative L2 distance of profiles, station by station."""
    return (np.linalg.norm(one - other, axis=-1) / np.linalg.norm(other, axis=-1)).tolist()


def _kept(run: Run, name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `compute` gives, or what it gave before."""
    if not run.has_checkpoint(f"long-{name}"):
        found = jax.block_until_ready(compute())
        run.save_checkpoint(f"long-{name}", found, {"shapes": [list(leaf.shape) for leaf in jax.tree.leaves(found)]})
    return _loaded(run, name)


def _loaded(run: Run, name: str) -> dict[str, Any]:
    like = {"spectrum": Average(jnp.zeros(()), jnp.zeros(())), "velocity": Moments(*[jnp.zeros(())] * 3)}
    shapes = run.checkpoint_metadata(f"long-{name}")["shapes"]
    leaves = [jnp.zeros(shape) for shape in shapes]
    return run.load_checkpoint(f"long-{name}", jax.tree.unflatten(jax.tree.structure(like), leaves))


def report(case: TurbulentCase, run: Run, more: Callable[..., Sequence[plots.Panel]], title: str) -> Table:
    """Figures and a table from what is on disk."""
    settings = run.settings
    names = ["reference", "source", *(arm for arm in ("one-step", "unrolled") if arm in settings.arms)]
    found = {name: profiles_of(_loaded(run, name)) for name in names}
    grid = case.flow(settings.resolution, settings.dt).grid
    y = np.asarray(grid.centers()[1]).reshape(-1)
    panels = [
        plots.Panel(
            **beside_reference({name: (y, one[key][station]) for name, one in found.items()}),
            title=f"x = {STATIONS[station] * grid.size[0]:g}",
            x="y",
            y=label,
        )
        for key, label in (("mean", "mean velocity"), *((key, f"Reynolds stress {key}") for key in ("uu", "uv", "vv")))
        for station in range(len(STATIONS))
    ]
    run.save_figure("profiles.png", plots.panels_figure(panels, columns=len(STATIONS), height=2.4))
    waves = 2 * np.pi / grid.size[1] * np.arange(len(y) // 2 + 1)
    spectra = [
        plots.Panel(
            lines={name: (waves[1:-1], one["spectrum"][station][1:-1]) for name, one in found.items()},
            title=f"x = {STATIONS[station] * grid.size[0]:g}",
            x="wavenumber across",
            y="energy",
            logarithmic=True,
        )
        for station in range(len(STATIONS))
    ]
    run.save_figure("spectra.png", plots.panels_figure(spectra, columns=len(STATIONS), height=2.8))
    return report_turbulence(case, run, more, title)


def thickness(study: Study, shown: Mapping[str, Frames], times: Any) -> Sequence[plots.Panel]:
    """The momentum thickness of the mean over the frames shown, along the flow."""
    y = np.asarray(study.grid.centers()[1]).reshape(-1)
    x = np.asarray(study.grid.edges[0])
    means = {name: frames["velocity_x"].mean(axis=0) for name, frames in shown.items()}
    lines = {name: (x, np.asarray(momentum_thickness(jnp.asarray(one), y))) for name, one in means.items()}
    return [plots.Panel(**beside_reference(lines), x="x", y="momentum thickness")]


COMMON: dict[str, Any] = {
    "dt": 0.4,
    "resolution": 256,
    "loss": (50.0, 0.5, 2.0, 0.5),
    "compared_at": (100, 1000),
    "batch": 1,
}

PROGRAM = study_program(
    "spatial-mixing-layer",
    Settings,
    {name: COMMON | preset for name, preset in PRESETS.items()} | variations(COMMON | PRESETS["longer"], (4, 8)),
    case_of,
    thickness,
    "Spatial mixing layer: mean squared error",
    run=run,
    report=report,
)

"""Whether a corrected solver lasts: what physics asks of a long run, beside the reference.

Over thousands of steps the phase of the vortices drifts, and the difference of two frames says little. What is compared
are the Strouhal number, drag and lift, mean and fluctuating profiles, and spectra, each with what chance alone does to
the reference's: the run is cut into blocks, which are drawn anew (bootstrap).

All of it is measured on the source's grid, of the reference's frames as of the others. Drag and lift are what a step of
the source from the frame exerts on the cylinder.
"""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.table import Table

from diffphys import plots
from diffphys.experiments.solver_in_the_loop import frame_of, state_of
from diffphys.learning import with_parameters
from diffphys.learning.study import Study
from diffphys.learning.turbulence import (
    Moments,
    bootstrap_interval,
    frequency_by_phase,
    periodograms,
    with_statistics,
)
from diffphys.physics import FlowState
from diffphys.runs import Run
from diffphys.scenarios import CYLINDER
from diffphys.stepping import rollout


BLOCKS = 20
SHORTEST = 400  # steps: some four periods of the vortices
SEGMENTS = 19  # of the spectra, which overlap by half
BEHIND = (1.0, 2.5, 5.0)  # diameters from the center of the cylinder to the profiles
RECORDED = ("drag", "lift", "crosswise")
NUMBERS = ("strouhal", "drag", "lift", "mean", "fluctuation", "spectrum")


def run_lasting(study: Study, steps: int, warmup: int, scale: int, arms: Mapping[str, Any], run: Run) -> None:
    """Long runs of the reference, the source and the corrected source from the same state; adds to metrics.json.

    Args:
        study: That of the wake.
        steps: How many, a multiple of the blocks.
        warmup: Steps of the reference before.
        scale: How many times finer the reference is.
        arms: Corrected sources by name.
        run: Where checkpoints and metrics are.
    """
    found: dict[str, Any] = {}
    for label in study.test_cases:
        numbers = jax.tree.map(jnp.asarray, study.parameters(label))
        reference = with_parameters(study.reference, numbers)
        source = with_parameters(study.source, numbers)
        runs, first = {}, None
        for name, step in {"reference": reference, "source": source, **arms}.items():
            run.leave_if_asked()
            key = f"lasting-{name}-{label:.9g}"
            if not run.has_checkpoint(key):
                if first is None:
                    first, _ = eqx.filter_jit(rollout)(reference, study.begin(reference), warmup)
                fine = name == "reference"
                start = first if fine else state_of(source, frame_of(first, scale))
                record = recorded(with_parameters(step, numbers), start, source, steps, scale if fine else 1)
                tree = jax.tree.map(np.asarray, record)
                shapes = {part: [list(values.shape), str(values.dtype)] for part, values in tree.items()}
                run.save_checkpoint(key, tree, {"shapes": shapes})
            runs[name] = load_record(run, key)
        found[f"{label:g}"] = numbers_of(runs, float(np.asarray(source.dt)), diameter())
    run.write_metrics(run.read_metrics() | {"lasting": found})


def diameter() -> float:
    """Of the cylinder."""
    return 2 * float(np.asarray(CYLINDER.radius))


@eqx.filter_jit
def recorded(step: Any, start: FlowState, source: Any, steps: int, scale: int) -> dict[str, Array]:
    """What is kept of a long run: drag, lift and a crosswise velocity over time, and the first two moments of the
    velocity at the centers of the source's cells, in each of the blocks.
    """

    def on_grid(state: FlowState) -> FlowState:
        return state_of(source, frame_of(state, scale)) if scale > 1 else state

    def velocity(state: FlowState) -> Array:
        return jnp.stack([part.values for part in source.at_centers(on_grid(state)).velocity])

    def series(pair: tuple[FlowState, Any]) -> dict[str, Array]:
        state = on_grid(pair[0])
        lift, drag = source.forces_on_solid(source(state)).force
        u = source.at_centers(state).velocity[0].values
        column, row = probe(source)
        return {"drag": drag, "lift": lift, "crosswise": (u[column - 1, row] + u[column, row]) / 2}

    averaging = with_statistics(step, lambda state: {"velocity": velocity(state)})
    empty = {"velocity": Moments.empty(velocity(start))}

    def block(state: FlowState, _: None) -> tuple[FlowState, Any]:
        (state, found), over_time = rollout(averaging, (state, empty), steps // BLOCKS, save_every=1, save=series)
        moments = found["velocity"]
        variance = jnp.stack([moments.covariance[axis, axis] for axis in range(2)])
        return state, over_time | {"mean": moments.mean, "variance": variance}

    _, found = jax.lax.scan(block, start, None, length=BLOCKS)
    return {name: values.reshape(-1) if name in RECORDED else values for name, values in found.items()}


def probe(source: Any) -> tuple[int, int]:
    """The column above the axis, and the row of cells 2.5 diameters behind the center of the cylinder."""
    center = np.asarray(CYLINDER.center, float)
    place = (center + [0.0, 2.5 * diameter()]) / np.asarray(source.grid.spacing, float)
    return int(round(place[0])), int(place[1])


def load_record(run: Run, key: str) -> dict[str, np.ndarray]:
    """What `recorded` found."""
    shapes = run.checkpoint_metadata(key)["shapes"]
    return run.load_checkpoint(key, {name: np.zeros(shape, kind) for name, (shape, kind) in shapes.items()})


# ------------------------------------------------------------------------------------------- numbers and their errors


def numbers_of(runs: Mapping[str, Mapping[str, np.ndarray]], dt: float, length: float) -> dict[str, Any]:
    """For the reference and every other run its numbers, for the others their errors, and for the reference how large
    these become by chance.

    Strouhal number `f D` at a stream of speed one, mean drag and root mean square of the lift over that mean; errors of
    these three are relative. The others are norms of differences behind the cylinder, relative: of the mean velocity,
    to what the reference's differs from the stream; of the standard deviation, and of the spectrum of the crosswise
    velocity, to the reference's own.
    """
    reference = {name: np.asarray(values, np.float64) for name, values in runs["reference"].items()}
    whole = np.arange(BLOCKS)
    true = statistics(reference, whole, dt, length)
    found: dict[str, Any] = {"reference": {"strouhal": true["strouhal"], "drag": true["drag"], "lift": true["lift"]}}
    found["reference"]["interval"] = {
        name: bootstrap_interval(BLOCKS, lambda blocks, name=name: error(profiles(reference, blocks), true, name))
        for name in ("mean", "fluctuation")
    } | {
        name: bootstrap_interval(BLOCKS, lambda blocks, name=name: error(forces(reference, blocks), true, name))
        for name in ("drag", "lift")
    }
    _, densities = spectrum(reference, dt)
    found["reference"]["interval"]["spectrum"] = bootstrap_interval(
        SEGMENTS, lambda segments: error({"spectrum": densities[segments].mean(axis=0)}, true, "spectrum")
    )
    for name, record in runs.items():
        if name == "reference":
            continue
        values = {key: np.asarray(part, np.float64) for key, part in record.items()}
        if not all(np.isfinite(part).all() for part in values.values()):
            found[name] = {"errors": dict.fromkeys(NUMBERS)}
            continue
        own = statistics(values, whole, dt, length)
        found[name] = {key: own[key] for key in ("strouhal", "drag", "lift")}
        found[name]["errors"] = {key: error(own, true, key) for key in NUMBERS}
    return found


def statistics(record: Mapping[str, np.ndarray], blocks: np.ndarray, dt: float, length: float) -> dict[str, Any]:
    """All numbers of a run."""
    return {
        "strouhal": length * frequency_by_phase(record["crosswise"], dt),
        **forces(record, blocks),
        **profiles(record, blocks),
        "spectrum": spectrum(record, dt)[1].mean(axis=0),
    }


def forces(record: Mapping[str, np.ndarray], blocks: np.ndarray) -> dict[str, Any]:
    """Mean drag, and the root mean square of the lift about its mean, over blocks of a run."""
    drag, lift = (record[name].reshape(BLOCKS, -1)[blocks] for name in ("drag", "lift"))
    return {"drag": float(drag.mean()), "lift": float(lift.std())}


def profiles(record: Mapping[str, np.ndarray], blocks: np.ndarray) -> dict[str, np.ndarray]:
    """Mean velocity less the stream, and its standard deviation, behind the cylinder, over blocks of a run."""
    behind = behind_cylinder(record["mean"].shape[-1])
    means, variances = (record[name][blocks][..., behind] for name in ("mean", "variance"))
    mean = means.mean(axis=0)
    variance = variances.mean(axis=0) + ((means - mean) ** 2).mean(axis=0)
    return {"mean": mean - np.array([0.0, 1.0])[:, None, None], "fluctuation": np.sqrt(variance)}


def behind_cylinder(rows: int) -> slice:
    """The rows of cells behind the cylinder."""
    return slice(int(np.ceil(rows * (50.0 + diameter() / 2) / 200.0)), rows)


def spectrum(record: Mapping[str, np.ndarray], dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Of the crosswise velocity, of each of the segments."""
    return periodograms(record["crosswise"], SEGMENTS, dt)


def error(found: Mapping[str, Any], true: Mapping[str, Any], name: str) -> float:
    """How far a number or an array is from the true one, relative to the size of that."""
    apart = np.linalg.norm(np.ravel(np.asarray(found[name]) - np.asarray(true[name])))
    return float(apart / np.linalg.norm(np.ravel(np.asarray(true[name]))))


# -------------------------------------------------------------------------------------------------- figures and tables


def report_lasting(study: Study, run: Run) -> Table:
    """The figures of the first and last case, and the table of all errors."""
    found = run.read_metrics()["lasting"]
    names = [name for name in next(iter(found.values())) if name != "reference"]
    dt = float(np.asarray(study.source.dt))
    for label in {study.test_cases[0]: None, study.test_cases[-1]: None}:
        runs = {name: load_record(run, f"lasting-{name}-{label:.9g}") for name in ("reference", *names)}
        finite = {
            name: record for name, record in runs.items() if all(np.isfinite(part).all() for part in record.values())
        }
        figure = plots.panels_figure([*profile_panels(study, finite), spectrum_panel(finite, dt)])
        run.save_figure(f"lasting-{label:g}.png", figure)
    headings = ("Strouhal", "drag", "lift", "mean", "fluctuation", "spectrum")
    table = Table(title=f"{run.settings.lasting} steps: relative errors, beside what chance does to the reference")
    for heading in ("case", "run", "Strouhal number", *headings):
        table.add_column(heading, justify="left" if heading in ("case", "run") else "right")
    for label, case in found.items():
        chance = case["reference"]["interval"]
        cells = ["" if name not in chance else f"{100 * chance[name]:.1f} %" for name in NUMBERS]
        table.add_row(study.label(float(label)), "by chance", f"{case['reference']['strouhal']:.4f}", *cells)
        for name in names:
            errors = case[name]["errors"]
            cells = ["not finite" if errors[key] is None else f"{100 * errors[key]:.1f} %" for key in NUMBERS]
            known = case[name].get("strouhal")
            table.add_row("", name, "" if known is None else f"{known:.4f}", *cells)
    return table


def profile_panels(study: Study, runs: Mapping[str, Mapping[str, np.ndarray]]) -> list[plots.Panel]:
    """The streamwise mean and the crosswise fluctuation across the stream at some distances behind the cylinder."""
    x, y = (np.asarray(line).reshape(-1) for line in study.grid.centers())
    panels = []
    for distance in BEHIND:
        row = int(np.argmin(np.abs(y - 50.0 - distance * diameter())))
        lines: dict[str, dict[str, Any]] = {"mean": {}, "fluctuation": {}}
        for name, record in runs.items():
            means, variances = np.asarray(record["mean"])[..., row], np.asarray(record["variance"])[..., row]
            mean = means.mean(axis=0)
            lines["mean"][name] = (x, mean[1])
            lines["fluctuation"][name] = (x, np.sqrt((variances.mean(axis=0) + ((means - mean) ** 2).mean(axis=0))[0]))
        words = {"mean": "streamwise mean", "fluctuation": "crosswise deviation"}
        for kind, curves in lines.items():
            truth = {"reference": curves.pop("reference")}
            title = f"{distance:g} diameters behind"
            panels.append(plots.Panel(lines=curves, points=truth, title=title, x="x", y=words[kind]))
    return panels


def spectrum_panel(runs: Mapping[str, Mapping[str, np.ndarray]], dt: float) -> plots.Panel:
    """The spectrum of the crosswise velocity."""
    lines = {}
    for name, record in runs.items():
        frequencies, densities = spectrum(record, dt)
        lines[name] = (frequencies[1:] * diameter(), densities.mean(axis=0)[1:])
    return plots.Panel(
        lines=lines, title="2.5 diameters behind", x="frequency x diameter", y="spectrum", logarithmic=True
    )

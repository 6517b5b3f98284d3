"""A small experiment for tests of runs and the command line; as a script it is the command line with it listed."""

import sys
import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from diffphys.cli import main
from diffphys.experiments import EXPERIMENTS
from diffphys.runs import Entry, Program, Run, setting


@dataclass(frozen=True)
class Settings:
    updates: int = setting(100, help="how many updates", minimum=1)
    growth: float = setting(3.9, help="parameter of the logistic map", above=0.0, maximum=4.0)
    starts: tuple[float, ...] = setting((0.2, 0.7), help="where it starts", minimum=0.0, maximum=1.0)
    noise: str = setting("normal", help="kind of noise", choices=("normal", "uniform"))
    pause: float = setting(0.0, help="seconds to wait after each update", minimum=0.0, changes_results=False)
    save_every: float = setting(0.0, help="seconds between checkpoints", minimum=0.0, changes_results=False)


@jax.jit
def update(values, key, growth):
    """A chaotic map with noise: one bit lost on the way shows at the end."""
    key, now = jax.random.split(key)
    values = growth * values * (1.0 - values) + 1e-6 * jax.random.normal(now, values.shape)
    return jnp.clip(values, 0.0, 1.0), key


def run(settings: Settings, run: Run) -> None:
    state = (0, jnp.asarray(settings.starts), jax.random.key(run.seed))
    if run.has_checkpoint("state"):
        state = run.load_checkpoint("state", state)
    done, values, key = state
    with run.progress("updating", total=settings.updates, done=done) as advance:
        while done < settings.updates:
            values, key = update(values, key, settings.growth)
            done += 1
            time.sleep(settings.pause)
            advance()
            if run.checkpoint_due(settings.save_every):
                run.save_checkpoint("state", (done, values, key))
                run.leave_if_asked()
    run.save_checkpoint("state", (done, values, key))
    run.write_metrics({"mean": values.mean(), "final": values, "never": np.nan, "paper": {"mean": 0.5}})


def report(run: Run) -> None:
    run.save_figure("final.png", Picture(repr(run.read_metrics()["final"])))


@dataclass(frozen=True)
class Picture:
    """Stands in for a Matplotlib figure."""

    content: str

    def savefig(self, fname, **options):
        with open(fname, "w") as file:
            file.write(self.content)


PROGRAM = Program("dummy", Settings, {"demo": {}, "short": {"updates": 3}}, run, report)

if __name__ == "__main__":
    EXPERIMENTS.entries["dummy"] = Entry("__main__", "A map for the tests.")
    sys.exit(main())

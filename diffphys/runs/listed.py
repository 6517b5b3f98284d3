"""A line of `diffphys list`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Listed:
    """A line of `diffphys list`, and the module that holds what it names.

    The line holds what a list shows, so that listing imports nothing that it names (and with it JAX and the
    simulators).
    """

    module: str
    summary: str

"""What is prepared once, on the host, and used by every program that is traced later: bases, surfaces, hierarchies.

All of it follows from a grid, the kinds of sides and which cells are solid, and is kept by the grid: it goes when the
grid goes. A flow that is made anew, by `dataclasses.replace` or by a transformation that unflattens it, still has its
grid; arrays that the flow itself held would be lost each time, or be compared entry by entry.

JAX keeps what is static in a program, so a grid lives as long as the programs that were traced for it, each of which
holds copies of the prepared arrays anyway (`prepared_bytes()` of a pressure solver says how large they are;
`devices.with_matrices` makes arguments of them). When the last flow has been deleted, `jax.clear_caches()` frees both,
save what was compiled by `equinox.filter_jit`: JAX does not clear its table of donated arguments (JAX 0.10.2).

So what all grids keep together is bounded, too: what has not been asked for longest is forgotten first, and prepared
anew if it is asked for again. A cylinder in a channel of 64x32 cells takes 10 ms, of 256x128 0.4 s, less than to
compile the program that asks for it. What alone is larger than the bound is not kept.
"""

import dataclasses
import functools
import itertools
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import jax
import numpy as np


LARGEST_BYTES = 2**28
"""How much all grids keep together."""

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclasses.dataclass
class Kept:
    """A result, a tree of arrays of NumPy."""

    result: Any
    bytes: int
    asked: int


class Prepared:
    """What one grid keeps: results by the function and its arguments."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, Kept] = {}
        with _lock:
            _alive.add(self)

    def bytes(self) -> int:
        """How much is kept now."""
        with _lock:
            return sum(one.bytes for one in self._kept.values())

    def find(self, key: Hashable, prepare: Callable[[], Any]) -> Any:
        """What is kept by this key, or else is prepared now."""
        with _lock:
            if key in self._kept:
                self._kept[key].asked = next(_clock)
                return self._kept[key].result
        result = prepare()
        size = bytes_of(result)
        with _lock:
            if size <= LARGEST_BYTES:
                self._kept[key] = Kept(result, size, next(_clock))
            # What is small beside the bound goes with its grid, and is not worth a look at all of them.
            while size > LARGEST_BYTES / 4096 and kept_bytes() > LARGEST_BYTES:
                places = [(grid, key) for grid in _alive for key in grid._kept]
                grid, oldest = min(places, key=lambda place: place[0]._kept[place[1]].asked)
                del grid._kept[oldest]
        return result


_alive: weakref.WeakSet[Prepared] = weakref.WeakSet()
_clock = itertools.count()
_lock = threading.RLock()


def kept_bytes() -> int:
    """How much all grids keep together now."""
    with _lock:
        return sum(grid.bytes() for grid in _alive)


def prepared(function: Function) -> Function:
    """A pure function of hashable arguments, of which the first is or has a grid, which keeps the results."""

    @functools.wraps(function)
    def remembering(first: Any, *others: Hashable) -> Any:
        if hasattr(first, "grid"):
            grid, key = first.grid, (function, first, others)
        else:
            grid, key = first, (function, others)
        return grid.prepared.find(key, lambda: function(first, *others))

    return remembering  # pyright: ignore[reportReturnType] (it is called as the function is)


def bytes_of(tree: Any) -> int:
    """The size of the arrays in a tree, in bytes."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if isinstance(leaf, (np.ndarray, jax.Array)))

"""A run on disk: settings, checkpoints, metrics, figures, signals and progress; and the programs that make runs.

It knows no physics.
"""

from diffphys.progress import progress
from diffphys.runs.checkpoints import checkpoint_metadata, load_checkpoint, save_checkpoint
from diffphys.runs.files import replacing, storage_error, write_json
from diffphys.runs.memory import KEEP_FREED_MEMORY, keep_freed_memory, memory_error
from diffphys.runs.programs import Catalog, Entry, Program
from diffphys.runs.run import Figure, Run, RunDescription, read_description
from diffphys.runs.settings import make_settings, nearest, parse_overrides, setting
from diffphys.runs.signals import Interrupted, StopRequest, stop_on_signals
from diffphys.runs.tables import table_content, table_in_words, table_of, terminal_width
from diffphys.runs.threads import one_thread_for_linear_algebra
from diffphys.runs.turns import alternate


__all__ = [
    "KEEP_FREED_MEMORY",
    "Catalog",
    "Entry",
    "Figure",
    "Interrupted",
    "Program",
    "Run",
    "RunDescription",
    "StopRequest",
    "alternate",
    "checkpoint_metadata",
    "keep_freed_memory",
    "load_checkpoint",
    "make_settings",
    "memory_error",
    "nearest",
    "one_thread_for_linear_algebra",
    "parse_overrides",
    "progress",
    "read_description",
    "replacing",
    "save_checkpoint",
    "setting",
    "stop_on_signals",
    "storage_error",
    "table_content",
    "table_in_words",
    "table_of",
    "terminal_width",
    "write_json",
]

"""The one exception that tells a user of a mistake in what was given, and of a library that is not installed."""

import importlib
from types import ModuleType


class InputError(ValueError):
    """What was given cannot be used.

    The message is one sentence for the user: it names the argument, what was given and what is accepted.
    The command line prints it on one line and leaves with exit code 2. Everything in diffphys that refuses an
    argument, a setting or a file raises this (or a subclass), so that one `except` catches it.

    Examples:
        >>> dp.Grid((0,), (1.0,))
        Traceback (most recent call last):
            ...
        diffphys.errors.InputError: ...
    """


def optional(owner: str, module: str, extra: str) -> ModuleType:
    """Import a library that belongs to an extra of this package.

    Args:
        owner: Who asks for it.
        module: What is imported.
        extra: The extra that installs it.

    Raises:
        InputError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise InputError(
            f'{owner}: {name} is not installed ({error}); pip install "diffphys[{extra}]" brings it.'
        ) from error

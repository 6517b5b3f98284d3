"""The one exception that tells a user of a mistake in what was given."""


class InputError(ValueError):
    """What was given cannot be used.

    The message is one sentence for the user: it names the argument, what was given and what is accepted.
    The command line prints it on one line and leaves with exit code 2. Everything in diffphys that refuses
    an argument, a setting or a file raises this (or a subclass), so that one `except` catches it.
    """

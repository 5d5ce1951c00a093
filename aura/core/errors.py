"""The one exception a user is meant to read: what was expected, what it got, what to do next."""


class UserError(Exception):
    """A mistake in input, parameters or surroundings, worded for the person who can fix it.

    The message says what was expected, what aura got and what to do next. `aura.core.console.run` prints it
    without a traceback and ends the program with exit status 1.
    """

"""What the command line tells a person instead of a traceback."""


class CliError(Exception):
    """Something a person can put right: the message says what happened, to what, and what to do."""

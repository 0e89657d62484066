"""What can go wrong through no bug of ours, one class a kind.

Raised where the fact is known, caught once in `jobs.cli`, which prints the message as one line
and exits with `exit_code`. A message says what, where, which value, and what to do.
"""


class RayviewError(Exception):
    """Base of every error that is shown to the user without a traceback."""

    exit_code = 1


class UserError(RayviewError):
    """A mistake of the user's: exit code 2."""

    exit_code = 2


class SettingError(UserError):
    """A setting that does not exist, or a value that does not fit."""


class InputError(UserError):
    """An input that is missing, empty, unreadable, or in no known format."""


class MissingColumnError(InputError):
    """A column that the settings name, and that no line of a file has."""


class ModelError(UserError):
    """A model that cannot be had, or does not fit the data."""


class OutputError(UserError):
    """An output that exists, holds something else, or cannot be written."""


class ClusterError(UserError):
    """A Ray cluster that cannot be reached, or cannot run what was asked."""


class BrokenDeviceError(RayviewError):
    """A GPU on which every further call of this process fails, or whose memory does not hold a single row."""


class PromiseError(RayviewError):
    """The data broke a promise: exit code 3."""

    exit_code = 3


class ErrorBudgetError(PromiseError):
    """More lines were rejected than `input.max_rejected_frac` allows."""


class AccountingError(PromiseError):
    """Lines in and lines out do not balance."""

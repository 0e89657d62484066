"""Errors that are not bugs of rayview, one class per kind.

They are raised where the problem is detected and caught once, in `jobs.cli`, which prints the message as one
line and exits with `exit_code`. A message states the problem, the place, the value, and how to fix it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.scale import Scale


class RayviewError(Exception):
    """Base of every error that is shown to the user without a traceback."""

    exit_code = 1


class UserError(RayviewError):
    """A user error: exit code 2."""

    exit_code = 2


class SettingError(UserError):
    """An unknown setting, or an invalid value."""


class InputError(UserError):
    """An input that is missing, empty, unreadable, or of unknown format."""


class UnknownFormatError(InputError):
    """A file that is not a dump of reviews in a known format; `input.skip_unknown` leaves it out."""


class UnknownColumnsError(UnknownFormatError):
    """A file of records whose columns are not those of a known format, and are not named."""


class MissingColumnError(UnknownFormatError):
    """A column that the settings name but no line of a file has."""


class ScaleError(InputError):
    """A file whose ratings are on another scale than the settings say; `scale` is a pipeline.scale.Scale."""

    def __init__(self, message: str, scale: Scale | None = None) -> None:
        super().__init__(message)
        self.scale = scale

    def __reduce__(self) -> tuple[type[ScaleError], tuple[str, Scale | None]]:
        return type(self), (str(self), self.scale)


class ModelError(UserError):
    """A model that is not available, or does not match the data."""


class OutputError(UserError):
    """An output directory that holds something else, is in use, or cannot be written."""


class ClusterError(UserError):
    """A Ray cluster that cannot be reached, or cannot run the job."""


class BrokenDeviceError(RayviewError):
    """A GPU on which every further call of this process fails, or whose memory does not hold a single row."""


class PromiseError(RayviewError):
    """A guarantee about the data does not hold: exit code 3."""

    exit_code = 3


class NoRowsError(PromiseError):
    """Every line of the input was rejected or filtered out."""


class ErrorBudgetError(PromiseError):
    """More lines were rejected than `input.max_rejected_frac` allows."""


class AccountingError(PromiseError):
    """Lines read and lines written do not balance."""

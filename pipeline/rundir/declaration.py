"""What a stage declares about its output directory: which files it writes, and whether it resumes.

A stage declares it once, next to its other constants. The declaration is stored in run.json, so whatever
deletes files knows which files the run in a directory writes, without knowing any stage.
"""

from __future__ import annotations

import re

from pipeline.rundir.record import Record


class Declaration(Record):
    """Files that a stage writes besides run.json and manifest.json; no others are ever deleted.

    Patterns are regular expressions for a whole name, relative to the output directory.
    """

    files: tuple[str, ...] = ()
    """Patterns of its files."""
    provisional: tuple[str, ...] = ()
    """Patterns of more files, which count only if the manifest lists them: those that a killed attempt left
    are deleted when the run finishes."""
    first: tuple[str, ...] = ()
    """Names of files that state that other files are complete; deleted before those."""
    resumes: bool = False
    """Whether a run continues what an interrupted run wrote; otherwise that is deleted."""

    def common_with(self, stored: Declaration | None) -> Declaration:
        """The part of this declaration that a stored one agrees with; all of it if none is stored.

        Patterns are compared as text. One that only the stored declaration has, such as `.*` in a damaged or
        hostile run.json, is never applied. Earlier versions stored no declaration and wrote the same files.
        """
        if stored is None:
            return self
        known = {*stored.files, *stored.provisional}
        return Declaration(
            files=tuple(pattern for pattern in self.files if pattern in known),
            provisional=tuple(pattern for pattern in self.provisional if pattern in known),
            first=self.first,
            resumes=self.resumes and stored.resumes,
        )

    def includes(self, name: str) -> bool:
        """Whether the stage writes a file of this name."""
        return _matches(self.files, name) or self.is_provisional(name)

    def is_provisional(self, name: str) -> bool:
        """Whether a file of this name counts only if the manifest lists it."""
        return _matches(self.provisional, name)


def _matches(patterns: tuple[str, ...], name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)

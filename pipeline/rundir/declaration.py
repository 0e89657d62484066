"""Declaration of the files that a stage writes to its output directory, and whether the stage resumes.

Each stage has one declaration, next to its other constants. It is stored in run.json, so that code that
deletes files knows which files belong to a run without depending on any stage.
"""

from __future__ import annotations

import re

from pipeline.rundir.record import Record


class Declaration(Record):
    """Files that a stage writes besides run.json and manifest.json; no others are ever deleted.

    Patterns are regular expressions for a whole name, relative to the output directory.
    """

    files: tuple[str, ...] = ()
    """Patterns of the stage's files, including temporary ones."""
    provisional: tuple[str, ...] = ()
    """Patterns of files that count only if the manifest lists them; files left by killed attempts are deleted
    when the run finishes."""
    first: tuple[str, ...] = ()
    """Names of files that mark other files as complete; deleted before the others."""
    resumes: bool = False
    """Whether a run resumes from the files of an interrupted run; otherwise they are deleted."""

    def common_with(self, stored: Declaration | None) -> Declaration:
        """Intersection of this declaration with a stored one; all of it if none is stored.

        Patterns are compared as text, so a pattern that only the stored declaration has, such as `.*` in a
        damaged or hostile run.json, is never applied. Earlier versions stored no declaration and wrote the
        same files.
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

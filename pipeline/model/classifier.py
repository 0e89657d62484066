"""The classifier that a job scores with: one that jobs.train wrote, or a foreign one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.config import Config
from pipeline.model.card import ModelCard, fingerprint_model, is_own, read_card
from pipeline.model.foreign import UNMAPPED, foreign_card
from pipeline.model.hub import hub_revision, is_directory, resolve_model
from pipeline.storage.cache import local_copy
from pipeline.storage.location import Location, locate


@dataclass(frozen=True)
class Classifier:
    """A classifier, whose files are on this machine."""

    name: str
    """URI of its directory, or its name on the Hub."""
    directory: Location | None
    """The directory that the user named; None for a model of the Hub or of a package."""
    revision: str | None
    """Commit of a model on the Hub."""
    files: Path
    """Directory with its files on this machine."""
    card: ModelCard
    fingerprint: str

    @property
    def is_foreign(self) -> bool:
        """Whether jobs.train did not write it."""
        return self.card.scheme == UNMAPPED

    def __str__(self) -> str:
        """One line: `classifier: NAME, labels NEGATIVE, POSITIVE, at most 512 tokens`."""
        commit = "" if self.revision is None else f" at {self.revision[:8]}"
        labels = "a number" if self.card.problem == "regression" else f"labels {', '.join(self.card.labels)}"
        return f"classifier: {self.name}{commit}, {labels}, at most {self.card.max_length:,} tokens"


def find_classifier(name: str, config: Config, revision: str | None = None) -> Classifier:
    """The classifier with a name.

    Args:
        name: directory, URI or Hub name.
        config: how the texts for a foreign classifier are built, and its maximum length.
        revision: commit of a model on the Hub that an earlier job used; see `resolve_model`.
    Raises:
        ModelError: it cannot be found, or is no sequence classifier.
        InputError: the object store cannot be read.
    """
    where = locate(name)
    if is_own(where):
        files = local_copy(where)
        return Classifier(where.uri, where, None, files, read_card(where), fingerprint_model(where))
    files = resolve_model(name, revision)
    given = "max_length" in config.tokenize.model_fields_set
    card = foreign_card(
        name,
        files,
        max_length=config.tokenize.max_length if given else None,
        text_separator=config.input.text_separator,
        unescape_html=config.input.unescape_html,
    )
    return Classifier(
        where.uri if is_directory(name) else name,
        where if is_directory(name) else None,
        hub_revision(files),
        files,
        card,
        fingerprint_model(locate(files)),
    )

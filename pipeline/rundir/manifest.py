"""What a stage reads, writes and counts, kept beside its output.

Two files frame a directory. `run.json` is written first and fixes what the directory holds: inputs,
model, settings. `manifest.json` is written last, in one piece: a directory without one is unfinished.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline import __version__
from pipeline.config import Config, digest
from pipeline.errors import AccountingError, InputError, OutputError
from pipeline.storage.location import CONCURRENT_FILES, Location, fingerprint

RUN_FILE = "run.json"
MANIFEST_FILE = "manifest.json"

STAGES = ("prepare", "train", "score", "evaluate")

_RUN_KEYS = {"stage", "version", "inputs", "model_fingerprint", "settings", "resolved"}
"""What every run.json has held since the first."""

_PACKAGES = ("ray", "torch", "transformers", "tokenizers", "pyarrow", "numpy", "scikit-learn")


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class InputFile(_Record):
    """One file that a stage read."""

    path: str
    size_bytes: int
    fingerprint: str

    @classmethod
    def of(cls, file: Location) -> InputFile:
        """Describe a file as it is now."""
        return cls(path=file.uri, size_bytes=file.info().size, fingerprint=fingerprint(file))


def describe_files(files: Iterable[Location]) -> list[InputFile]:
    """Describe files as they are now, several at once: in a store each takes some round trips."""
    with ThreadPoolExecutor(CONCURRENT_FILES) as pool:
        return list(pool.map(InputFile.of, files))


class OutputFile(_Record):
    """One file that a stage wrote; `path` is relative to the stage's directory."""

    path: str
    rows: int | None = None
    bytes: int


class FileCounts(_Record):
    """What became of the lines of one file."""

    lines: int
    rows: int
    rejected: dict[str, int] = {}


class Counts(_Record):
    """The ledger of a stage: every line read was kept (or scored), or rejected for a reason."""

    lines: int
    rows: int
    rejected: dict[str, int] = {}
    splits: dict[str, int] = {}
    files: dict[str, FileCounts] = {}
    """The same for each file of the input, by its path."""

    def check(self, where: str) -> None:
        """Raise AccountingError unless `lines = rows + Σ rejected`, over all files and for each."""
        parts: dict[str, Counts | FileCounts] = {where: self, **self.files}
        for name, part in parts.items():
            if part.lines != part.rows + sum(part.rejected.values()):
                raise AccountingError(
                    f"{name}: {part.lines} lines in, but {part.rows} rows and"
                    f" {sum(part.rejected.values())} rejected lines out; the output is not to be trusted"
                )


class Run(_Record):
    """What a directory holds, fixed before its first row is written."""

    stage: str
    version: str = __version__
    inputs: list[InputFile] = []
    model_fingerprint: str | None = None
    settings: dict[str, Any] = {}
    """The settings that the output depends on; not those that only say where and how fast it runs."""
    resolved: dict[str, Any] = {}
    """Values that `settings` left open, chosen once and kept for a resume."""

    @property
    def key(self) -> str:
        """A short name for what scores a row: settings and model, whatever the input is."""
        return digest([self.settings, self.model_fingerprint])

    def differences(self, other: Run) -> list[str]:
        """One line for each thing in which two runs would give different output, `resolved` aside."""
        mine, theirs = _flat(self._identity()), _flat(other._identity())
        names = sorted(mine.keys() | theirs.keys())
        return [
            f"{n}: {mine.get(n)} there, {theirs.get(n)} now" for n in names if mine.get(n) != theirs.get(n)
        ]

    def common_with(self, later: Run) -> Run:
        """`later` without the inputs that come after those of this run; `later` itself if it lacks any."""
        count = len(self.inputs)
        if [f.path for f in later.inputs[:count]] != [f.path for f in self.inputs]:
            return later
        return later.model_copy(update={"inputs": later.inputs[:count]})

    def _identity(self) -> dict[str, Any]:
        # Parts are named after the file's number, so the same files in another order are another run.
        inputs = {f.path: f"file {number}, {f.fingerprint}" for number, f in enumerate(self.inputs)}
        return {"stage": self.stage, "inputs": inputs, "model": self.model_fingerprint, **self.settings}


class Manifest(_Record):
    """The record of a finished stage."""

    stage: str
    version: str = __version__
    config: dict[str, Any]
    config_digest: str
    inputs: list[InputFile]
    outputs: list[OutputFile]
    model_fingerprint: str | None = None
    counts: Counts | None = None
    seconds: float
    environment: dict[str, Any]
    details: dict[str, Any] = {}
    """What only one stage has to tell: label names, best epoch, rows per split …"""

    @classmethod
    def of(cls, run: Run, config: Config, start: float, **fields: Any) -> Manifest:
        """The manifest of a run that ends now.

        Args:
            start: time.monotonic() when it began.
            fields: outputs, counts, details, and what is not that of `run`.
        """
        settings = config.model_dump(mode="json")
        about = {"stage": run.stage, "inputs": run.inputs, "model_fingerprint": run.model_fingerprint}
        return cls(
            **about | fields,
            config=settings,
            config_digest=digest(settings),
            seconds=round(time.monotonic() - start, 3),
            environment=environment(),
        )


def read_run(directory: Location) -> Run:
    """The run.json of a directory; InputError where there is none, or it is damaged or not ours."""
    try:
        run = Run.model_validate_json(_read(directory, RUN_FILE))
    except ValidationError:
        run = None
    if run is None or run.stage not in STAGES or not run.model_fields_set >= _RUN_KEYS:
        raise InputError(f"{directory.child(RUN_FILE).uri}: damaged; it is not a run.json of rayview")
    return run


def read_manifest(directory: Location, stage: str) -> Manifest:
    """The manifest of a finished stage.

    Raises:
        InputError: the directory is missing, unfinished, damaged, or of another stage.
    """
    if not directory.exists():
        raise InputError(f"{directory.uri}: no such directory")
    if not directory.child(MANIFEST_FILE).exists() and directory.child(RUN_FILE).exists():
        raise InputError(
            f"{directory.uri}: unfinished {stage} (no manifest.json); give its command again first"
        )
    try:
        manifest = Manifest.model_validate_json(_read(directory, MANIFEST_FILE))
    except ValidationError:
        raise InputError(
            f"{directory.child(MANIFEST_FILE).uri}: damaged; not a manifest of rayview"
        ) from None
    if manifest.stage != stage:
        raise InputError(f"{directory.uri}: holds the output of jobs.{manifest.stage}, not of jobs.{stage}")
    return manifest


def write_manifest(output: Location, manifest: Manifest) -> None:
    """Write the manifest: the directory counts as finished from now on.

    Raises:
        AccountingError: the counts do not add up.
        OutputError: an output is not there with its size, as where another job deleted it.
    """
    if manifest.counts is not None:
        manifest.counts.check(output.uri)
    lack = lacking(output, manifest.outputs)
    if lack:
        raise OutputError(
            f"{output.uri}: {lack}, though it was written; see that nothing else works on this directory,"
            " and give the command again"
        )
    output.child(MANIFEST_FILE).write_bytes(to_json(manifest.model_dump(mode="json")))


def lacking(directory: Location, outputs: Iterable[OutputFile]) -> str | None:
    """The first output that is not in a directory with its size, and what of it; None if all are."""
    sizes = directory.sizes()
    for output in outputs:
        size = sizes.get(output.path)
        if size is None:
            return f"{output.path} is missing"
        if size != output.bytes:
            return f"{output.path} has {size:,} bytes, not {output.bytes:,}"
    return None


def environment() -> dict[str, Any]:
    """Versions of Python, platform and the packages that results depend on, and the git commit if any."""
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    here = Path(__file__).resolve().parent.parent
    try:
        out = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return out.stdout.strip()


def _read(directory: Location, name: str) -> bytes:
    file = directory.child(name)
    if not file.exists():
        raise InputError(f"{directory.uri}: no {name} there; it is not an output of rayview")
    return file.read_bytes()


def to_json(data: dict[str, Any]) -> bytes:
    """Plain data as run.json and manifest.json hold them."""
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat

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
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Generic

from pydantic import (
    BaseModel,
    ConfigDict,
    JsonValue,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from typing_extensions import TypeVar

from pipeline import __version__
from pipeline.config import Config, RecordedConfig, digest
from pipeline.errors import AccountingError, InputError, OutputError
from pipeline.storage.location import CONCURRENT_FILES, Location, fingerprint

RUN_FILE = "run.json"
MANIFEST_FILE = "manifest.json"

STAGES = ("prepare", "train", "score", "evaluate")

_RUN_KEYS = {"stage", "version", "inputs", "model_fingerprint", "settings", "resolved"}
"""What every run.json has held since the first."""

_PACKAGES = ("ray", "torch", "transformers", "tokenizers", "pyarrow", "numpy", "scikit-learn")


class Record(BaseModel):
    """Frozen data that is stored as JSON; keys that a later version added are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class OptionalFields(Record):
    """A record whose fields are not written where they were not set."""

    @model_serializer(mode="wrap")
    def _without_unset(self, serialize: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        return {name: value for name, value in serialize(self).items() if name in self.model_fields_set}


class Details(OptionalFields):
    """What the manifest of one stage records besides what all have; see `pipeline.details`."""

    stage: ClassVar[str]
    """Name of the stage."""


DetailsT = TypeVar("DetailsT", bound=Details)
# A frozen manifest of any stage can be passed where only what all have in common is read.
DetailsT_co = TypeVar("DetailsT_co", bound=Details, covariant=True, default=Details)


class InputFile(Record):
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


class OutputFile(Record):
    """One file that a stage wrote; `path` is relative to the stage's directory."""

    path: str
    rows: int | None = None
    bytes: int


class FileCounts(Record):
    """What became of the lines of one file."""

    lines: int
    rows: int
    rejected: dict[str, int] = {}


class Counts(Record):
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


class Environment(Record):
    """What results depend on besides the settings."""

    python: str = ""
    platform: str = ""
    packages: dict[str, str | None] = {}
    """Versions; None where a package is not installed."""
    git_commit: str | None = None


class Run(Record):
    """What a directory holds, fixed before its first row is written."""

    stage: str
    version: str = __version__
    inputs: list[InputFile] = []
    model_fingerprint: str | None = None
    settings: dict[str, JsonValue] = {}
    """The settings that the output depends on; not those that only say where and how fast it runs."""
    resolved: dict[str, JsonValue] = {}
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

    def _identity(self) -> dict[str, JsonValue]:
        # Parts are named after the file's number, so the same files in another order are another run.
        inputs: dict[str, JsonValue] = {
            f.path: f"file {number}, {f.fingerprint}" for number, f in enumerate(self.inputs)
        }
        return {"stage": self.stage, "inputs": inputs, "model": self.model_fingerprint, **self.settings}


class Manifest(Record, Generic[DetailsT_co]):
    """The record of a finished stage."""

    stage: str
    version: str = __version__
    config: RecordedConfig
    config_digest: str
    inputs: list[InputFile]
    outputs: list[OutputFile]
    model_fingerprint: str | None = None
    counts: Counts | None = None
    seconds: float
    environment: Environment
    details: SerializeAsAny[DetailsT_co]

    @staticmethod
    def of(
        run: Run,
        config: Config,
        start: float,
        details: DetailsT,
        *,
        outputs: list[OutputFile],
        counts: Counts | None = None,
        model_fingerprint: str | None = None,
    ) -> Manifest[DetailsT]:
        """The manifest of a run that ends now.

        Args:
            start: time.monotonic() when it began.
            model_fingerprint: by default that of `run`.
        """
        return Manifest(
            stage=run.stage,
            config=config,
            config_digest=config.digest(),
            inputs=run.inputs,
            outputs=outputs,
            model_fingerprint=model_fingerprint or run.model_fingerprint,
            counts=counts,
            seconds=round(time.monotonic() - start, 3),
            environment=environment(),
            details=details,
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


def read_manifest(directory: Location, details: type[DetailsT]) -> Manifest[DetailsT]:
    """The manifest of a finished stage, the one that `details` is of.

    Raises:
        InputError: the directory is missing, unfinished, damaged, of another stage, or of another version.
    """
    return _read_manifest(directory, details.stage, details)


def read_common_manifest(directory: Location, stage: str) -> Manifest:
    """The manifest of any finished stage, without what only that stage records.

    Raises:
        InputError: as `read_manifest`.
    """
    return _read_manifest(directory, stage, Details)


def _read_manifest(directory: Location, stage: str, details: type[DetailsT]) -> Manifest[DetailsT]:
    if not directory.exists():
        raise InputError(f"{directory.uri}: no such directory")
    if not directory.child(MANIFEST_FILE).exists() and directory.child(RUN_FILE).exists():
        raise InputError(f"{directory.uri}: unfinished {stage} (no {MANIFEST_FILE}); rerun its command first")
    data, file = _read(directory, MANIFEST_FILE), directory.child(MANIFEST_FILE)
    try:
        found = _Stage.model_validate_json(data).stage
    except ValidationError:
        raise InputError(f"{file.uri}: damaged; not a manifest of rayview") from None
    if found != stage:
        raise InputError(f"{directory.uri}: holds the output of jobs.{found}, not of jobs.{stage}")
    try:
        return Manifest[details].model_validate_json(data)  # type: ignore[valid-type]
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise InputError(
            f"{file.uri}: damaged, or of another version of rayview ({where}: {fault['msg']});"
            " use --overwrite to rebuild it"
        ) from None


class _Stage(Record):
    """What is read of a manifest first."""

    stage: str


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


def environment() -> Environment:
    """That of this process."""
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return Environment(
        python=platform.python_version(),
        platform=platform.platform(),
        packages=versions,
        git_commit=_git_commit(),
    )


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
        if not directory.exists():
            raise InputError(f"{directory.uri}: no such directory")
        raise InputError(f"{directory.uri}: no {name} there; it is not an output of rayview")
    return file.read_bytes()


def to_json(data: Mapping[str, JsonValue]) -> bytes:
    """Plain data as run.json and manifest.json hold them."""
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def _flat(data: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    flat: dict[str, JsonValue] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat

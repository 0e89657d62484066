"""run.json and manifest.json, which describe an output directory.

run.json is written first and fixes inputs, model and settings. manifest.json is written last and atomically:
a directory without it is unfinished.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, ClassVar, Generic

from pydantic import Field, JsonValue, SerializeAsAny, StringConstraints, ValidationError
from typing_extensions import TypeVar

from pipeline import __version__
from pipeline.config import Config, RecordedConfig, digest
from pipeline.errors import AccountingError, InputError, OutputError
from pipeline.rundir.declaration import Declaration
from pipeline.rundir.environment import Environment, environment
from pipeline.rundir.record import OptionalFields, Record
from pipeline.storage.location import CONCURRENT_FILES, Location, fingerprint

RUN_FILE = "run.json"
MANIFEST_FILE = "manifest.json"

_RUN_KEYS = {"stage", "version", "inputs", "model_fingerprint", "settings", "resolved"}
"""Keys of every run.json since the first version."""


class Details(OptionalFields):
    """Fields of a manifest that are specific to one stage; see `pipeline.details`."""

    stage: ClassVar[str]
    """Name of the stage."""


DetailsT = TypeVar("DetailsT", bound=Details)
# Covariant: a frozen manifest of any stage can be passed to code that reads only the common fields.
DetailsT_co = TypeVar("DetailsT_co", bound=Details, covariant=True, default=Details)


class InputFile(Record):
    """One file that a stage read."""

    path: str
    size_bytes: int
    fingerprint: str

    @classmethod
    def of(cls, file: Location) -> InputFile:
        """Description of the current content of a file."""
        return cls(path=file.uri, size_bytes=file.info().size, fingerprint=fingerprint(file))


def describe_files(files: Iterable[Location]) -> list[InputFile]:
    """Descriptions of files; concurrent, because a store needs several round trips for each."""
    with ThreadPoolExecutor(CONCURRENT_FILES) as pool:
        return list(pool.map(InputFile.of, files))


class OutputFile(Record):
    """One file that a stage wrote; `path` is relative to the stage's directory."""

    path: str
    rows: int | None = None
    bytes: int


class FileCounts(Record):
    """Account of the lines of one file."""

    lines: int
    rows: int
    rejected: dict[str, int] = Field(default_factory=dict)
    physical_lines: int | None = None
    """Lines of a CSV file, with headers: as `wc -l` counts them, and one more if the last has no line end.
    For other files, the same as `lines`. None in a manifest of an earlier version."""


class Counts(Record):
    """Account of a stage: every line read was kept (or scored), or rejected for a reason."""

    lines: int
    rows: int
    rejected: dict[str, int] = Field(default_factory=dict)
    splits: dict[str, int] = Field(default_factory=dict)
    files: dict[str, FileCounts] = Field(default_factory=dict)
    """Account of each input file, by its path."""
    physical_lines: int | None = None
    """Sum over the files."""
    error_lines: int | None = None
    """Physical lines of records rejected for an error by the end of the first pass, which the error budget
    compares with `physical_lines`."""

    def check(self, where: str) -> None:
        """Raise AccountingError unless `lines = rows + Σ rejected`, over all files and for each."""
        parts: dict[str, Counts | FileCounts] = {where: self, **self.files}
        for name, part in parts.items():
            if part.lines != part.rows + sum(part.rejected.values()):
                raise AccountingError(
                    f"{name}: {part.lines} lines in, but {part.rows} rows and"
                    f" {sum(part.rejected.values())} rejected lines out; do not use the output"
                )


class Run(Record):
    """Content of run.json, fixed before the first row is written."""

    stage: Annotated[str, StringConstraints(pattern=r"^[a-z]+$")]
    version: str = __version__
    inputs: list[InputFile] = Field(default_factory=list)
    model_fingerprint: str | None = None
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    """Settings that the output depends on, without those that only affect where and how fast the job runs."""
    resolved: dict[str, JsonValue] = Field(default_factory=dict)
    """Values that the settings leave open, chosen once and kept on resume."""
    declaration: Declaration | None = None
    """Files that the stage writes; None in a run.json of an earlier version."""

    @property
    def key(self) -> str:
        """Fingerprint of everything that determines the score of a row: settings and model."""
        return digest([self.settings, self.model_fingerprint])

    def differences(self, other: Run) -> list[str]:
        """One line for each value that makes the output of another run differ."""
        mine, theirs = _flat(self._identity()), _flat(other._identity())
        names = sorted(mine.keys() | theirs.keys())
        return [
            f"{name}: the existing run has {_shown(mine.get(name))}, this run has {_shown(theirs.get(name))}"
            for name in names
            if mine.get(name) != theirs.get(name)
        ]

    def common_with(self, later: Run) -> Run:
        """`later` with only the inputs of this run, or unchanged if it does not begin with them."""
        count = len(self.inputs)
        if [f.path for f in later.inputs[:count]] != [f.path for f in self.inputs]:
            return later
        return later.model_copy(update={"inputs": later.inputs[:count]})

    def _identity(self) -> dict[str, JsonValue]:
        # Parts are named after the number of the input file, so a different order is a different run.
        inputs: dict[str, JsonValue] = {
            f.path: f"file {number}, {f.fingerprint}" for number, f in enumerate(self.inputs)
        }
        return {"stage": self.stage, "inputs": inputs, "model": self.model_fingerprint, **self.settings}


class Manifest(Record, Generic[DetailsT_co]):
    """Content of manifest.json, the record of a finished stage."""

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
        """Manifest of a run that ends now.

        Args:
            start: time.monotonic() at the start of the run.
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
    """The run.json of a directory; raises InputError if it is missing, damaged or from another program."""
    try:
        run = Run.model_validate_json(_read(directory, RUN_FILE))
    except ValidationError:
        run = None
    if run is None or not run.model_fields_set >= _RUN_KEYS:
        raise InputError(f"{directory.child(RUN_FILE).uri}: damaged; it is not a run.json of rayview")
    return run


def read_manifest(directory: Location, details: type[DetailsT]) -> Manifest[DetailsT]:
    """Manifest of a finished stage, with its details.

    Args:
        details: class of the details, which determines the stage.
    Raises:
        InputError: the directory is missing, unfinished, damaged, or from another stage or version.
    """
    return _read_manifest(directory, details.stage, details)


def read_common_manifest(directory: Location, stage: str) -> Manifest:
    """Manifest of any finished stage, without its details.

    Raises:
        InputError: as for `read_manifest`.
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
            f"{file.uri}: damaged, or from another version of rayview ({where}: {fault['msg']});"
            " use --overwrite to rebuild it"
        ) from None


class _Stage(Record):
    """Field of a manifest that is read before all others."""

    stage: str


def write_manifest(output: Location, manifest: Manifest) -> None:
    """Write the manifest, which marks the directory as finished.

    Raises:
        AccountingError: the counts do not balance.
        OutputError: an output is missing or has another size, for example because another job deleted it.
    """
    if manifest.counts is not None:
        manifest.counts.check(output.uri)
    fault = find_incomplete(output, manifest.outputs)
    if fault:
        raise OutputError(
            f"{output.uri}: {fault}, although this job wrote it; make sure that nothing else uses this"
            " directory, and rerun the command"
        )
    output.child(MANIFEST_FILE).write_bytes(to_json(manifest.model_dump(mode="json")))


def find_incomplete(directory: Location, outputs: Iterable[OutputFile]) -> str | None:
    """Description of the first output that is missing or has another size; None if all are complete."""
    sizes = directory.sizes()
    for output in outputs:
        size = sizes.get(output.path)
        if size is None:
            return f"{output.path} is missing"
        if size != output.bytes:
            return f"{output.path} has {size:,} bytes, not {output.bytes:,}"
    return None


def _read(directory: Location, name: str) -> bytes:
    file = directory.child(name)
    if not file.exists():
        if not directory.exists():
            raise InputError(f"{directory.uri}: no such directory")
        raise InputError(f"{directory.uri}: contains no {name}; it is not an output of rayview")
    return file.read_bytes()


def to_json(data: Mapping[str, JsonValue]) -> bytes:
    """Plain data as JSON in the format of run.json and manifest.json."""
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def _shown(value: JsonValue) -> str:
    return "none" if value is None else str(value)


def _flat(data: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    flat: dict[str, JsonValue] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat

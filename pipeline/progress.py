"""Progress of a job: a bar with rows/s and time left on a terminal, otherwise a line every 10 s."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.humanize import counted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

LINE_EVERY_S = 10.0


class Meter:
    """Progress of one piece of work."""

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.what = what
        self.rows = 0
        self.done_frac = 0.0
        self.note = ""
        self._clock = clock
        self._start = clock()
        self._first: tuple[float, int, float] | None = None

    def update(self, rows: int, done_frac: float, note: str = "") -> None:
        """Set the total number of completed rows, the fraction of completed work, and a note."""
        if rows and self._first is None:
            # Rates are measured from the first rows, because startup of processes is not work on rows.
            self._first = (self._clock(), rows, done_frac)
        self.rows, self.done_frac, self.note = rows, min(1.0, done_frac), note

    @property
    def elapsed_s(self) -> float:
        """Seconds since the work began."""
        return self._clock() - self._start

    def rate(self) -> float | None:
        """Rows per second since the first rows; None while unknown."""
        if self._first is None or self.rows <= self._first[1]:
            return None
        return (self.rows - self._first[1]) / max(1e-9, self._clock() - self._first[0])

    def left_s(self) -> float | None:
        """Seconds until the end at the current pace; None while unknown."""
        if self._first is None or self.done_frac <= self._first[2]:
            return None
        pace = (self.done_frac - self._first[2]) / max(1e-9, self._clock() - self._first[0])
        return (1 - self.done_frac) / pace

    def line(self) -> str:
        """One line: rows, percentage, rows/s, time left; before the first rows, the note."""
        parts = [counted(self.rows, "row"), f"{self.done_frac:.0%}"]
        rate, left = self.rate(), self.left_s()
        if rate is not None:
            parts.append(f"{rate:,.0f} rows/s")
        if left is not None:
            parts.append(f"{format_s(left)} left")
        if self.note:
            parts.append(self.note)
        if not self.rows:
            return f"{self.what}: {self.note or 'starting'} ({format_s(self.elapsed_s)})"
        return f"{self.what}: {', '.join(parts)}"


class Reporter:
    """Printer of the messages and the progress of a job."""

    def __init__(self, console: Console | None = None, every_s: float = LINE_EVERY_S) -> None:
        # Workers import this module, too, but need no console.
        from rich.console import Console

        self.console = console or Console(stderr=True, quiet=True)
        self._every_s = every_s
        self._show: Callable[[], None] = _nothing

    def say(self, text: str) -> None:
        """Print one line of plain text."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def meter(self, what: str) -> Iterator[Meter]:
        """Show a meter while the block runs; the block must call `refresh` often."""
        meter = Meter(what)
        if self.console.is_terminal:
            with self._bar(what) as (progress, task):
                self._show = lambda: progress.update(
                    task, completed=meter.done_frac, tail=meter.line().partition(": ")[2]
                )
                yield meter
                self._show()
        else:
            last = [time.monotonic()]

            def refresh() -> None:
                if time.monotonic() - last[0] >= self._every_s:
                    last[0] = time.monotonic()
                    self.say(meter.line())

            self._show = refresh
            yield meter
        self._show = _nothing

    def refresh(self) -> None:
        """Show the current state of the meter; on a stream, at most once per interval."""
        self._show()

    @contextmanager
    def _bar(self, what: str) -> Iterator[tuple[Progress, TaskID]]:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn(what),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[tail]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, transient=True) as progress:
            yield progress, progress.add_task(what, total=1.0, tail="")


def _nothing() -> None: ...


def format_s(seconds: float) -> str:
    """Seconds as 0:07, 12:30 or 3:05:00."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    tail = f"{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"
    return f"{hours}:{tail}" if hours else tail

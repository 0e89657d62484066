"""Progress of a job, measured with a simulated clock."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from pipeline.progress import Meter, Reporter, format_s


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_rate_and_time_left_count_from_the_first_rows(clock: Clock) -> None:
    meter = Meter("score", clock)
    meter.update(0, 0.0)
    clock.now += 60  # The minute before the first rows, for starting processes, does not count.
    meter.update(100, 0.1)
    assert meter.rate() is None
    assert meter.left_s() is None
    clock.now += 10
    meter.update(300, 0.3)
    assert meter.rate() == pytest.approx(20)
    assert meter.left_s() == pytest.approx(35)
    assert meter.elapsed_s == pytest.approx(70)
    assert meter.line() == "score: 300 rows, 30%, 20 rows/s, 0:35 left"


def test_meter_without_rows_shows_its_note(clock: Clock) -> None:
    meter = Meter("train", clock)
    clock.now += 75
    meter.update(0, 0.0)
    assert meter.line() == "train: starting (1:15)"
    meter.update(0, 0.0, "starting 2 workers")
    assert meter.line() == "train: starting 2 workers (1:15)"


def test_large_numbers_and_a_note_are_shown(clock: Clock) -> None:
    meter = Meter("prepare", clock)
    meter.update(1, 0.0)
    assert meter.line() == "prepare: 1 row, 0%"
    clock.now += 1
    meter.update(1_234_568, 0.5, "epoch 1")
    assert meter.line() == "prepare: 1,234,568 rows, 50%, 1,234,567 rows/s, 0:01 left, epoch 1"


def test_fraction_above_1_is_clipped(clock: Clock) -> None:
    meter = Meter("score", clock)
    meter.update(1, 0.1)
    clock.now += 5
    meter.update(2, 1.25)
    assert meter.done_frac == 1.0
    assert meter.left_s() == 0


def test_simultaneous_updates_do_not_divide_by_zero(clock: Clock) -> None:
    meter = Meter("score", clock)
    meter.update(1, 0.1)
    meter.update(2, 0.2)
    assert meter.rate() is not None
    assert meter.left_s() is not None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (750, "12:30"), (3599.7, "1:00:00"), (11_100, "3:05:00")],
)
def test_format_s(seconds: float, text: str) -> None:
    assert format_s(seconds) == text


def reporter(every_s: float, *, terminal: bool = False) -> tuple[Reporter, Callable[[], str]]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100)
    return Reporter(console, every_s=every_s), stream.getvalue


def test_without_a_terminal_a_line_is_printed_at_intervals() -> None:
    report, text = reporter(0.0)
    with report.meter("score") as meter:
        meter.update(5, 0.5)
        report.refresh()
        meter.update(9, 0.9)
        report.refresh()
    assert [line.partition(",")[0] for line in text().splitlines()] == ["score: 5 rows", "score: 9 rows"]


def test_no_line_is_printed_before_the_interval_ends() -> None:
    report, text = reporter(3600.0)
    with report.meter("score") as meter:
        for rows in range(100):
            meter.update(rows, 0.0)
            report.refresh()
    assert text() == ""


def test_no_line_is_printed_after_the_block() -> None:
    report, text = reporter(0.0)
    with report.meter("score") as meter:
        meter.update(5, 0.5)
    report.refresh()
    assert text() == ""


def test_terminal_shows_a_progress_bar() -> None:
    report, text = reporter(0.0, terminal=True)
    with report.meter("score") as meter:
        meter.update(5, 0.5)
        report.refresh()
    assert "score" in text()
    assert "5 rows, 50%" in text()


def test_say_prints_the_text_unchanged() -> None:
    report, text = reporter(0.0)
    sentence = f"{'/very/long/path' * 20} [bold]: 50% of [input.text]"
    report.say(sentence)
    assert text() == f"{sentence}\n"


def test_reporter_without_a_console_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    quiet = Reporter(every_s=0.0)
    quiet.say("hello")
    with quiet.meter("score") as meter:
        meter.update(1, 0.1)
        quiet.refresh()
    assert capfd.readouterr() == ("", "")

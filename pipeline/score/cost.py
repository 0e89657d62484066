"""What a scoring job cost: rates, waste, waiting, and the price of a million rows."""

from __future__ import annotations

import numpy as np

from pipeline.arrays import Float64Array
from pipeline.details import Bill, StepSeconds
from pipeline.ingest.ledger import Ledger
from pipeline.runtime.pools import Cluster, ScorePlan

_PEAK_BFLOAT16 = {
    "T4": 65e12,
    "V100": 125e12,
    "A10G": 70e12,
    "A100": 312e12,
    "L4": 121e12,
    "L40S": 362e12,
    "H100": 989e12,
    "H200": 989e12,
    "B200": 2250e12,
}
"""Dense 16-bit multiplications and additions a second, by Ray's name of the accelerator.
Source: NVIDIA's data sheets; half of what they state with sparsity."""


def make_bill(
    ledger: Ledger, cluster: Cluster, pools: ScorePlan, elapsed_s: float, per_device_hour: float | None
) -> Bill:
    """What the chunks that this job scored have cost.

    Args:
        elapsed_s: from the start of the dataset to its end, processes starting included.
        per_device_hour: price of a GPU, or of a machine where none is used.
    """
    done = [e for e in ledger.entries.values() if e.timings]
    rows = sum(e.rows for e in done)
    sums = {n: sum(e.counts.get(n, 0) for e in done) for n in _COUNTS}
    begun, ended = (np.array([e.timings[n] for e in done]) for n in ("scored_from_s", "scored_to_s"))
    scoring_s = float(ended.max() - begun.min()) if done else 0.0
    busy = {n: ledger.total_time(f"{n}_s") for n in ("encode", "score", "write")}
    scorers = pools.scorers
    scoring = scorers.size * scorers.threads
    members = {"encode": pools.encoders.size, "score": scoring, "write": pools.writers.size}
    devices = cluster.gpus_of(scorers) or float(len(cluster.nodes))
    device_hours = devices * elapsed_s / 3600
    known: dict[str, float] = {}
    peak = {_PEAK_BFLOAT16.get(name) for name in cluster.accelerators}
    if scorers.gpus and len(peak) == 1 and (flops := peak.pop()):
        known["peak_frac"] = _over(sums["flops"], scoring_s * devices * flops)
    if per_device_hour is not None:
        known["price_per_million_rows"] = 1e6 * _over(device_hours * per_device_hour, rows)
    return Bill(
        rows=rows,
        rows_per_s=_over(rows, scoring_s),
        tokens_per_s=_over(sums["tokens"], scoring_s),
        padding_frac=1 - _over(sums["scored_tokens"], sums["padded_tokens"]) if done else 0.0,
        repeated_rows=sums["repeated_rows"],
        repeated_tokens_frac=1 - _over(sums["scored_tokens"], sums["tokens"]) if done else 0.0,
        busy_s=StepSeconds(**busy),
        waited_s=StepSeconds(**{n: max(0.0, members[n] * scoring_s - busy[n]) for n in members}),
        most_waiting_chunks=_most_waiting(np.array([e.timings["encoded_s"] for e in done]), begun),
        halvings=int(ledger.total_time("halvings")),
        elapsed_s=elapsed_s,
        devices=devices,
        device_hours=device_hours,
        **known,
    )


def _most_waiting(since: Float64Array, until: Float64Array) -> int:
    """The most of N things that wait at once.

    Args:
        since, until: (N,) seconds.
    """
    changes = np.concatenate([np.ones(len(since), np.int64), -np.ones(len(until), np.int64)])
    order = np.argsort(np.concatenate([since, until]), kind="stable")
    return int(np.cumsum(changes[order]).max(initial=0))


_COUNTS = ("tokens", "scored_tokens", "padded_tokens", "repeated_rows", "flops")


def _over(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def describe_bill(bill: Bill) -> str:
    """A bill as one line of text."""
    waited = bill.waited_s.score
    parts = [
        f"{bill.rows_per_s:,.0f} rows/s",
        f"{bill.tokens_per_s:,.0f} tokens/s",
        f"padding {bill.padding_frac:.1%}",
        f"repeated texts {bill.repeated_tokens_frac:.1%}",
        f"the model waited {_over(waited, waited + bill.busy_s.score):.1%} of its time",
    ]
    if bill.peak_frac is not None:
        parts.append(f"{bill.peak_frac:.0%} of the device's peak")
    if bill.halvings:
        parts.append(f"{bill.halvings:,} batches halved for lack of memory")
    parts.append(f"{bill.device_hours:.3g} device-hours")
    if bill.price_per_million_rows is not None:
        parts.append(f"{bill.price_per_million_rows:.3g} a million rows")
    return ", ".join(parts)

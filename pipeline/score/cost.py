"""Cost of a scoring job: rates, waste, idle time, and the price per million rows."""

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
"""Dense 16-bit multiplications and additions per second, by Ray's name of the accelerator.
Source: NVIDIA's data sheets; half of the values that they state with sparsity."""

_COUNTS = ("tokens", "scored_tokens", "padded_tokens", "repeated_rows", "flops")
_STEPS = ("encode", "score", "write")


def make_bill(
    ledger: Ledger, cluster: Cluster, pools: ScorePlan, elapsed_s: float, per_device_hour: float | None
) -> Bill:
    """Cost of the chunks that this job scored.

    Args:
        elapsed_s: seconds from the start to the end of the dataset, including the startup of processes.
        per_device_hour: price of a GPU, or of a machine if no GPU is used.
    """
    done = [e for e in ledger.entries.values() if e.timings]
    rows = sum(e.rows for e in done)
    sums = {n: sum(e.counts.get(n, 0) for e in done) for n in _COUNTS}
    encoded, begun, ended = (
        np.array([e.timings[n] for e in done]) for n in ("encoded_s", "scored_from_s", "scored_to_s")
    )
    scoring_s = float(ended.max() - begun.min()) if done else 0.0
    busy = {n: ledger.total_time(f"{n}_s") for n in _STEPS}
    workers = _workers(pools)
    devices = cluster.gpus_of(pools.scorers) or float(len(cluster.nodes))
    device_hours = devices * elapsed_s / 3600
    price = None
    if per_device_hour is not None:
        price = 1e6 * _ratio(device_hours * per_device_hour, rows)
    return Bill(
        rows=rows,
        rows_per_s=_ratio(rows, scoring_s),
        tokens_per_s=_ratio(sums["tokens"], scoring_s),
        padding_frac=1 - _ratio(sums["scored_tokens"], sums["padded_tokens"]) if done else 0.0,
        repeated_rows=sums["repeated_rows"],
        repeated_tokens_frac=1 - _ratio(sums["scored_tokens"], sums["tokens"]) if done else 0.0,
        busy_s=StepSeconds(**busy),
        waited_s=StepSeconds(**{n: max(0.0, workers[n] * scoring_s - busy[n]) for n in _STEPS}),
        most_waiting_chunks=_max_waiting(encoded, begun),
        halvings=int(ledger.total_time("halvings")),
        elapsed_s=elapsed_s,
        devices=devices,
        device_hours=device_hours,
        **_without_none(
            peak_frac=_peak_frac(cluster, pools, sums["flops"], scoring_s * devices),
            price_per_million_rows=price,
        ),
    )


def _workers(pools: ScorePlan) -> dict[str, int]:
    """Workers of each step that can be busy at the same time; each thread of a scoring actor counts."""
    score = pools.scorers.size * pools.scorers.threads
    return {"encode": pools.encoders.size, "score": score, "write": pools.writers.size}


def _peak_frac(cluster: Cluster, pools: ScorePlan, flops: float, device_s: float) -> float | None:
    """Share of the GPUs' peak rate that was used; None without GPUs, or if their peak is unknown."""
    peaks = {_PEAK_BFLOAT16.get(name) for name in cluster.accelerators}
    peak = peaks.pop() if pools.scorers.gpus and len(peaks) == 1 else None
    return None if peak is None else _ratio(flops, device_s * peak)


def _without_none(**figures: float | None) -> dict[str, float]:
    return {name: value for name, value in figures.items() if value is not None}


def _max_waiting(since: Float64Array, until: Float64Array) -> int:
    """Maximum number of N intervals that overlap at one time.

    Args:
        since, until: (N,) seconds.
    """
    changes = np.concatenate([np.ones(len(since), np.int64), -np.ones(len(until), np.int64)])
    order = np.argsort(np.concatenate([since, until]), kind="stable")
    return int(np.cumsum(changes[order]).max(initial=0))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def describe_bill(bill: Bill) -> str:
    """The bill as one line of text."""
    waited = bill.waited_s.score
    parts = [
        f"{bill.rows_per_s:,.0f} rows/s",
        f"{bill.tokens_per_s:,.0f} tokens/s",
        f"padding {bill.padding_frac:.1%}",
        f"repeated texts {bill.repeated_tokens_frac:.1%}",
        f"the model waited {_ratio(waited, waited + bill.busy_s.score):.1%} of its time",
    ]
    if bill.peak_frac is not None:
        parts.append(f"{bill.peak_frac:.0%} of the device's peak")
    if bill.halvings:
        parts.append(f"{bill.halvings:,} batches halved for lack of memory")
    parts.append(f"{bill.device_hours:.3g} device-hours")
    if bill.price_per_million_rows is not None:
        parts.append(f"{bill.price_per_million_rows:.3g} per million rows")
    return ", ".join(parts)

"""Scores a dump on a cluster of three nodes, two of which are repeatedly killed and replaced.

test_nodes.py runs it in a subprocess, because a process can be connected to one cluster only.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from pathlib import Path

from pipeline.progress import Reporter
from pipeline.rundir.manifest import MANIFEST_FILE
from pipeline.runtime import connect
from pipeline.score import stage
from pipeline.settings import load_config
from tests.chaos.job import TRACE, Traced
from tests.chaos.kills import size_of

MAX_STARTS = 6


def main(dump: str, model: str, output: str, seed: int, sets: list[str]) -> None:
    import ray
    from ray.cluster_utils import Cluster

    rng, trace = random.Random(seed), Path(os.environ[TRACE])
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    workers = [nodes.add_node(num_cpus=2) for _ in range(2)]
    config = load_config(None, [*sets, f"cluster.address={nodes.address}"])
    starts, kills, errors = 0, 0, list[str]()

    def score() -> None:
        nonlocal starts
        while not Path(output, MANIFEST_FILE).exists() and starts < MAX_STARTS:
            starts += 1
            try:
                plan = stage.plan([dump], model, output, config)
                stage.score(plan, cluster, Reporter(), predictor=Traced)
            except Exception as error:  # noqa: BLE001  A killed node may cause any exception.
                errors.append(f"{type(error).__name__}: {error}"[:300])

    # Ray lets only the main thread add nodes.
    job = threading.Thread(target=score, daemon=True)
    try:
        cluster = connect.connect(config.cluster)
        assert len(cluster.nodes) == 3
        job.start()
        while job.is_alive():
            job.join(rng.uniform(4, 10))
            if job.is_alive() and size_of(trace):
                nodes.remove_node(workers.pop(rng.randrange(len(workers))), allow_graceful=False)
                kills += 1
                workers.append(nodes.add_node(num_cpus=2))
    finally:
        ray.shutdown()
        nodes.shutdown()
    sys.stdout.write("\n" + json.dumps({"starts": starts, "kills": kills, "errors": errors}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]), sys.argv[5:])

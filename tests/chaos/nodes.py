"""Scores a dump on a cluster of three nodes, two of which are killed and replaced over and over.

Run by test_nodes.py in a process of its own, as a process can be in one cluster only.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from pathlib import Path
from typing import Any

from pipeline import resources
from pipeline.config import load_config
from pipeline.manifest import MANIFEST_FILE
from pipeline.progress import Reporter
from pipeline.score import stage
from tests.chaos.job import Traced

MOST_STARTS = 6


class Killer(threading.Thread):
    """Kills one of the nodes but the head every few seconds, and adds another."""

    def __init__(self, nodes: Any, workers: list[Any], seed: int) -> None:
        super().__init__(daemon=True)
        self.nodes, self.workers, self.dice = nodes, workers, random.Random(seed)
        self.kills, self.ended = 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(self.dice.uniform(2, 5)):
            node = self.workers.pop(self.dice.randrange(len(self.workers)))
            self.nodes.remove_node(node, allow_graceful=False)
            self.kills += 1
            self.workers.append(self.nodes.add_node(num_cpus=2))


def main(dump: str, model: str, output: str, seed: int, sets: list[str]) -> None:
    import ray
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    killer = Killer(nodes, [nodes.add_node(num_cpus=2) for _ in range(2)], seed)
    config = load_config(None, [*sets, f"cluster.address={nodes.address}"])
    starts, errors = 0, []
    try:
        cluster = resources.connect(config.cluster)
        assert len(cluster.nodes) == 3
        killer.start()
        while not Path(output, MANIFEST_FILE).exists() and starts < MOST_STARTS:
            starts += 1
            try:
                stage.score(stage.plan([dump], model, output, config), cluster, Reporter(), predictor=Traced)
            except Exception as error:  # noqa: BLE001  Whatever a killed node makes of the job.
                errors.append(f"{type(error).__name__}: {error}"[:300])
    finally:
        killer.ended.set()
        killer.join()
        ray.shutdown()
        nodes.shutdown()
    sys.stdout.write("\n" + json.dumps({"starts": starts, "kills": killer.kills, "errors": errors}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:4], int(sys.argv[4]), sys.argv[5:])

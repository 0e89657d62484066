"""Share out the CPUs and GPUs of a cluster so that no stage can starve another.

Ray runs a task only when the CPUs that it asks for are free, and says nothing while it waits. If the
actors of one step took every CPU, the step that feeds them would wait for ever. So all shares are
computed here, from one rule: the pools of a job together never ask for more than the cluster has, and
every pool gets at least one member. On small machines the shares are fractions of a CPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pipeline.config import TrainConfig
from pipeline.errors import SettingError
from pipeline.humanize import counted

_STEP = 1e-4
"""Ray counts CPUs and GPUs in ten-thousandths."""

_CALLS_A_GPU = 3
"""One chunk is on the GPU, one has its results taken from there, and one is made ready for it."""

_ACTORS_PER_DEVICE = 100
"""More of them on one CPU or GPU can only be a slip of the pen."""


@dataclass(frozen=True)
class Pool:
    """So many members, each with its logical share."""

    size: int
    cpus: float
    gpus: float = 0.0
    threads: int = 1
    """Threads that a member computes with; above its share where the other pools are mostly idle."""
    calls: int = 1
    """Chunks that a member has in hand at once."""

    @property
    def all_cpus(self) -> float:
        """CPUs that the whole pool reserves."""
        return self.size * self.cpus

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} GPU" if self.gpus else ""
        return f"{self.size} × {self.cpus:g} CPU{gpus}"


@dataclass(frozen=True)
class Node:
    """One machine of a cluster."""

    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True)
class Cluster:
    """What there is to share out."""

    nodes: tuple[Node, ...]
    accelerators: tuple[str, ...] = ()
    """Types of its GPUs in Ray's terms, as H100 or T4."""

    @property
    def cpus(self) -> float:
        """Logical CPUs of all nodes."""
        return sum(n.cpus for n in self.nodes)

    @property
    def gpus(self) -> float:
        """GPUs of all nodes."""
        return sum(n.gpus for n in self.nodes)

    def gpus_of(self, pool: Pool) -> float:
        """GPUs that a pool takes; members that share one count once."""
        return min(self.gpus, pool.size * pool.gpus)

    def __str__(self) -> str:
        parts = ((len(self.nodes), "node"), (self.cpus, "CPU"), (self.gpus, "GPU"))
        return ", ".join(counted(*part) for part in parts)


@dataclass(frozen=True)
class PreparePlan:
    """Pools of the prepare job."""

    readers: Pool
    encoders: Pool


@dataclass(frozen=True)
class ScorePlan:
    """Pools of the scoring job."""

    readers: Pool
    encoders: Pool
    scorers: Pool
    writers: Pool
    stay: bool = False
    """Whether encoders and writers are actors, with the next chunks at hand, and not tasks. A GPU takes a
    chunk in less time than Ray Data needs to start a task; beside CPUs that score, fewer processes are worth
    more. On several nodes actors could take the CPUs that the only GPU's actor needs, and keep them."""


def plan_prepare(cluster: Cluster, files: int) -> PreparePlan:
    """Share a cluster out between readers and encoders.

    A reader hands on about 100 times what an encoder takes, so an eighth of the CPUs is plenty.

    Args:
        files: input files, each read by one reader at a time.
    """
    readers = _fill(cluster.cpus / 8, most=files)
    encoders = _fill(cluster.cpus - readers.all_cpus, rounds_up=True)
    # Encoders stay to the end, so what they leave is all there is for a reader.
    room = _room(cluster, encoders, cluster.cpus - encoders.all_cpus)
    return PreparePlan(replace(readers, cpus=_share(min(readers.cpus, room))), encoders)


def _room(cluster: Cluster, actors: Pool, rest: float) -> float:
    """CPUs that are surely free on some node beside all actors of a pool, where they leave `rest` in all.

    Actors of less than a CPU may leave a little free on each node and a whole CPU on none. Some node has the
    mean or more, wherever they are, so what fits into the mean fits somewhere.
    """
    whole = len(cluster.nodes) == 1 or actors.cpus == 1
    return math.inf if whole else rest / len(cluster.nodes)


def plan_score(cluster: Cluster, files: int, num_actors: int | None = None) -> ScorePlan:
    """Share a cluster out between the actors that hold the model and all that keeps them fed.

    Without a GPU the model takes nearly all the time, so each CPU has an actor, though they reserve a little
    less: one CPU in 16, and at least one, or half of one, is for the rest.
    With GPUs an actor needs half a CPU to one, and every other CPU encodes.

    Args:
        files: input files.
        num_actors: actors that hold the model; None: one a GPU, or as many as the CPUs carry.
    Raises:
        SettingError: far more actors than there is for them.
    """
    scorers, rest = _plan_scorers(cluster, num_actors)
    room = _room(cluster, scorers, rest)
    readers = _fill(rest / 8, most=files, largest=room / 8)
    writers = _fill(rest / 8, largest=room / 8)
    encoders = _fill(rest - readers.all_cpus - writers.all_cpus, largest=room * 3 / 4)
    stay = bool(scorers.gpus) and len(cluster.nodes) == 1
    return ScorePlan(readers, encoders, scorers, writers, stay)


def _plan_scorers(cluster: Cluster, num_actors: int | None) -> tuple[Pool, float]:
    """The actors that hold the model, and the CPUs for all else."""
    cpus, devices = cluster.cpus, cluster.gpus or cluster.cpus
    if num_actors is not None and num_actors > _ACTORS_PER_DEVICE * devices:
        there = counted(devices, "GPU" if cluster.gpus else "CPU")
        raise SettingError(
            f"score.num_actors={num_actors}, but the cluster has {there}; at most"
            f" {_ACTORS_PER_DEVICE} actors share one"
        )
    if cluster.gpus:
        size = num_actors or max(1, math.floor(cluster.gpus))
        # An actor runs on one GPU: three on two GPUs get a half each, as two thirds would fit but twice.
        per_gpu = math.ceil(size / cluster.gpus)
        beside_gpu = min(n.cpus / n.gpus for n in cluster.nodes if n.gpus)
        cpus_each = _share(min(1.0, beside_gpu / 2 / per_gpu))
        scorers = Pool(size, cpus_each, _share(1 / per_gpu), calls=_CALLS_A_GPU)
        return scorers, cpus - scorers.all_cpus
    rest = cpus / 2 if cpus < 2 else math.ceil(cpus / 16)
    size = num_actors or max(1, math.floor(cpus))
    # Fewer actors than CPUs compute several chunks at once, each with one thread: threads that share a matrix
    # product change its last bits, and wait for each other whenever something else takes a core.
    threads = max(1, min(math.floor(cpus / size), math.floor(max(n.cpus for n in cluster.nodes))))
    share = _share(1 / math.ceil(size / (cpus - rest)))
    return Pool(size, share, threads=threads, calls=threads), rest


def plan_tasks(cluster: Cluster) -> Pool:
    """Tasks that run alone: those of evaluate, and of the second pass of prepare."""
    return _fill(cluster.cpus, rounds_up=True)


def plan_train(cluster: Cluster, config: TrainConfig) -> Pool:
    """Workers of the training job, and what each reserves.

    By default one a GPU, or one a node where there is none. Nothing else runs meanwhile, so the workers
    share all CPUs.

    Raises:
        SettingError: a GPU is asked for and there is none, there are more workers than GPUs, or
            `train.global_batch_rows` cannot be divided among the workers.
    """
    use_gpu = cluster.gpus > 0 if config.use_gpu is None else config.use_gpu
    if use_gpu and cluster.gpus < 1:
        raise SettingError(f"train.use_gpu=true, but the cluster has no GPU ({cluster})")
    size = config.num_workers or (math.floor(cluster.gpus) if use_gpu else len(cluster.nodes))
    if use_gpu and size > cluster.gpus:
        raise SettingError(f"train.num_workers={size}, but the cluster has {counted(cluster.gpus, 'GPU')}")
    if config.global_batch_rows % size:
        raise SettingError(
            f"train.global_batch_rows={config.global_batch_rows} is not divisible by"
            f" train.num_workers={size}; the workers must get equal parts"
        )
    cpus = _worker_cpus(cluster.nodes, size, use_gpu=use_gpu)
    return Pool(size, cpus, 1.0 if use_gpu else 0.0, threads=max(1, math.floor(cpus)))


def _worker_cpus(nodes: tuple[Node, ...], size: int, *, use_gpu: bool) -> float:
    """The largest share, whole or one part of a CPU, of which the nodes hold `size`."""
    most = max(math.floor(n.cpus) for n in nodes)
    for share in (*range(most, 0, -1), *(_share(1 / parts) for parts in range(2, size + 1))):
        held = (math.floor(n.cpus / share + 1e-9) for n in nodes)
        if use_gpu:
            held = (min(workers, math.floor(n.gpus)) for workers, n in zip(held, nodes, strict=True))
        if sum(held) >= size:
            return float(share)
    return _share(1 / size)


def _fill(
    budget: float, *, most: int | None = None, rounds_up: bool = False, largest: float = math.inf
) -> Pool:
    """The pool that uses a budget of CPUs: members of one CPU, or `largest`, each, or fewer, smaller ones."""
    largest = min(1.0, largest)
    whole = math.ceil(budget / largest) if rounds_up else math.floor(budget / largest)
    size = max(1, whole if most is None else min(most, whole))
    return Pool(size, _share(min(largest, budget / size)))


def _share(cpus: float) -> float:
    """A share that Ray can count, never rounded up: the sum must stay within the cluster."""
    return max(_STEP, math.floor(cpus / _STEP + 1e-6) * _STEP) if cpus < 1 else 1.0


def without_gpus(cluster: Cluster) -> Cluster:
    """The same machines, their GPUs left out of account."""
    return Cluster(tuple(Node(n.cpus) for n in cluster.nodes))

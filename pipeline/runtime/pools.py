"""Plans that divide the CPUs and GPUs of a cluster so that no step of a job can starve another.

Ray runs a task only when its requested CPUs are free, and waits silently until then. If the actors of one
step reserved every CPU, the step that feeds them would never run. So all shares are computed here, by one
rule: the pools of a job together request at most the resources of the cluster, and every pool has at least
one member. On small machines the shares are fractions of a CPU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from pipeline.config import TrainConfig
from pipeline.errors import SettingError
from pipeline.humanize import counted

_RESOURCE_UNIT = 1e-4
"""Ray counts CPUs and GPUs in ten-thousandths."""

_CALLS_PER_GPU = 3
"""One chunk is on the GPU, one is being prepared for it, and the results of one are being processed."""

_MAX_ACTORS_PER_DEVICE = 100
"""A larger number of actors per CPU or GPU is certainly a typo."""


@dataclass(frozen=True)
class Pool:
    """Tasks or actors of one kind, and the resources that each reserves."""

    size: int
    """Number of members."""
    cpus: float
    gpus: float = 0.0
    threads: int = 1
    """Compute threads of a member; more than its CPUs if the other pools are mostly idle."""
    calls: int = 1
    """Chunks that a member processes concurrently."""

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
    """The machines that a job runs on."""

    nodes: tuple[Node, ...]
    accelerators: tuple[str, ...] = ()
    """Types of the GPUs, by Ray's names, such as H100 or T4."""

    @property
    def cpus(self) -> float:
        """Logical CPUs of all nodes."""
        return sum(n.cpus for n in self.nodes)

    @property
    def gpus(self) -> float:
        """GPUs of all nodes."""
        return sum(n.gpus for n in self.nodes)

    def gpus_of(self, pool: Pool) -> float:
        """GPUs that a pool uses; a GPU shared by several members counts once."""
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
    """Whether encoders and writers are actors with queued chunks instead of tasks, because a GPU scores a
    chunk in less time than Ray Data needs to start a task. Without GPUs, fewer processes are better. On
    several nodes, actors could permanently reserve the CPUs that the actor of the only GPU needs."""


def plan_prepare(cluster: Cluster, files: int) -> PreparePlan:
    """Divide a cluster between readers and encoders.

    A reader is about 100 times as fast as an encoder, so an eighth of the CPUs is plenty.

    Args:
        files: input files, each read by one reader at a time.
    """
    readers = _fill(cluster.cpus / 8, max_size=files)
    encoders = _fill(cluster.cpus - readers.all_cpus, rounds_up=True)
    # Encoders run to the end, so readers can use only the CPUs that encoders leave free.
    room = _room(cluster, encoders, cluster.cpus - encoders.all_cpus)
    return PreparePlan(replace(readers, cpus=_share(min(readers.cpus, room))), encoders)


def _room(cluster: Cluster, actors: Pool, rest: float) -> float:
    """CPUs that are certainly free on at least one node if all actors of a pool run, leaving `rest` in total.

    Actors of less than one CPU may leave a fraction free on every node, but a whole CPU on none. Regardless
    of their placement, at least one node has the mean or more, so a request up to the mean fits.
    """
    whole = len(cluster.nodes) == 1 or actors.cpus == 1
    return math.inf if whole else rest / len(cluster.nodes)


def plan_score(cluster: Cluster, files: int, num_actors: int | None = None) -> ScorePlan:
    """Divide a cluster between the actors that hold the model and the steps that feed them.

    Without a GPU, the model takes nearly all the time, so there is one actor per CPU. Together they reserve
    slightly less than all CPUs: the other steps get a sixteenth of the CPUs, at least one, or half of a
    single CPU. With GPUs, an actor needs half a CPU to one CPU, and all other CPUs encode.

    Args:
        files: input files.
        num_actors: actors that hold the model; None: one per GPU, or else one per CPU.
    Raises:
        SettingError: far more actors are requested than there are CPUs or GPUs.
    """
    scorers, rest = _plan_scorers(cluster, num_actors)
    room = _room(cluster, scorers, rest)
    readers = _fill(rest / 8, max_size=files, max_cpus=room / 8)
    writers = _fill(rest / 8, max_cpus=room / 8)
    encoders = _fill(rest - readers.all_cpus - writers.all_cpus, max_cpus=room * 3 / 4)
    stay = bool(scorers.gpus) and len(cluster.nodes) == 1
    return ScorePlan(readers, encoders, scorers, writers, stay)


def _plan_scorers(cluster: Cluster, num_actors: int | None) -> tuple[Pool, float]:
    """Pool of the actors that hold the model, and the CPUs for the other steps."""
    cpus, devices = cluster.cpus, cluster.gpus or cluster.cpus
    if num_actors is not None and num_actors > _MAX_ACTORS_PER_DEVICE * devices:
        available = counted(devices, "GPU" if cluster.gpus else "CPU")
        raise SettingError(
            f"score.num_actors={num_actors}, but the cluster has {available}; at most"
            f" {_MAX_ACTORS_PER_DEVICE} actors share one"
        )
    if cluster.gpus:
        size = num_actors or max(1, math.floor(cluster.gpus))
        # An actor runs on one GPU. Three actors on two GPUs get half a GPU each; only two of two thirds fit.
        per_gpu = math.ceil(size / cluster.gpus)
        beside_gpu = min(n.cpus / n.gpus for n in cluster.nodes if n.gpus)
        cpus_each = _share(min(1.0, beside_gpu / 2 / per_gpu))
        scorers = Pool(size, cpus_each, _share(1 / per_gpu), calls=_CALLS_PER_GPU)
        return scorers, cpus - scorers.all_cpus
    rest = cpus / 2 if cpus < 2 else math.ceil(cpus / 16)
    size = num_actors or max(1, math.floor(cpus))
    # Fewer actors than CPUs compute several chunks at once, one thread each: threads that share a matrix
    # product change its last bits, and wait for each other when another process takes a core.
    threads = max(1, min(math.floor(cpus / size), math.floor(max(n.cpus for n in cluster.nodes))))
    share = _share(1 / math.ceil(size / (cpus - rest)))
    return Pool(size, share, threads=threads, calls=threads), rest


def plan_tasks(cluster: Cluster) -> Pool:
    """Pool of tasks that run while no other step does: evaluate, and the later passes of prepare."""
    return _fill(cluster.cpus, rounds_up=True)


def plan_train(cluster: Cluster, config: TrainConfig) -> Pool:
    """Workers of the training job.

    By default one per GPU, or one per node without GPUs. Nothing else runs during training, so the workers
    divide all CPUs.

    Raises:
        SettingError: a GPU is requested and there is none, or there are more workers than GPUs or than rows
            in a global batch.
    """
    use_gpu = cluster.gpus > 0 if config.use_gpu is None else config.use_gpu
    if use_gpu and cluster.gpus < 1:
        raise SettingError(f"train.use_gpu=true, but the cluster has no GPU ({cluster})")
    size = config.num_workers or (math.floor(cluster.gpus) if use_gpu else len(cluster.nodes))
    if use_gpu and size > cluster.gpus:
        raise SettingError(f"train.num_workers={size}, but the cluster has {counted(cluster.gpus, 'GPU')}")
    if size > config.global_batch_rows:
        raise SettingError(
            f"train.global_batch_rows={config.global_batch_rows} is less than one row per worker"
            f" ({size} workers); raise it, or lower train.num_workers"
        )
    cpus = _worker_cpus(cluster.nodes, size, use_gpu=use_gpu)
    return Pool(size, cpus, 1.0 if use_gpu else 0.0, threads=max(1, math.floor(cpus)))


def _worker_cpus(nodes: tuple[Node, ...], size: int, *, use_gpu: bool) -> float:
    """Largest number of CPUs per worker, or fraction of one, with which `size` workers fit on the nodes."""
    max_cpus = max(math.floor(n.cpus) for n in nodes)
    for share in (*range(max_cpus, 0, -1), *(_share(1 / parts) for parts in range(2, size + 1))):
        fitting = (math.floor(n.cpus / share + 1e-9) for n in nodes)
        if use_gpu:
            fitting = (min(workers, math.floor(n.gpus)) for workers, n in zip(fitting, nodes, strict=True))
        if sum(fitting) >= size:
            return float(share)
    return _share(1 / size)


def _fill(
    budget: float, *, max_size: int | None = None, rounds_up: bool = False, max_cpus: float = math.inf
) -> Pool:
    """Pool that uses a budget of CPUs.

    Args:
        max_size: maximum number of members.
        rounds_up: use all CPUs, if necessary with one more member and less than one CPU each.
        max_cpus: maximum CPUs per member; never more than one.
    """
    max_cpus = min(1.0, max_cpus)
    whole = math.ceil(budget / max_cpus) if rounds_up else math.floor(budget / max_cpus)
    size = max(1, whole if max_size is None else min(max_size, whole))
    return Pool(size, _share(min(max_cpus, budget / size)))


def _share(cpus: float) -> float:
    """The share in units that Ray can count; rounded down, because the sum must not exceed the cluster."""
    if cpus >= 1:
        return 1.0
    return max(_RESOURCE_UNIT, math.floor(cpus / _RESOURCE_UNIT + 1e-6) * _RESOURCE_UNIT)


def without_gpus(cluster: Cluster) -> Cluster:
    """The same machines without their GPUs."""
    return Cluster(tuple(Node(n.cpus) for n in cluster.nodes))

"""Plans of pools: no plan requests more than the cluster has, and no step can starve."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import ClusterConfig, TrainConfig
from pipeline.errors import ClusterError, SettingError
from pipeline.humanize import counted
from pipeline.runtime.connect import check_shared
from pipeline.runtime.pools import Cluster, Node, Pool, plan_prepare, plan_score, plan_tasks, plan_train
from pipeline.runtime.precision import choose_precision
from pipeline.storage.location import locate

one_node = st.builds(
    lambda cpus, gpus: Cluster((Node(float(cpus), float(gpus)),)), st.integers(1, 256), st.integers(0, 16)
)
several_nodes = st.lists(
    st.builds(lambda c, g: Node(float(c), float(g)), st.integers(1, 64), st.integers(0, 8)),
    min_size=2,
    max_size=6,
).map(lambda nodes: Cluster(tuple(nodes)))
clusters = st.one_of(one_node, several_nodes)
files = st.integers(1, 1000)


def check(pools: list[Pool], cluster: Cluster) -> None:
    assert sum(p.all_cpus for p in pools) <= cluster.cpus + 1e-9
    assert sum(p.size * p.gpus for p in pools) <= cluster.gpus + 1e-9
    for pool in pools:
        assert pool.size >= 1
        assert pool.cpus > 0
        assert pool.threads >= 1
        assert pool.cpus <= max(n.cpus for n in cluster.nodes)
        # Ray counts CPUs in units of 1/10,000.
        assert round(pool.cpus * 10_000, 6) == round(pool.cpus * 10_000)


def one_of_each_fits(pools: list[Pool], cluster: Cluster) -> bool:
    """Whether one member of each pool fits on the nodes at the same time, placed largest first."""
    free = [[n.cpus, n.gpus] for n in cluster.nodes]
    for pool in sorted(pools, key=lambda p: (-p.gpus, -p.cpus)):
        # The sum over the GPUs of a node suffices: fractions that share a GPU add up to one.
        room = (f for f in free if f[0] >= pool.cpus - 1e-9 and f[1] >= pool.gpus - 1e-9)
        node = next(room, None)
        if node is None:
            return False
        node[0] -= pool.cpus
        node[1] -= pool.gpus
    return True


@given(cluster=clusters, files=files)
def test_prepare_never_requests_more_than_the_cluster_has(cluster: Cluster, files: int) -> None:
    plan = plan_prepare(cluster, files)
    pools = [plan.readers, plan.encoders]
    check(pools, cluster)
    assert plan.readers.size <= files
    assert one_of_each_fits(pools, cluster)


@given(cluster=clusters, files=files, actors=st.one_of(st.none(), st.integers(1, 100)))
def test_score_never_requests_more_than_the_cluster_has(
    cluster: Cluster, files: int, actors: int | None
) -> None:
    plan = plan_score(cluster, files, actors)
    pools = [plan.readers, plan.encoders, plan.scorers, plan.writers]
    check(pools, cluster)
    assert one_of_each_fits(pools, cluster)
    if actors is not None:
        assert plan.scorers.size == actors
    assert bool(plan.scorers.gpus) == bool(cluster.gpus)
    assert plan.stay == (bool(cluster.gpus) and len(cluster.nodes) == 1)
    if plan.stay:
        # All pools run at the same time on the single node.
        assert sum(p.all_cpus for p in pools) <= cluster.cpus + 1e-9


@given(cpus=st.integers(1, 256), gpus=st.integers(0, 16), files=files)
def test_on_one_node_all_scorers_fit_with_one_member_of_each_other_pool(
    cpus: int, gpus: int, files: int
) -> None:
    cluster = Cluster((Node(float(cpus), float(gpus)),))
    plan = plan_score(cluster, files)
    others = [plan.readers, plan.encoders, plan.writers]
    assert plan.scorers.all_cpus + sum(p.cpus for p in others) <= cpus + 1e-9
    if gpus:
        assert plan.scorers.size == gpus


@given(cluster=clusters, workers=st.one_of(st.none(), st.integers(1, 32)))
def test_train_workers_fit_on_the_nodes(cluster: Cluster, workers: int | None) -> None:
    config = TrainConfig(num_workers=workers, global_batch_rows=32)
    if workers is not None and cluster.gpus and workers > cluster.gpus:
        available = counted(cluster.gpus, "GPU")
        with pytest.raises(SettingError, match=rf"num_workers={workers}.*has {available}$"):
            plan_train(cluster, config)
        return
    try:
        pool = plan_train(cluster, config)
    except SettingError:
        assert (workers or int(cluster.gpus or len(cluster.nodes))) > config.global_batch_rows
        return
    check([pool], cluster)
    free = [[n.cpus, n.gpus] for n in cluster.nodes]
    placed = 0
    for node in free:
        while node[0] >= pool.cpus - 1e-9 and node[1] >= pool.gpus and placed < pool.size:
            node[0] -= pool.cpus
            node[1] -= pool.gpus
            placed += 1
    assert placed == pool.size


def test_evaluate_uses_all_cpus() -> None:
    for cpus in (1.0, 2.0, 64.0):
        cluster = Cluster((Node(cpus),))
        pool = plan_tasks(cluster)
        check([pool], cluster)
        assert pool.size == cpus


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (TrainConfig(num_workers=33, global_batch_rows=32), "global_batch_rows=32 .*33 workers"),
        (TrainConfig(use_gpu=True), "use_gpu=true.*no GPU"),
    ],
)
def test_train_settings_that_do_not_fit_name_both_values(config: TrainConfig, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        plan_train(Cluster((Node(8.0),)), config)


def test_precision_is_native_bfloat16_or_float32() -> None:
    node = (Node(8.0, 1.0),)
    assert choose_precision(Cluster(node, ("H100",)), "auto") == "bfloat16"
    assert choose_precision(Cluster(node, ("T4",)), "auto") == "float32"
    assert choose_precision(Cluster(node, ("H100", "T4")), "auto") == "float32"
    assert choose_precision(Cluster(node, ("T4",)), "bfloat16") == "bfloat16"


def test_local_paths_on_several_nodes_must_be_shared() -> None:
    several, one = Cluster((Node(1.0), Node(1.0))), Cluster((Node(2.0),))
    local = locate("/data/out")
    check_shared([local], one, ClusterConfig())
    check_shared([local], several, ClusterConfig(storage_path="/data"))
    for config in (ClusterConfig(), ClusterConfig(storage_path="/dat")):
        with pytest.raises(ClusterError, match=r"/data/out: .*2 nodes.*cluster\.storage_path"):
            check_shared([local], several, config)


def place(free: list[list[float]], pool: Pool, how: str) -> bool:
    """Place a member of a pool; return whether a node had room. A node is [free CPUs, free GPU, …]."""

    def fits(node: list[float]) -> bool:
        return node[0] >= pool.cpus - 1e-9 and (not pool.gpus or max(node[1:], default=0) >= pool.gpus - 1e-9)

    nodes = sorted(
        filter(fits, free), key=lambda node: {"emptiest": -node[0], "fullest": node[0]}.get(how, 0)
    )
    if not nodes:
        return False
    nodes[0][0] -= pool.cpus
    if pool.gpus:
        # A member uses one GPU, or a fraction of one.
        gpu = next(i for i, left in enumerate(nodes[0]) if i and left >= pool.gpus - 1e-9)
        nodes[0][gpu] -= pool.gpus
    return True


@given(
    cluster=clusters,
    files=files,
    actors=st.one_of(st.none(), st.integers(1, 100)),
    how=st.sampled_from(["first", "emptiest", "fullest"]),
)
def test_other_steps_fit_for_any_placement_of_actors_and_readers(
    cluster: Cluster, files: int, actors: int | None, how: str
) -> None:
    plan = plan_score(cluster, files, actors)
    free = [[n.cpus, *[1.0] * int(n.gpus)] for n in cluster.nodes]
    # Actors run until the job ends, and a reader until its file ends: the other steps get the rest.
    assert all(place(free, plan.scorers, how) for _ in range(plan.scorers.size))
    assert all(place(free, plan.readers, how) for _ in range(plan.readers.size))
    assert place(free, plan.encoders, how)
    assert place(free, plan.writers, how)


@given(cluster=clusters, files=files, how=st.sampled_from(["first", "emptiest", "fullest"]))
def test_a_reader_fits_for_any_placement_of_encoders(cluster: Cluster, files: int, how: str) -> None:
    plan = plan_prepare(cluster, files)
    free = [[n.cpus, *[1.0] * int(n.gpus)] for n in cluster.nodes]
    # Encoders are actors, which run until the job ends.
    assert all(place(free, plan.encoders, how) for _ in range(plan.encoders.size))
    assert place(free, plan.readers, how)


def test_more_actors_than_the_maximum_are_refused() -> None:
    assert plan_score(Cluster((Node(2.0),)), 1, 200).scorers.size == 200
    with pytest.raises(SettingError, match=r"score\.num_actors=201, but the cluster has 2 CPUs"):
        plan_score(Cluster((Node(2.0),)), 1, 201)
    with pytest.raises(SettingError, match=r"score\.num_actors=101, but the cluster has 1 GPU;"):
        plan_score(Cluster((Node(64.0, 1.0),)), 1, 101)


@pytest.mark.parametrize(
    ("nodes", "actors"),
    [
        # Regressions: these left no node with room for an encoder, or an actor without a GPU.
        ([(4, 0), (4, 0)], 10),
        ([(3, 0)] * 3, 10),
        ([(1, 1), (1, 1)], None),
        ([(64, 0), (4, 8)], None),
        ([(4, 1), (4, 1)], 3),
        ([(1, 0)] * 16, 30),
    ],
)
@pytest.mark.parametrize("how", ["first", "emptiest", "fullest"])
def test_plan_does_not_deadlock_on_known_clusters(
    nodes: list[tuple[int, int]], actors: int | None, how: str
) -> None:
    cluster = Cluster(tuple(Node(float(c), float(g)) for c, g in nodes))
    plan = plan_score(cluster, 10, actors)
    free = [[n.cpus, *[1.0] * int(n.gpus)] for n in cluster.nodes]
    assert all(place(free, plan.scorers, how) for _ in range(plan.scorers.size))
    assert all(place(free, plan.readers, how) for _ in range(plan.readers.size))
    assert place(free, plan.encoders, how)

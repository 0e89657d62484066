"""Fixtures shared by all tests: a tiny BERT, a small dump, an S3 server, and Ray."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from pipeline.storage.location import Location
    from tests.commands import Outcome
    from tests.main_job import Outputs
    from tests.ray_head import Head
    from tests.s3server import Store

# `make test-slow` runs the property tests with the large one.
settings.register_profile("small", max_examples=40, deadline=None)
settings.register_profile("large", max_examples=3000, deadline=None)
settings.load_profile("small")

# Tests start their own Ray and never join a developer's running cluster.
os.environ["RAY_ADDRESS"] = "local"
os.environ["HF_HUB_OFFLINE"] = "1"
# Credentials for the S3 server of the tests; Ray workers inherit them.
os.environ |= {"AWS_ACCESS_KEY_ID": "rayview", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
os.environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
# Several processes with a team of threads each on the same cores mostly wait for each other.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
# Otherwise Ray's log monitor looks for new log files ten times per second.
os.environ |= {"RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0", "LOG_NAME_UPDATE_INTERVAL_S": "600"}
# By default Ray gives its workers the niceness 15: any other load then takes nearly all CPU time from them.
os.environ |= {"RAY_worker_niceness": "0"}
# Saves one process per training.
os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"
# Ray's metrics and events of tasks, which nobody reads, take 7% of the CPU time of the tests on Ray.
os.environ |= {"RAY_enable_metrics_collection": "0", "RAY_task_events_report_interval_ms": "0"}
os.environ["REPORTER_UPDATE_INTERVAL_MS"] = "60000"
# A background job of a shell ignores SIGINT, and so would the jobs that the tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

GROUPS = {"outputs": "main-job", "head": "main-job", "open_cluster": "main-job", "cluster": "cluster"}
"""The xdist group of a test that uses a fixture, unless its file sets one; the first that matches counts.

Tests of a group run in one process, so that a fixture that takes long is set up once. Both groups start Ray.
"""

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_itemcollected(item: pytest.Item) -> None:
    """Assign the test to a group: that of its slowest fixture, or else its file."""
    if item.get_closest_marker("xdist_group"):
        return
    fixtures = getattr(item, "fixturenames", ())
    group = next((group for name, group in GROUPS.items() if name in fixtures), item.path.stem)
    item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the groups that take longest, the tests on Ray; the other files fill the gaps."""
    order = list(dict.fromkeys(GROUPS.values()))

    def rank(item: pytest.Item) -> int:
        marker = item.get_closest_marker("xdist_group")
        assert marker is not None
        group = marker.args[0]
        if group in order:
            return order.index(group)
        return len(order) + (item.get_closest_marker("ray") is None)

    items.sort(key=rank)


@pytest.fixture(scope="session")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 1,200 synthetic reviews in three gz shards."""
    from pipeline.storage.location import locate
    from pipeline.synth import write_dump

    folder = tmp_path_factory.mktemp("dump")
    write_dump(locate(folder), rows=1200, shards=3, seed=7)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers, 32 wide, with a WordPiece tokenizer; its weights are random but fixed."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, BertTokenizerFast

    from pipeline.synth import iter_reviews

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=2000, special_tokens=special, show_progress=False)
    texts = [review.text for review in iter_reviews(0, 0, 2000) if review.text]
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    folder = tmp_path_factory.mktemp("tiny-bert")
    BertTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A plan for one CPU on the Ray that all tests of a process share; stopped at the end.

    That Ray has two CPUs. Jobs that are planned for one start fewer processes.
    """
    import ray

    from pipeline.config import ClusterConfig
    from pipeline.runtime import connect, pools

    connect.connect(ClusterConfig(address="local", num_cpus=2))
    yield pools.Cluster((pools.Node(1.0),))
    ray.shutdown()


@pytest.fixture(scope="session")
def outputs(dump: Path, tiny_model: Path, cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """The output of the main job on the small dump, trained without Ray; read-only."""
    from tests.main_job import run_stages

    return run_stages(dump, tiny_model, tmp_path_factory.mktemp("out"), cluster)


@pytest.fixture(scope="session")
def head() -> Iterator[Head]:
    """A cluster of one CPU to which jobs are submitted, or which they join."""
    from tests.ray_head import start_head

    with start_head() as head:
        yield head


@pytest.fixture
def out(tmp_path: Path) -> Location:
    """An output directory that does not exist yet."""
    from pipeline.storage.location import locate

    return locate(tmp_path / "out")


@pytest.fixture
def run_job(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Outcome]:
    """Runs the command line of a job in this process, which saves seconds of imports; see commands.RunJob."""
    from tests.commands import run_in_process

    def run(job: str, *arguments: object, env: Mapping[str, str] | None = None) -> Outcome:
        with monkeypatch.context() as patch:
            patch.setenv("RAYVIEW_LOG_DIR", str(tmp_path / "logs"))
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            return run_in_process(capfd, patch, job, *arguments)

    return run


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real review files; tests that use it are skipped if it does not exist."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the folder of real review files does not exist")
    return SHARED_DATA


@pytest.fixture(scope="session")
def untrained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The directory of an untrained five-star classifier on the tiny BERT."""
    from pipeline.benchmarks.models import write_model

    folder = tmp_path_factory.mktemp("classifier")
    write_model(folder, str(tiny_model), 30)
    return str(folder)


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """An S3 server in a thread of this process; it keeps its data in memory."""
    from moto.server import ThreadedMotoServer

    from tests.s3server import Store, environment, s3_client

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    yield Store(url, environment(url), s3_client(url))
    server.stop()


@pytest.fixture
def bucket(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an empty bucket that this process has credentials for."""
    from pipeline.rundir import claim
    from pipeline.storage import objectstore

    for name in [n for n in os.environ if n.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in store.env.items():
        monkeypatch.setenv(name, value)
    objectstore.connect.cache_clear()
    yield store.new_bucket()
    claim.release_outputs()
    objectstore.connect.cache_clear()

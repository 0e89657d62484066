"""rayjob.yaml: its fields exist in KubeRay, and its values agree with each other, the pins and the image."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from pipeline.settings import load_config

# The ray.io/v1 fields of KubeRay 1.7, without those that are irrelevant to rayview.
FIELDS = {
    "RayJob": {"apiVersion", "kind", "metadata", "spec"},
    "RayJobSpec": {
        "activeDeadlineSeconds",
        "backoffLimit",
        "clusterSelector",
        "deletionStrategy",
        "entrypoint",
        "entrypointNumCpus",
        "entrypointNumGpus",
        "entrypointResources",
        "jobId",
        "managedBy",
        "metadata",
        "preRunningDeadlineSeconds",
        "rayClusterSpec",
        "runtimeEnvYAML",
        "shutdownAfterJobFinishes",
        "submissionMode",
        "submitterConfig",
        "submitterPodTemplate",
        "suspend",
        "ttlSecondsAfterFinished",
    },
    "RayClusterSpec": {
        "authOptions",
        "autoscalerOptions",
        "enableInTreeAutoscaling",
        "gcsFaultToleranceOptions",
        "headGroupSpec",
        "headServiceAnnotations",
        "rayVersion",
        "suspend",
        "tlsOptions",
        "workerGroupSpecs",
    },
    "HeadGroupSpec": {
        "enableIngress",
        "headService",
        "labels",
        "rayStartParams",
        "resources",
        "serviceType",
        "template",
    },
    "WorkerGroupSpec": {
        "groupName",
        "idleTimeoutSeconds",
        "labels",
        "maxReplicas",
        "minReplicas",
        "numOfHosts",
        "priority",
        "rayStartParams",
        "replicas",
        "resources",
        "scaleStrategy",
        "template",
    },
    "AuthOptions": {"mode", "secretName"},
    # Fields of Kubernetes.
    "PodSpec": {
        "affinity",
        "containers",
        "imagePullSecrets",
        "initContainers",
        "nodeSelector",
        "priorityClassName",
        "restartPolicy",
        "securityContext",
        "serviceAccountName",
        "tolerations",
        "topologySpreadConstraints",
        "volumes",
    },
    "Container": {
        "args",
        "command",
        "env",
        "envFrom",
        "image",
        "imagePullPolicy",
        "lifecycle",
        "livenessProbe",
        "name",
        "ports",
        "readinessProbe",
        "resources",
        "securityContext",
        "volumeMounts",
    },
}
UNITS = {"Mi": 2**20, "Gi": 2**30}


def quantity(text: str) -> int:
    """Bytes of a Kubernetes quantity."""
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", text).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


@pytest.fixture(scope="module")
def cluster(rayjob: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = rayjob["spec"]["rayClusterSpec"]
    return spec


@pytest.fixture(scope="module")
def pods(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    """Pod specs; the first is that of the head."""
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    assert len(groups) > 1
    return [group["template"]["spec"] for group in groups]


def test_kuberay_has_every_field(
    rayjob: dict[str, Any], cluster: dict[str, Any], pods: list[dict[str, Any]]
) -> None:
    assert (rayjob["apiVersion"], rayjob["kind"]) == ("ray.io/v1", "RayJob")
    levels = [("RayJob", rayjob), ("RayJobSpec", rayjob["spec"]), ("RayClusterSpec", cluster)]
    levels += [("AuthOptions", cluster["authOptions"]), ("HeadGroupSpec", cluster["headGroupSpec"])]
    levels += [("WorkerGroupSpec", group) for group in cluster["workerGroupSpecs"]]
    levels += [("PodSpec", pod) for pod in pods]
    levels += [("Container", container) for pod in pods for container in pod["containers"]]
    for name, level in levels:
        assert set(level) <= FIELDS[name], f"{name} has no {set(level) - FIELDS[name]}"


def test_ray_has_the_pinned_version_and_requires_a_token(cluster: dict[str, Any], ray_version: str) -> None:
    assert cluster["rayVersion"] == ray_version
    assert cluster["authOptions"] == {"mode": "token"}


def test_head_runs_no_tasks_and_has_no_gpu(cluster: dict[str, Any], pods: list[dict[str, Any]]) -> None:
    # Strings: KubeRay passes these on a command line, and the CRD refuses numbers.
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    gpus = [pod["containers"][0]["resources"]["limits"].get("nvidia.com/gpu") for pod in pods]
    assert gpus == [None, "1"]


def test_cluster_size_is_fixed(cluster: dict[str, Any]) -> None:
    # A job plans once, when it starts.
    assert not cluster.get("enableInTreeAutoscaling", False)
    for group in cluster["workerGroupSpecs"]:
        assert group["minReplicas"] == group["replicas"] == group["maxReplicas"] >= 1


def test_cluster_shuts_down_after_the_job(rayjob: dict[str, Any]) -> None:
    spec = rayjob["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["backoffLimit"] >= 1
    assert 0 < spec["ttlSecondsAfterFinished"] <= 24 * 3600
    assert spec["preRunningDeadlineSeconds"] > 0


def test_all_pods_run_one_image_and_can_write_to_the_volume(
    pods: list[dict[str, Any]], dockerfile: list[list[str]]
) -> None:
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1
    (useradd,) = [line for line in dockerfile if line[:2] == ["RUN", "useradd"]]
    user_id = int(useradd[useradd.index("--uid") + 1])
    assert {pod["securityContext"]["fsGroup"] for pod in pods} == {user_id}


def test_memory_is_guaranteed_and_shm_holds_the_object_store(pods: list[dict[str, Any]]) -> None:
    for pod in pods:
        (container,) = pod["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert set(mounts.values()) == set(volumes)
        shm = volumes[mounts["/dev/shm"]]["emptyDir"]
        assert shm["medium"] == "Memory"
        # Ray's store takes 30% of the memory; with a smaller /dev/shm it spills to disk.
        memory = quantity(container["resources"]["limits"]["memory"])
        assert 0.3 * memory <= quantity(shm["sizeLimit"]) <= 0.4 * memory


def test_inputs_outputs_and_logs_are_on_the_volume(
    rayjob: dict[str, Any], pods: list[dict[str, Any]]
) -> None:
    words = rayjob["spec"]["entrypoint"].split()
    shared = load_config(None, [words[words.index("--set") + 1]]).cluster.storage_path
    assert shared is not None
    paths = [word for word in words if word.startswith("/")]
    paths.append(yaml.safe_load(rayjob["spec"]["runtimeEnvYAML"])["env_vars"]["RAYVIEW_LOG_DIR"])
    assert len(paths) == 3
    assert all(path.startswith(f"{shared}/") for path in paths)
    for pod in pods:
        mounts = {m["mountPath"]: m["name"] for m in pod["containers"][0]["volumeMounts"]}
        (volume,) = [v for v in pod["volumes"] if v["name"] == mounts[shared]]
        assert volume["persistentVolumeClaim"]["claimName"] == "rayview"


def test_ray_accepts_the_runtime_environment(rayjob: dict[str, Any]) -> None:
    from ray.dashboard.modules.job.job_supervisor import JobSupervisor
    from ray.runtime_env import RuntimeEnv

    values = RuntimeEnv(**yaml.safe_load(rayjob["spec"]["runtimeEnvYAML"])).env_vars()
    assert values["RAY_JOB_STOP_SIGNAL"] == "SIGINT"
    assert values["RAY_JOB_STOP_SIGNAL"] in JobSupervisor.VALID_STOP_SIGNALS
    assert int(values["RAY_JOB_STOP_WAIT_TIME_S"]) > JobSupervisor.DEFAULT_RAY_JOB_STOP_WAIT_TIME_S

"""docs/deploy/kubernetes.yaml against the commands, settings, routes and metrics that exist."""

import re
from functools import cache
from typing import Any

import pytest
import yaml
from django.core.management import get_commands
from django.urls import resolve

from executor import bucket
from kaireon import metrics, vitals
from tests.sources import ROOT, environment_names
from tests.test_deployment_files import (
    FOREIGN_VARIABLES,
    SECRET,
    after,
    instructions,
    queue_of,
    queues_of,
    service,
    used_queues,
    words,
)

PARTS = ("migrate", "web", "worker", "control", "beat")


@cache
def manifests() -> list[dict[str, Any]]:
    loaded = yaml.safe_load((ROOT / "docs/deploy/kubernetes.yaml").read_text())
    assert (loaded["apiVersion"], loaded["kind"]) == ("v1", "List")
    items: list[dict[str, Any]] = loaded["items"]
    return items


def manifest(kind: str, name: str = "kaireon") -> dict[str, Any]:
    (found,) = [
        item for item in manifests() if (item["kind"], item["metadata"]["name"]) == (kind, name)
    ]
    return found


def pod(part: str) -> dict[str, Any]:
    owner = manifest("Job" if part == "migrate" else "Deployment", f"kaireon-{part}")
    spec: dict[str, Any] = owner["spec"]["template"]["spec"]
    return spec


def container(part: str) -> dict[str, Any]:
    (found,) = pod(part)["containers"]
    return dict(found)


def test_parts_are_those_of_the_compose_file() -> None:
    owners = [item for item in manifests() if item["kind"] in ("Deployment", "Job")]
    assert [item["metadata"]["name"] for item in owners] == [f"kaireon-{part}" for part in PARTS]
    versions = {item["kind"]: item["apiVersion"] for item in manifests()}
    assert versions == {
        "Secret": "v1",
        "ConfigMap": "v1",
        "Job": "batch/v1",
        "Deployment": "apps/v1",
        "Service": "v1",
        "PodDisruptionBudget": "policy/v1",
        "HorizontalPodAutoscaler": "autoscaling/v2",
    }


@pytest.mark.parametrize("part", [part for part in PARTS if part != "web"])
def test_commands_are_those_of_the_compose_file(part: str) -> None:
    assert container(part)["command"] == words(service(part)["command"])


def test_commands_exist() -> None:
    lines = [container(part).get("command", []) for part in PARTS]
    lines += [probe["exec"]["command"] for probe in probes("livenessProbe") if "exec" in probe]
    named = {after("manage.py", line) for line in lines if "manage.py" in line}
    assert named == {"migrate", "alive"}
    assert named <= set(get_commands())
    assert "command" not in container("web")


def test_queues_are_those_that_tasks_use() -> None:
    assert queues_of(container("worker")["command"]) == used_queues()
    assert queues_of(container("control")["command"]) == {queue_of("campaigns.tasks.pulse")}


def test_every_variable_is_read_and_none_is_given_twice() -> None:
    secret = manifest("Secret")["stringData"]
    settings = manifest("ConfigMap")["data"]
    assert not set(secret) & set(settings)
    given = set(secret) | set(settings)
    read = {name for name, _ in environment_names()}
    assert {name for name in given if not FOREIGN_VARIABLES.match(name)} <= read
    documented = (ROOT / "docs/configuration.md").read_text()
    assert [name for name in sorted(given) if f"`{name}`" not in documented] == []
    assert all(isinstance(value, str) for value in [*secret.values(), *settings.values()])


def test_secrets_are_secret_and_placeholders() -> None:
    for name, value in manifest("Secret")["stringData"].items():
        assert "REPLACE-ME" in value, name
    assert not [name for name in manifest("ConfigMap")["data"] if SECRET.search(name)]
    for part in PARTS:
        assert container(part)["envFrom"] == [
            {"configMapRef": {"name": "kaireon"}},
            {"secretRef": {"name": "kaireon"}},
        ]
        assert "env" not in container(part)


def test_pods_share_nothing_but_servers() -> None:
    settings = manifest("ConfigMap")["data"]
    assert settings["STORAGE_URL"].startswith("s3://")
    assert settings["INLINE_FALLBACK"] == "0"
    for part in PARTS:
        assert {volume["name"]: volume["emptyDir"] for volume in pod(part)["volumes"]} == {
            "var": {},
            "tmp": {},
        }


def test_only_scratch_can_be_written() -> None:
    (user,) = instructions("USER")
    (workdir,) = instructions("WORKDIR")
    for part in PARTS:
        assert pod(part)["securityContext"]["runAsNonRoot"] is True
        assert pod(part)["securityContext"]["runAsUser"] == int(user)
        assert pod(part)["automountServiceAccountToken"] is False
        assert container(part)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        mounted = {mount["name"]: mount["mountPath"] for mount in container(part)["volumeMounts"]}
        assert mounted == {"var": f"{workdir}/var", "tmp": "/tmp"}  # noqa: S108
    assert after("--pidfile", container("beat")["command"]).startswith("/tmp/")  # noqa: S108


def test_image_and_resources_are_named() -> None:
    assert len({container(part)["image"] for part in PARTS}) == 1
    for part in PARTS:
        resources = container(part)["resources"]
        assert set(resources["requests"]) == {"cpu", "memory"}
        assert "memory" in resources["limits"]


def probes(*kinds: str) -> list[dict[str, Any]]:
    return [container(part)[kind] for part in PARTS for kind in kinds if kind in container(part)]


def test_probes_ask_routes_that_exist() -> None:
    web = container("web")
    (port,) = web["ports"]
    assert instructions("EXPOSE") == [str(port["containerPort"])]
    allowed = manifest("ConfigMap")["data"]["ALLOWED_HOSTS"].split(",")
    paths = {}
    for kind in ("readinessProbe", "livenessProbe", "startupProbe"):
        request = web[kind]["httpGet"]
        assert resolve(request["path"])
        assert request["port"] == port["name"]
        assert request["httpHeaders"][0]["value"] in allowed
        paths[kind] = request["path"]
    assert paths["readinessProbe"] == "/health/ready"
    assert paths["livenessProbe"] == "/health/live"


def test_every_lasting_pod_is_probed() -> None:
    asked = {part: container(part)["livenessProbe"].get("exec") for part in PARTS[1:]}
    assert asked == {
        "web": None,
        "worker": {"command": ["python", "manage.py", "alive", "worker"]},
        "control": {"command": ["python", "manage.py", "alive", "worker"]},
        "beat": {"command": ["python", "manage.py", "alive", "beat"]},
    }


def test_workers_have_time_to_return_their_chunks() -> None:
    longest = bucket.RETRIES["retry_timeout"].total_seconds()
    for part in ("worker", "control"):
        assert pod(part)["terminationGracePeriodSeconds"] > longest


def test_selectors_find_their_pods() -> None:
    labels = {
        part: manifest("Deployment", f"kaireon-{part}")["spec"]["template"]["metadata"]["labels"]
        for part in PARTS[1:]
    }
    assert len({tuple(sorted(found.items())) for found in labels.values()}) == len(labels)
    for part, found in labels.items():
        assert manifest("Deployment", f"kaireon-{part}")["spec"]["selector"] == {
            "matchLabels": found
        }
    web = manifest("Service", "kaireon-web")["spec"]
    assert web["selector"] == labels["web"]
    assert web["ports"][0]["targetPort"] == container("web")["ports"][0]["name"]
    for part in ("web", "worker"):
        budget = manifest("PodDisruptionBudget", f"kaireon-{part}")["spec"]
        assert budget["selector"]["matchLabels"] == labels[part]


def test_workers_are_scaled_by_a_metric_that_exists() -> None:
    scaler = manifest("HorizontalPodAutoscaler", "kaireon-worker")["spec"]
    assert scaler["scaleTargetRef"]["name"] == "kaireon-worker"
    assert "replicas" not in manifest("Deployment", "kaireon-worker")["spec"]
    (wanted,) = [metric["external"]["metric"] for metric in scaler["metrics"]]
    none = vitals.Vitals({}, 0, {}, {}, 0, {}, {}, 0, [])
    (found,) = [metric for metric in metrics._chunks(none) if metric.name == wanted["name"]]
    assert wanted["selector"]["matchLabels"] in [sample.labels for sample in found.samples]


def test_addresses_are_examples() -> None:
    urls = manifest("Secret")["stringData"]
    hosts = [re.search(r"@([^:/]+)", urls[name]) for name in ("DATABASE_URL", "REDIS_URL")]
    assert all(host and host[1].endswith(".example.com") for host in hosts)

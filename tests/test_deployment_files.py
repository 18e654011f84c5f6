"""Dockerfile and compose.yaml against the commands, settings and routes that exist.

tests/test_kubernetes.py does the same for the manifests.

Images cannot be built everywhere, so this is what keeps the two files true.
"""

import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
import yaml
from celery import Celery
from celery.exceptions import QueueNotFound
from django.core.management import get_commands, load_command_class
from django.urls import resolve

from executor import bucket
from tests.sources import ROOT, environment_names

SECRET = re.compile("SECRET|PASSWORD|PEPPER|TOKEN")
OUR_SERVICES = ("web", "worker", "control", "beat", "migrate")
# Read by Python, pip, the shell and libraries, not by us.
FOREIGN_VARIABLES = re.compile("^(PATH|PYTHON[A-Z]+|PIP_[A-Z_]+|AWS_[A-Z_]+|POLARS_MAX_THREADS)$")


@cache
def dockerfile() -> list[tuple[str, str]]:
    """(instruction, arguments) in order, continuation lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines if line]


def instructions(name: str) -> list[str]:
    return [arguments for instruction, arguments in dockerfile() if instruction == name]


@cache
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"][name]
    return found


def words(command: str | list[str]) -> list[str]:
    return shlex.split(command) if isinstance(command, str) else command


def commands() -> Iterator[list[str]]:
    """Every command line of both files, as words."""
    yield from (yaml.safe_load(arguments) for arguments in instructions("CMD"))
    yield from (words(part) for run in instructions("RUN") for part in run.split("&&"))
    for name in OUR_SERVICES:
        if "command" in service(name):
            yield words(service(name)["command"])
        if "healthcheck" in service(name):
            yield words(" ".join(service(name)["healthcheck"]["test"][1:]))


def after(flag: str, command: list[str]) -> str:
    return command[command.index(flag) + 1]


@cache
def celery_app() -> Celery:
    app: Celery = importlib.import_module("kaireon.celery").app
    app.loader.import_default_modules()
    return app


def test_every_manage_command_exists() -> None:
    named = {after("manage.py", line) for line in commands() if "manage.py" in line}
    assert named == {"collectstatic", "migrate", "alive"}
    assert named <= set(get_commands())


def test_gunicorn_serves_an_application_that_exists() -> None:
    (line,) = [line for line in commands() if line[0] == "gunicorn"]
    module = importlib.import_module(line[1])
    assert callable(module.application)


def test_every_celery_command_names_our_app() -> None:
    lines = [line for line in commands() if line[0] == "celery"]
    assert {line[3] for line in lines} == {"worker", "beat"}
    for line in lines:
        assert isinstance(importlib.import_module(f"{after('-A', line)}.celery").app, Celery)


def used_queues() -> set[str]:
    """The queues that messages of ours are sent to."""
    importlib.import_module("campaigns.tasks")
    ours = [name for name in celery_app().tasks if name.startswith(("executor.", "campaigns."))]
    assert {*ours} == {*celery_app().conf.task_routes}, "kaireon/celery.py: routes name every task"
    return {queue_of(name) for name in ours}


def queue_of(task: str) -> str:
    return str(celery_app().amqp.router.route({}, task)["queue"].name)


def queues_of(command: str | list[str]) -> set[str]:
    return set(after("-Q", words(command)).split(","))


def test_worker_takes_exactly_the_queues_that_tasks_use() -> None:
    taken = queues_of(service("worker")["command"])
    assert taken == used_queues(), "compose.yaml, worker: -Q must list the queues of the tasks"


def test_the_pulse_has_a_worker_of_its_own() -> None:
    pulse = queue_of("campaigns.tasks.pulse")
    assert queues_of(service("control")["command"]) == {pulse}


def test_workers_have_threads() -> None:
    for name in ("worker", "control"):
        line = words(service(name)["command"])
        assert after("--pool", line) == "threads"
        assert service(name)["environment"]["POLARS_MAX_THREADS"] == "${POLARS_MAX_THREADS:-1}"


def test_services_can_be_scaled() -> None:
    for name in ("worker", "control", "beat"):
        assert not {"container_name", "hostname", "ports"} & set(service(name))
        command = words(service(name)["command"])
        assert "--hostname" not in command or after("--hostname", command).endswith("@%h")


def test_health_checks_ask_for_the_process_they_belong_to() -> None:
    for name, kind in (("worker", "worker"), ("control", "worker"), ("beat", "beat")):
        assert service(name)["healthcheck"]["test"] == ["CMD", "python", "manage.py", "alive", kind]
        load_command_class("campaigns", "alive").create_parser("manage.py", "alive").parse_args(
            [kind]
        )


def test_work_is_the_workers() -> None:
    """Processes may end it in peace, and web servers do not begin it."""
    for name in OUR_SERVICES:
        assert service(name)["environment"]["INLINE_FALLBACK"] == "0"
        assert seconds(service(name)["stop_grace_period"]) > bucket.RETRIES["retry_timeout"]


def seconds(text: str) -> timedelta:
    return timedelta(seconds=int(text.removesuffix("s")))


def test_a_worker_without_queues_named_takes_them_all() -> None:
    """P20: and none is made up by the way, where nobody would look."""
    queues = celery_app().amqp.queues
    assert set(queues.consume_from) == used_queues()
    with pytest.raises(QueueNotFound):
        celery_app().amqp.router.route({"queue": "chunk"}, "executor.tasks.work_chunk")
    # Each is bound to an exchange of its own name: none gets what is meant for another.
    assert all(queue.exchange.name == queue.routing_key == name for name, queue in queues.items())


def test_every_worker_command_in_the_docs_names_the_queues() -> None:
    texts = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    lines = [
        words(line)
        for text in texts
        for line in text.read_text().splitlines()
        if re.search("celery -A kaireon worker", line)
    ]
    assert lines
    assert {after("-Q", line) for line in lines} <= {"control,files,chunks", "control"}


def test_beat_sends_only_tasks_that_exist() -> None:
    sent = {entry["task"] for entry in celery_app().conf.beat_schedule.values()}
    assert sent <= set(celery_app().tasks)


def test_tasks_belong_to_our_app_whoever_imports_them() -> None:
    code = (
        "import django; django.setup()\n"
        "from executor.tasks import advance_run; print(advance_run.app.main)"
    )
    app = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert app.stdout == "kaireon\n", (
        "The web process would send to Celery's default broker: in executor/tasks.py, import app "
        f"from kaireon.celery and decorate with @app.task\n{app.stderr}"
    )


def assignments() -> dict[str, str]:
    """Every environment variable that either file gives to our processes."""
    found = {}
    for text in (*instructions("ENV"), *instructions("RUN")):
        found.update(re.findall(r"(?<!\S)([A-Z_]+)=(\S+)", text))
    for name in OUR_SERVICES:
        found.update(service(name).get("environment", {}))
    return found


def test_every_variable_that_is_given_is_read() -> None:
    read = {name for name, _ in environment_names()}
    unread = {name for name in assignments() if not FOREIGN_VARIABLES.match(name)} - read
    assert not unread, f"Nothing reads {unread}: remove them, or correct the spelling"


def documented() -> set[str]:
    return set(
        re.findall(
            r"^\| `([A-Z_]+)` \|", (ROOT / "docs/configuration.md").read_text(), re.MULTILINE
        )
    )


#: What the library for S3 reads by itself.
BY_OBSTORE = {"AWS_REGION", "AWS_VIRTUAL_HOSTED_STYLE_REQUEST"}


def test_every_variable_is_documented() -> None:
    substituted = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "compose.yaml").read_text()))
    in_ci = set(re.findall(r"\b(CI_[A-Z_]+)", (ROOT / ".ci/run").read_text()))
    read = {name for name, _ in environment_names()}
    everything = read | substituted | in_ci | BY_OBSTORE
    assert documented() == everything, "docs/configuration.md lists all variables"


def test_secrets_come_from_outside() -> None:
    baked = [text for text in (*instructions("ENV"), *instructions("ARG")) if SECRET.search(text)]
    assert not baked, f"Dockerfile: these would stay in the image: {baked}"
    for name, content in compose()["services"].items():
        for variable, value in content.get("environment", {}).items():
            if SECRET.search(variable) and value is not None:  # null: only what is set outside
                assert value.startswith("${" + variable + ":?"), f"{name}: {variable}"


def test_required_variables_say_what_to_set() -> None:
    required = re.findall(r"\$\{([A-Z_]+):\?([^}]*)\}", (ROOT / "compose.yaml").read_text())
    assert {name for name, _ in required} == {
        "SECRET_KEY",
        "API_KEY_PEPPER",
        "ALLOWED_HOSTS",
        "POSTGRES_PASSWORD",
    }
    assert all(message.startswith("set it to ") for _, message in required)


def copied() -> list[str]:
    """The paths that COPY takes from the checkout."""
    local = [words(text) for text in instructions("COPY") if not text.startswith("--from")]
    return [source for *sources, _ in local for source in sources]


def test_copied_paths_exist_and_reach_the_builder() -> None:
    let_in = re.findall("^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(copied()) == sorted(let_in)
    empty = [path for path in copied() if not (ROOT / path).is_file() and not filled(path)]
    assert not empty, f"Missing in a fresh clone, so COPY would fail: {empty}"


def filled(path: str) -> bool:
    return any(file.is_file() for file in (ROOT / path).rglob("*"))


def test_dependencies_are_installed_before_code_is_copied() -> None:
    steps = [f"{name} {arguments}" for name, arguments in dockerfile()]
    install = next(i for i, step in enumerate(steps) if "--require-hashes" in step)
    code = next(i for i, step in enumerate(steps) if step.startswith("COPY kaireon"))
    assert "-r /tmp/requirements.txt" in steps[install]
    assert [step.split()[0] for step in steps].count("FROM") == 2
    assert install < code


def test_image_runs_as_an_ordinary_user() -> None:
    names = [name for name, _ in dockerfile()]
    assert instructions("USER") == ["10001"]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")
    assert "ENTRYPOINT" not in names
    assert not [name for name in OUR_SERVICES if "user" in service(name)]


def test_ports_agree() -> None:
    (command,) = instructions("CMD")
    port = after("--bind", yaml.safe_load(command)).rpartition(":")[2]
    assert instructions("EXPOSE") == [port]
    assert [mapping.rpartition(":")[2] for mapping in service("web")["ports"]] == [port]
    assert f"http://127.0.0.1:{port}/" in health_url()


def health_url() -> str:
    (url,) = re.findall(r"http://[^']+", service("web")["healthcheck"]["test"][-1])
    return str(url)


def test_web_health_check_asks_a_route_that_exists() -> None:
    path = "/" + health_url().split("/", 3)[3]
    assert resolve(path)
    assert service("web")["environment"]["ALLOWED_HOSTS"].endswith(",127.0.0.1")


def test_every_lasting_service_has_a_health_check() -> None:
    lasting = {name for name in compose()["services"] if name != "migrate"}
    assert lasting == {"web", "worker", "control", "beat", "postgres", "redis"}
    assert {name for name in lasting if "healthcheck" in service(name)} == lasting


@pytest.mark.parametrize("name", ["web", "worker", "control", "beat"])
def test_services_wait_for_a_migrated_database(name: str) -> None:
    assert service(name)["depends_on"] == {
        "migrate": {"condition": "service_completed_successfully"},
        "redis": {"condition": "service_healthy"},
    }
    assert service("migrate")["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_addresses_name_services() -> None:
    environment = service("web")["environment"]
    hosts = re.findall(r"[@/]([a-z]+):\d+/", environment["DATABASE_URL"] + environment["REDIS_URL"])
    assert hosts == ["postgres", "redis"]
    assert set(hosts) <= set(compose()["services"])


@pytest.mark.parametrize("name", ["web", "worker", "control"])
def test_web_and_worker_share_the_storage(name: str) -> None:
    url = service(name)["environment"]["STORAGE_URL"]
    folder = url.removeprefix("${STORAGE_URL:-file://").removesuffix("}")
    assert f"storage:{folder}" in service(name)["volumes"]
    assert f"install -d -o kaireon {folder} " in " ".join(instructions("RUN"))


def test_volumes_are_declared() -> None:
    used = {
        volume.partition(":")[0]
        for content in compose()["services"].values()
        for volume in content.get("volumes", [])
    }
    assert used == set(compose()["volumes"])


def test_images_are_pinned_and_new_enough() -> None:
    images = [content["image"] for content in compose()["services"].values() if "image" in content]
    foreign = {image.split(":")[0]: image.split(":")[1] for image in images if image != "kaireon"}
    assert set(foreign) == {"postgres", "valkey/valkey"}
    assert int(foreign["postgres"]) >= 15


def test_broker_never_evicts_or_forgets() -> None:
    command = words(service("redis")["command"])
    assert after("--maxmemory-policy", command) == "noeviction"
    assert after("--appendonly", command) == "yes"

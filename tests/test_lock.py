"""The requirements locks: hashed, without addresses, and in step with pyproject.toml."""

import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.sources import PACKAGES, ROOT, modules

# Parts of a declared package that are distributed apart, and that its own manual imports.
PARTS = {"kombu": "celery", "pydantic-core": "pydantic"}
LOCKS = ("requirements.txt", "requirements-dev.txt", "requirements-uv.txt")


def entries(lock: str) -> list[str]:
    """The lock's requirements, each with its hashes, on one line."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / lock).read_text())
    return text.replace("\\\n", " ").splitlines()


@cache
def pins(lock: str) -> dict[str, str]:
    """Version by package name."""
    pinned = [Requirement(entry.split("--hash")[0]) for entry in entries(lock)]
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pinned}


def declared(*extras: str) -> list[Requirement]:
    """The requirements of pyproject.toml, with those of `extras`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = [text for extra in extras for text in project["optional-dependencies"][extra]]
    return [Requirement(text) for text in (*project["dependencies"], *optional)]


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_package_is_pinned_and_hashed(lock: str) -> None:
    unhashed = [
        entry
        for entry in entries(lock)
        if not re.match(r"[A-Za-z0-9._-]+==[^ ]+ .*--hash=sha256:[0-9a-f]{64}", entry)
    ]
    assert not unhashed, f"{lock}: run `make lock`"


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_carries_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert not re.findall(r"https?:|file:|--(?:extra-)?index|--find-links|@", text), (
        f"{lock}: a lock says what, not from where; run `make lock`"
    )


@pytest.mark.parametrize(
    ("lock", "extras"), [("requirements.txt", ["demo"]), ("requirements-dev.txt", ["demo", "dev"])]
)
def test_lock_satisfies_the_project(lock: str, extras: list[str]) -> None:
    wrong = [
        f"{requirement}, locked: {pins(lock).get(canonicalize_name(requirement.name))}"
        for requirement in declared(*extras)
        if not requirement.specifier.contains(
            pins(lock).get(canonicalize_name(requirement.name), "0"), prereleases=True
        )
    ]
    assert not wrong, f"{lock} is behind pyproject.toml: run `make lock`"


def test_development_runs_what_production_runs() -> None:
    runtime, dev = pins("requirements.txt"), pins("requirements-dev.txt")
    assert {name: dev.get(name) for name in runtime} == runtime


def third_party(*folders: str) -> set[tuple[str, str]]:
    """(top-level name, place) of imports that are neither ours nor of Python."""
    ours = {*PACKAGES, "tests", "benchmarks", *sys.stdlib_module_names}
    return {
        (name.partition(".")[0], module.at(line))
        for module in modules(*folders)
        for line, name in module.imports
        if name.partition(".")[0] not in ours
    }


@pytest.mark.parametrize(
    ("folders", "extras"), [(PACKAGES, ["onnx"]), (("tests", "benchmarks"), ["demo", "dev"])]
)
def test_what_is_imported_is_declared(folders: tuple[str, ...], extras: list[str]) -> None:
    distributions = packages_distributions()
    known = names(declared(*extras))
    undeclared = sorted(
        f"{place} imports {name}"
        for name, place in third_party(*folders)
        if not known & whole(distributions.get(name, []))
    )
    assert not undeclared, "Add it to pyproject.toml and run `make lock`:\n" + "\n".join(undeclared)


def whole(distributions: list[str]) -> set[str]:
    found = {canonicalize_name(name) for name in distributions}
    return found | {PARTS[name] for name in found & PARTS.keys()}


def test_extra_and_dependency_group_are_the_same() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert groups == {"dev": ["kaireon[demo,dev,onnx]"]}

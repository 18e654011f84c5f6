"""The project's own rules: layout, import directions, sizes, and what no code may do.

Each failure names the place and says what to do instead.
"""

import ast
import fnmatch
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.sources import ROOT, Function, Module, modules, within

TOP_LEVEL = [
    "manage.py",
    "pyproject.toml",
    "kaireon",
    "campaigns",
    "executor",
    "templates",
    "tests",
    "Dockerfile",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "LICENSE",
    "Makefile",
    "compose.yaml",
    "requirements.txt",
    "requirements-dev.txt",
    "requirements-uv.txt",
    "docs",
    "benchmarks",
]

PURE = [
    "executor.flow",
    "executor.eligibility",
    "executor.scoring",
    "executor.ranking",
    "executor.selecting",
    "executor.hashing",
    "executor.derive",
    "executor.properties",
    "executor.decide",
    "executor.trace",
    "executor.reasons",
    "executor.nearest",
    "executor.fates",
    "executor.wording",
    "executor.explained",
    "executor.estimate",
    "executor.models",
    "executor.compute",
    "executor.personalize",
    "executor.errors",
    "campaigns.schedule",
    "campaigns.schedule_words",
]
FRAMEWORKS = ["django", "rest_framework", "celery", "environ", "unfold"]

# Who -> what of our own it may import. The longest name that matches decides.
MAY_IMPORT = {
    "kaireon": ["kaireon"],
    "kaireon.access": ["kaireon.access", "kaireon.ids", "executor.errors"],
    "kaireon.access.apps": ["kaireon.access", "kaireon.checks"],
    "kaireon.health": ["kaireon", "campaigns.models"],
    "kaireon.outgoing": [],
    "kaireon.vitals": ["kaireon", "campaigns.models.turn"],  # which runs wait for another
    "kaireon.urls": ["kaireon", "campaigns.api", "campaigns.admin"],
    "campaigns": [],
    "campaigns.apps": ["campaigns"],
    "campaigns.schedule": ["campaigns.schedule_words", "executor.errors"],
    "campaigns.models": [
        "campaigns.models",
        "kaireon.access.history",
        "kaireon.access.models",
        "kaireon.ids",
    ],
    "campaigns.services": [
        "campaigns.services",
        "campaigns.models",
        "campaigns.schedule",
        "kaireon.access.models",
        "kaireon.database",
        "kaireon.ids",
        "executor.artifacts",  # to keep the file of a model, and to look whether it works
        "executor.errors",
        "executor.explain",  # to say why a customer got something or did not
        "executor.flow",
        "executor.models",  # to validate models, and to score one customer
        "executor.heldout",  # to drop what a run that is deleted held out
        "executor.results",  # to drop the results of a run that is deleted
        "executor.s3",  # to refuse a path that a run may not write to
        "executor.planning",  # to say what a flow comes to for a segment
        "executor.spec",  # to say which columns it may read
        "executor.storage",  # to hand out the files that runs left there
        "executor.tasks",
        "executor.workers",  # to say that the scheduler lives
    ],
    "campaigns.tasks": ["campaigns.services", "kaireon.celery"],
    "campaigns.api": [
        "campaigns.api",
        "campaigns.services",
        "campaigns.models",
        "kaireon.access",
        "kaireon.ids",
        "executor.errors",
    ],
    "campaigns.admin": [
        "campaigns.admin",
        "campaigns.services",
        "campaigns.models",
        "kaireon.access",
        "kaireon.ids",
        "executor.errors",
    ],
    # Commands stand at the rim: they may start anything.
    "campaigns.management": ["campaigns", "executor", "kaireon"],
    "campaigns.management.commands.bench": ["benchmarks"],
    "executor": [
        "executor",
        "campaigns.models",
        "kaireon.access.models",
        "kaireon.database",
        "kaireon.ids",
        "kaireon.logs",
        "kaireon.outgoing",
    ],
    "executor.tasks": [
        "executor",
        "campaigns.models",
        "kaireon.celery",
        "kaireon.ids",
        "kaireon.logs",
    ],
}


def check(violations: Iterable[str], advice: str) -> None:
    found = sorted(violations)
    assert not found, f"{advice}\n  " + "\n  ".join(found)


def by_longest_prefix(name: str) -> list[str]:
    return MAY_IMPORT[max((p for p in MAY_IMPORT if within(name, p)), key=len)]


def is_pure(name: str) -> bool:
    return within(name, *PURE) or name.startswith("executor.allocation")


def test_top_level_is_the_fixed_layout() -> None:
    ignored = [line.rstrip("/") for line in (ROOT / ".gitignore").read_text().split()]
    extra = [
        path.name
        for path in ROOT.iterdir()
        if path.name not in TOP_LEVEL
        and not path.name.startswith(".")
        and not any(fnmatch.fnmatch(path.name, pattern) for pattern in ignored)
    ]
    check(extra, "The top level is fixed. Move these below kaireon, campaigns, executor or docs:")


def test_imports_go_one_way() -> None:
    ours = ("kaireon", "campaigns", "executor", "tests", "benchmarks")
    check(
        (
            f"{module.at(line)} imports {name}"
            for module in modules()
            for line, name in module.imports
            if within(name, *ours) and not within(name, *by_longest_prefix(module.name))
        ),
        "These imports go against the layers (MAY_IMPORT above). Move the code to the layer that "
        "may have it, or call a service:",
    )


def test_kaireon_itself_exports_nothing() -> None:
    package = ROOT / "kaireon" / "__init__.py"
    assert not ast.parse(package.read_text()).body[1:], "kaireon/__init__.py: keep it a docstring"


def test_pure_modules_never_reach_django() -> None:
    graph = {module.name: module for module in modules()}
    check(
        (
            f"{name} reaches {other}"
            for name in filter(is_pure, graph)
            for other in reached(name, graph)
            if other in FRAMEWORKS
        ),
        "Pure modules work on values and columns. Read the database or the settings in the "
        "caller and hand in what was read:",
    )


def reached(name: str, graph: dict[str, Module]) -> set[str]:
    """All that importing `name` imports, packages on the way included."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        parts = waiting.pop().split(".")
        packages = {".".join(parts[: end + 1]) for end in range(len(parts))} - seen
        seen |= packages
        for package in packages & graph.keys():
            waiting += [imported for _, imported in graph[package].imports]
    return seen


def test_pure_modules_load_without_django() -> None:
    names = [module.name for module in modules() if is_pure(module.name)]
    code = f"import sys, {', '.join(names)}; print(*{{'django', 'celery'}} & {{*sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert loaded.stdout == "\n", f"Something the pure modules import loads {loaded.stdout}"


def test_no_star_imports() -> None:
    check(
        (
            module.at(node)
            for module in modules("kaireon", "campaigns", "executor", "tests")
            for node in ast.walk(module.tree)
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        ),
        "Import the names you use:",
    )


def test_no_signals() -> None:
    signals = ("django.dispatch", "django.db.models.signals", "django.core.signals")
    more = ("django.db.backends.signals", "celery.signals", "django.contrib.auth.signals")
    check(
        (
            f"{module.at(line)} imports {name}"
            for module in modules()
            for line, name in module.imports
            if within(name, *signals, *more)
        ),
        "No signals: call a function of a service instead:",
    )


def test_module_names_say_what_is_inside() -> None:
    banned = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
    djangos_choice = "kaireon/database/base.py"
    check(
        (
            module.file
            for module in modules()
            if set(module.name.split(".")) & banned and module.file != djangos_choice
        ),
        "Name the module after its one noun or verb:",
    )


def test_modules_say_what_they_are_for() -> None:
    check(
        (
            module.file
            for module in modules()
            if module.tree.body and not ast.get_docstring(module.tree)
        ),
        "Begin the module with a docstring of one to three sentences:",
    )


def module_limit(module: Module) -> int:
    return 500 if {"models", "admin"} & {*module.name.split(".")} else 400


def test_modules_are_small() -> None:
    check(
        (
            f"{module.file}: {lines} lines, at most {module_limit(module)}"
            for module in modules()
            if (lines := module.text.count("\n")) > module_limit(module)
        ),
        "Split by concern; a concept that grows gets a folder:",
    )


def test_test_files_are_small() -> None:
    check(
        (
            f"{module.file}: {lines} lines, at most 500"
            for module in modules("tests")
            if (lines := module.text.count("\n")) > 500
        ),
        "One subject for each test file; split it:",
    )


def length(node: Function | ast.ClassDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def body_length(function: Function) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def parameters(function: Function) -> int:
    args = function.args
    names = [arg.arg for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def nesting(node: ast.AST) -> int:
    """Depth of compound statements inside `node`; an elif is as deep as its if."""
    blocks = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
    deepest = 0
    for child in ast.iter_child_nodes(node):
        is_elif = isinstance(node, ast.If) and isinstance(child, ast.If) and node.orelse == [child]
        deepest = max(deepest, nesting(child) + (isinstance(child, blocks) and not is_elif))
    return deepest


FUNCTION_LIMITS: list[tuple[str, Callable[[Function], int], int]] = [
    ("lines", length, 60),
    ("parameters", parameters, 7),
    ("levels of nesting", nesting, 4),
]


@pytest.mark.parametrize(("what", "measure", "limit"), FUNCTION_LIMITS)
def test_functions_are_small(what: str, measure: Callable[[Function], int], limit: int) -> None:
    check(
        (
            f"{module.at(function)} {function.name}: {measure(function)} {what}, at most {limit}"
            for module in modules()
            for function in module.functions
            if measure(function) > limit
        ),
        "Give its parts names of their own, or its parameters a dataclass:",
    )


def test_classes_are_small() -> None:
    check(
        (
            f"{module.at(node)} {node.name}: {length(node)} lines, at most 300"
            for module in modules()
            for node in module.classes
            if length(node) > 300
        ),
        "A class has one reason to change; take another one out of it:",
    )


def test_views_and_tasks_only_load_call_and_answer() -> None:
    check(
        (
            f"{module.at(function)} {function.name}: {body_length(function)} lines, at most 25"
            for module, function in rim_functions()
            if body_length(function) > 25
        ),
        "Move the work into a service or a stage; a view validates, calls and answers:",
    )


def rim_functions() -> Iterator[tuple[Module, Function]]:
    for module in modules():
        if within(module.name, "campaigns.api"):
            views = [node for node in module.classes if re.search("View(Set)?$", node.name)]
            for view in views:
                yield from ((module, node) for node in view.body if isinstance(node, Function))
        yield from ((module, node) for node in module.functions if is_task(node))


def is_task(function: Function) -> bool:
    names = [ast.unparse(decorator).partition("(")[0] for decorator in function.decorator_list]
    return "shared_task" in names or "app.task" in names


def test_tasks_live_in_two_modules_and_are_sent_from_one() -> None:
    elsewhere = [module for module in modules() if module.name != "executor.tasks"]
    tasks = (
        module.at(function)
        for module in elsewhere
        for function in module.functions
        if is_task(function) and module.name != "campaigns.tasks"
    )
    sends = (
        module.at(call)
        for module in elsewhere
        for call in module.calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in ("delay", "apply_async", "send_task")
    )
    check(
        [*tasks, *sends],
        "Tasks are defined in executor/tasks.py and, for beat, in campaigns/tasks.py; only the "
        "former sends them, so call wake() or dispatch() there:",
    )


def test_models_keep_logic_out_of_save() -> None:
    check(
        (
            module.at(node)
            for module in modules()
            if "models" in module.name.split(".")
            for node in module.functions
            if node.name in ("save", "delete")
        ),
        "Writes belong in services:",
    )


@pytest.mark.parametrize("name", ["eval", "exec", "compile", "__import__"])
def test_no_code_from_text(name: str) -> None:
    check(
        (
            module.at(call)
            for module in modules("kaireon", "campaigns", "executor", "tests")
            for call in module.calls
            if isinstance(call.func, ast.Name) and call.func.id == name
        ),
        f"{name}() runs text as code. Parse it into a closed set of operations:",
    )


def test_executor_never_loops_over_customers() -> None:
    rowwise = "iter_rows to_dicts rows rows_by_key itertuples iterrows map_elements map_rows"
    check(
        (
            f"{module.at(call)} .{call.func.attr}()"
            for module in modules("executor")
            for call in module.calls
            if isinstance(call.func, ast.Attribute) and call.func.attr in rowwise.split()
        ),
        "Columns in, columns out: write it as an expression over columns:",
    )


def test_requests_see_one_tenant() -> None:
    check(
        (
            module.at(node)
            for module in modules("campaigns/api")
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Attribute) and node.attr == "unscoped"
        ),
        "A request sees its own tenant only: use objects.of(tenant):",
    )


def test_recommendations_are_read_by_run() -> None:
    check(
        (
            module.at(node)
            for module in modules()
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Attribute)
            and ast.unparse(node.value).endswith("Recommendation")
            and node.attr in ("objects", "_default_manager", "_base_manager")
            and not is_run_query(module, node)
        ),
        "Without run_id PostgreSQL locks every partition: begin with "
        "Recommendation.objects.filter(run_id=...):",
    )


def is_run_query(module: Module, manager: ast.Attribute) -> bool:
    return any(
        isinstance(call.func, ast.Attribute)
        and call.func.value is manager
        and "run_id" in [keyword.arg for keyword in call.keywords]
        for call in module.calls
    )


def test_sql_on_recommendations_names_the_run() -> None:
    table = re.compile(r"\b(FROM|JOIN|UPDATE|INTO)\s+campaigns_recommendation\b", re.IGNORECASE)
    check(
        (
            module.at(node)
            for module in modules()
            for node in ast.walk(module.tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and table.search(node.value)
            and "run_id" not in node.value
        ),
        "Without run_id PostgreSQL locks every partition: add WHERE run_id = %s:",
    )

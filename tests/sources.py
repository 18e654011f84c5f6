"""The project's own source as syntax trees, for the tests that guard its rules."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("kaireon", "campaigns", "executor")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One Python file."""

    path: Path

    @property
    def file(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def name(self) -> str:
        parts = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.file)

    @cached_property
    def functions(self) -> list[Function]:
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]

    @cached_property
    def classes(self) -> list[ast.ClassDef]:
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef)]

    @cached_property
    def calls(self) -> list[ast.Call]:
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.Call)]

    @cached_property
    def imports(self) -> list[tuple[int, str]]:
        """Line and absolute dotted name of all it imports; names out of our packages as modules."""
        found = []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found += [(node.lineno, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                base = self._absolute(node)
                # `from campaigns import models` means the module, `from x import function` means x.
                found += [
                    (node.lineno, f"{base}.{alias.name}" if is_module(base, alias.name) else base)
                    for alias in node.names
                ]
        return found

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.name if self.path.name == "__init__.py" else self.name.rpartition(".")[0]
        parts = package.split(".")[: len(package.split(".")) - node.level + 1]
        return ".".join([*parts, *([node.module] if node.module else [])])

    def at(self, node: ast.stmt | ast.expr | int) -> str:
        return f"{self.file}:{node if isinstance(node, int) else node.lineno}"


def is_module(package: str, name: str) -> bool:
    folder = ROOT.joinpath(*package.split("."))
    return (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists()


@lru_cache
def modules(*folders: str) -> tuple[Module, ...]:
    """The modules under `folders` (default: our packages), without migrations."""
    paths = (path for folder in folders or PACKAGES for path in (ROOT / folder).rglob("*.py"))
    return tuple(Module(path) for path in sorted(paths) if "migrations" not in path.parts)


def within(name: str, *prefixes: str) -> bool:
    """Whether a dotted name is one of `prefixes` or lies below one."""
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def environment_names() -> Iterator[tuple[str, str]]:
    """(variable, place) for each environment variable that our code reads."""
    for module in modules():
        for call in module.calls:
            if _reads_environment(ast.unparse(call.func)) and call.args:
                yield from ((name, module.at(call)) for name in _literal(call.args[0]))
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ":
                yield from ((name, module.at(node)) for name in _literal(node.slice))


def _reads_environment(function: str) -> bool:
    return function.startswith("env.") or function in ("secret", "os.environ.get", "os.getenv")


def _literal(node: ast.expr) -> list[str]:
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []

"""The order of the packages: no module imports from a higher floor, and no two modules import each other.

Imports for types alone count as well: a reader has to know everything that a module names.
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path

from twisted.trial.unittest import TestCase

import perimeter

ROOT = Path(perimeter.__file__).parent
MAP = ROOT.parent / "docs" / "architecture.md"

FLOORS = (
    ("perimeter",),  # the version
    ("model",),
    ("errors",),
    ("recent", "repeats", "fair_queue", "strict_json", "json_prefix", "descriptors", "file_systems", "interpreter"),
    ("connection_faults", "limits", "secrets_key"),
    ("offload", "workers"),
    ("config.language",),
    ("web_client",),
    ("plugin",),
    ("config.site",),
    ("net",),
    ("audit", "redis"),
    ("acme",),
    ("http",),
    ("state",),
    ("tokens",),
    ("sessions", "providers"),
    ("factors",),
    ("cluster",),
    ("auth",),
    ("oidc",),
    ("gate",),
    ("proxy",),
    ("metrics", "traces"),
    ("targets",),
    ("web",),
    ("emit", "importers"),
    ("run.build",),
    ("run",),
    ("manager", "doctor"),
    ("cli",),
)
"""The packages, the lowest first. Those of one floor do not know each other."""


def floor_of(module: str) -> tuple[int, str]:
    """The floor of a module (``http.exchange``), and the package that stands there."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        for at, packages in enumerate(FLOORS):
            if name in packages:
                return at, name
    raise AssertionError(f"perimeter.{module} stands on no floor: add its package to FLOORS and to docs/architecture.md")


def modules() -> dict[str, Path]:
    """Every module that is more than a docstring, by its name without ``perimeter.``; the package itself is ``perimeter``."""
    found = {}
    for path in ROOT.rglob("*.py"):
        if len(ast.parse(path.read_text()).body) < 2:
            continue
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name or "perimeter"] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of this project that the file imports anywhere, in functions and for types as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            assert not node.level, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name.removeprefix("perimeter.") in known else str(node.module) for name in names]
        for name in names:
            if name == "perimeter" or name.startswith("perimeter."):
                found.add(name.removeprefix("perimeter."))
    return found & set(known)


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in edges[node]:
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            group, stack[at:] = stack[at:], []
            if len(group) > 1:
                found.append(sorted(group))

    for node in edges:
        if node not in index:
            visit(node)
    return found


@functools.cache
def graph() -> dict[str, set[str]]:
    """The modules that each module imports."""
    known = modules()
    return {name: imports(path, known) - {name} for name, path in known.items()}


class LayerTests(TestCase):
    def setUp(self) -> None:
        self.edges = graph()
        self.assertGreater(sum(map(len, self.edges.values())), 500)

    def test_nothing_imports_from_a_higher_floor(self) -> None:
        upward = []
        for module, others in self.edges.items():
            floor, package = floor_of(module)
            for other in others:
                above, there = floor_of(other)
                if above > floor or (above == floor and there != package):
                    upward.append(f"perimeter.{module} imports perimeter.{other}")
        self.assertEqual(sorted(upward), [])

    def test_no_circles(self) -> None:
        self.assertEqual(circles(self.edges), [])

    def test_circles_are_found(self) -> None:
        self.assertEqual(circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}), [["a", "b", "c"]])
        self.assertEqual(circles({"a": {"b"}, "b": {"c"}, "c": set()}), [])

    def test_the_map_shows_the_same_order(self) -> None:
        """The table of packages in docs/architecture.md goes from the highest floor down."""
        order = [
            set(re.findall(r"`perimeter\.([a-z_.]+)`", line.split("|")[1]))
            for line in MAP.read_text().splitlines()
            if line.startswith("| `perimeter.")
        ]
        self.assertEqual(order, [set(floor) for floor in reversed(FLOORS[1:])])

"""Mutation tests: a seeded sample of small faults, each of which some unit test of its package has to notice.

A mutant is one module with one change: a comparison, a boolean operator, a constant, a returned value, or a statement that is
left out. Each mutant is written to a copy of the checkout, and the tests in tests/unit/<package> run until the first one fails.
Those that survive run against all unit tests, and are counted apart if one of these fails. Messages, logging, annotations and
``__repr__`` are left as they are. mutmut needs pytest; cosmic-ray changes the checkout itself and has one set of tests for all.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

ROOT = Path(__file__).parents[2]
EVERYTHING = "."  # all unit tests, in the place of a package

PACKAGES = ("gate", "auth", "tokens", "http", "proxy", "state")
NEEDED = (
    *("perimeter", "tests", "twisted", "docs", "etc", "bench", "newsfragments", "scripts"),
    *("pyproject.toml", "README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE", "setup.py"),
)
"""The contents of the copies."""

OTHER: dict[type[ast.AST], ast.AST] = {
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
    ast.Lt: ast.LtE(),
    ast.LtE: ast.Lt(),
    ast.Gt: ast.GtE(),
    ast.GtE: ast.Gt(),
    ast.Is: ast.IsNot(),
    ast.IsNot: ast.Is(),
    ast.In: ast.NotIn(),
    ast.NotIn: ast.In(),
    ast.And: ast.Or(),
    ast.Or: ast.And(),
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
}
"""The operators that are exchanged."""


@dataclass(frozen=True)
class Mutant:
    """One change: the node ``number`` of the module ``path`` becomes variant ``variant`` of `changes`."""

    path: str
    number: int
    variant: int

    def make(self) -> tuple[str, str]:
        """A description for people, and the source of the whole module with the change."""
        tree = ast.parse((ROOT / self.path).read_text())
        node = next(one for number, one in enumerate(ast.walk(tree)) if number == self.number)
        before, replacement = ast.unparse(node), changes(node)[self.variant]
        replace(node, replacement, parents(tree)[node])
        what = f"{first_line(before)}  ->  {first_line(ast.unparse(replacement))}"
        return f"{self.path}:{getattr(node, 'lineno', 0)}: {what}", ast.unparse(ast.fix_missing_locations(tree))


def mutants(path: str) -> Iterator[Mutant]:
    """Every mutant of the module ``path``."""
    tree = ast.parse((ROOT / path).read_text())
    above = parents(tree)
    for number, node in enumerate(ast.walk(tree)):
        if (variants := changes(node)) and not skipped(node, above):
            yield from (Mutant(path, number, variant) for variant in range(len(variants)))


def parents(tree: ast.AST) -> dict[ast.AST, ast.AST]:
    """Each node and the node that it is part of."""
    return {child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)}


def changes(node: ast.AST) -> list[ast.AST]:
    """The nodes that may take the place of ``node``."""
    match node:
        case ast.Compare(left, [operator], comparators):
            return [ast.Compare(left, [OTHER[type(operator)]], comparators)]  # type: ignore[list-item]
        case ast.BoolOp(operator, values):
            return [ast.BoolOp(OTHER[type(operator)], values)]  # type: ignore[arg-type]
        case ast.BinOp(left, ast.Add() | ast.Sub() as operator, right):
            return [ast.BinOp(left, OTHER[type(operator)], right)]  # type: ignore[arg-type]
        case ast.UnaryOp(ast.Not(), operand):
            return [operand]
        case ast.Constant(bool(value)):
            return [ast.Constant(not value)]
        case ast.Constant(int(value) | float(value)):
            return [ast.Constant(value + 1)]
        case ast.Constant(bytes(value)) if value:
            return [ast.Constant(b"mutant" + value)]
        case ast.Return(ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            return [ast.Return(ast.Constant(None))]
        case ast.Expr(ast.Call() | ast.Await()) | ast.AugAssign() | ast.Raise() | ast.Delete():
            return [ast.Pass()]
        case ast.Assign([ast.Attribute() | ast.Subscript()]):
            return [ast.Pass()]
        case ast.Continue():
            return [ast.Break()]
    return []


def skipped(node: ast.AST, above: dict[ast.AST, ast.AST]) -> bool:
    """Whether a change of ``node`` shows in messages, logs, types or representations only."""
    while node in above:
        parent = above[node]
        match parent:
            case ast.Raise() | ast.JoinedStr() | ast.Assert():
                return True
            case ast.Call(ast.Attribute(ast.Name("log" | "_log") | ast.Attribute(attr="log" | "_log"))):
                return True
            case ast.If(ast.Name("TYPE_CHECKING")):
                return True
            case ast.FunctionDef(name="__repr__" | "__str__"):
                return True
            case ast.FunctionDef() | ast.AsyncFunctionDef() if node is parent.returns or node in parent.decorator_list:
                return True
            case ast.AnnAssign() | ast.arg() if node is parent.annotation:
                return True
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            called = ast.unparse(node.value.func)
            return "log." in called or called in {"tell", "request.explain"} or skipped(parent, above)
        node = parent
    return False


def replace(old: ast.AST, new: ast.AST, parent: ast.AST) -> None:
    """Put ``new`` in the place of ``old`` in its ``parent``."""
    for name, value in ast.iter_fields(parent):
        if value is old:
            setattr(parent, name, new)
        elif isinstance(value, list):
            value[:] = [new if one is old else one for one in value]


def first_line(text: str) -> str:
    """The first line of a piece of code, bounded."""
    return text.partition("\n")[0][:90]


class Copy:
    """A copy of the checkout in which one mutant lives at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._writes = 0
        subprocess.run(["cp", "--recursive", *(ROOT / name for name in NEEDED), directory], check=True)

    def passes(self, package: str, mutant: Mutant | None, timeout: float) -> bool:
        """Whether all tests of ``package`` pass with ``mutant`` (None: with the code as it is) within ``timeout`` seconds."""
        if mutant is not None:
            self._write(mutant.path, mutant.make()[1])
        try:
            return self._run(package, Path(mutant.path).stem if mutant else "", timeout)
        finally:
            if mutant is not None:
                self._write(mutant.path, (ROOT / mutant.path).read_text())

    def _write(self, path: str, source: str) -> None:
        file = self._directory / path
        file.write_text(source)
        # Python recompiles a module whose time or size has changed, and counts whole seconds
        self._writes += 1
        os.utime(file, (self._writes, self._writes))

    def _run(self, package: str, stem: str, timeout: float) -> bool:
        directory = self._directory / "tests" / "unit" / package
        modules = sorted(directory.rglob("test_*.py"), key=lambda file: (file.stem != f"test_{stem}", file))
        names = [file.relative_to(self._directory).with_suffix("").as_posix().replace("/", ".") for file in modules]
        command = [sys.executable, "-m", "twisted.trial", "--exitfirst", "--reporter=summary", *names]
        environment = {**os.environ, "PYTHONPATH": str(self._directory), "CI": "true"}
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, cwd=self._directory, env=environment, start_new_session=True, **quiet)
        try:
            return process.wait(timeout) == 0
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            return False


def main() -> int:
    """Sample, run, report. Returns 1 if fewer than the required share is killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=200, help="number of mutants (default: 200)")
    parser.add_argument("--seed", type=int, default=1, help="another seed takes another sample (default: 1)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--required", type=float, default=90.0, help="percent that has to be killed (default: 90)")
    parser.add_argument("packages", nargs="*", default=PACKAGES, metavar="PACKAGE", help=" ".join(PACKAGES))
    arguments = parser.parse_args()
    everything: list[tuple[str, Mutant]] = []
    for package in arguments.packages:
        paths = sorted((ROOT / "perimeter" / package).rglob("*.py"))
        everything += [(package, one) for path in paths for one in mutants(path.relative_to(ROOT).as_posix())]
    sample = random.Random(arguments.seed).sample(everything, min(arguments.sample, len(everything)))
    print(f"{len(sample)} of {len(everything)} mutants", flush=True)

    killed: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(arguments.jobs) as pool:
        copies: Queue[Copy] = Queue()
        for number in range(arguments.jobs):
            (Path(directory) / str(number)).mkdir()
            copies.put(Copy(Path(directory) / str(number)))
        timeouts: dict[str, float] = {}

        def passes(package: str, mutant: Mutant | None) -> bool:
            copy = copies.get()
            try:
                return copy.passes(package, mutant, timeouts.get(package, 600.0))
            finally:
                copies.put(copy)

        def fate(package: str, mutant: Mutant) -> str:
            if not passes(package, mutant):
                return "by the unit tests of its package"
            return "" if passes(EVERYTHING, mutant) else "by other unit tests"

        for package in (*arguments.packages, EVERYTHING):
            began = time.monotonic()
            if not passes(package, None):
                print(f"tests/unit/{package} fails without any mutant", file=sys.stderr)
                return 2
            timeouts[package] = 20 + 5 * (time.monotonic() - began)
        futures = [pool.submit(fate, package, mutant) for package, mutant in sample]
        for (_, mutant), future in zip(sample, futures, strict=True):
            killed[future.result()] += 1
            if not future.result():
                print(f"survived: {mutant.make()[0]}", flush=True)
    percent = 100 - 100 * killed[""] / len(sample)
    for how in sorted(filter(None, killed)):
        print(f"{killed[how]} mutants were killed {how}")
    print(f"{percent:.1f} % of {len(sample)} mutants were killed, and {arguments.required:.0f} % is required")
    return int(percent < arguments.required)


if __name__ == "__main__":
    sys.exit(main())

"""A gateway built from what ``perimeter import`` has written: its listeners, and what its gates admit."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import attrs
from click.testing import CliRunner
from twisted.internet.defer import Deferred

from perimeter.auth.registry import installed_kinds
from perimeter.cli.checking import run_check
from perimeter.cli.exits import Exit
from perimeter.cli.main import main
from perimeter.config.site.listener import ListenerSettings, Serve
from perimeter.config.site.load import load_site
from perimeter.config.site.perimeter import StateKind
from perimeter.errors import Refusal
from perimeter.gate.decision import Admitted
from perimeter.model import Principal
from perimeter.net.deadlines import Deadlines
from perimeter.run.build.assembly import assemble
from perimeter.run.build.prepared import prepare
from perimeter.run.build.runtime import Runtime
from tests.unit.doubles.auth import ImmediateThreads, ThreadClock, offload_with
from tests.unit.doubles.exchange_rig import Rig


class Imported:
    """The gateway of ``sources`` (text by name of file), imported into ``directory`` with one command.

    ``status`` is that of the command. The result has passed ``perimeter check``. The caller closes it.
    """

    def __init__(self, directory: Path, sources: Mapping[str, str]) -> None:
        paths = []
        for name, text in sources.items():
            (directory / name).write_text(text)
            paths.append(str(directory / name))
        self.site = directory / "site.ini"
        result = CliRunner().invoke(main, ["import", *paths, "-o", str(self.site)])
        self.output = result.output.replace(f"{directory}/", "")
        self.status = result.exit_code
        assert self.status in (0, Exit.PARTLY), f"{self.status}: {self.output} {result.exception!r}"
        checked, words = run_check(self.site)
        assert checked == 0, f"{words}\n{self.site.read_text()}"
        config = load_site(self.site, kinds=installed_kinds())
        in_memory = attrs.evolve(config.perimeter, state=StateKind.MEMORY)  # a database takes a sixth of the time
        self.config = attrs.evolve(config, perimeter=in_memory)
        clock = ThreadClock()
        clock.advance(1_800_000_000)
        at_once = offload_with(ImmediateThreads(), clock)
        runtime = Runtime(clock, at_once, Deadlines(clock), hashing=at_once, blocking=at_once)
        self._prepared = prepare(lambda: self.config, runtime)
        self.assembly = assemble(self._prepared, runtime)

    def close(self) -> None:
        """Close the files of the gateway."""
        self._prepared.discard()

    @property
    def left(self) -> list[str]:
        """What was not translated: file, line and words."""
        return [line.removeprefix("not translated: ") for line in self.output.splitlines() if line.startswith("not translated: ")]

    def served(self) -> list[ListenerSettings]:
        """The listeners for clients: not those of metrics and redirects."""
        return [one for one in self.config.listeners if one.serve in (Serve.GATEWAY, Serve.TOKENS)]

    def open_without_credentials(self, listener: str, path: str, *headers: str) -> bool:
        """Whether the gate of a listener sends such a request on to a service or a file."""
        exchange = Rig(f"GET {path} HTTP/1.1", headers, decided=False).exchange
        try:
            admitted = self.assembly.gates[listener].judge(exchange, exchange.head)
        except Refusal:
            return False
        return isinstance(admitted, Admitted) and not admitted.route.builtin

    def principal(self, listener: str, path: str, authorization: str) -> Principal | None:
        """The user whom the gate admits with an ``Authorization`` header, None if it does not."""
        exchange = Rig(f"GET {path} HTTP/1.1", [f"Authorization: {authorization}"] * bool(authorization), decided=False).exchange
        try:
            found = self.assembly.gates[listener].judge(exchange, exchange.head)
        except Refusal:
            return None
        if isinstance(found, Admitted):
            return found.principal
        results: list[object] = []
        Deferred.fromCoroutine(found).addBoth(results.append)  # type: ignore[arg-type]
        (result,) = results
        return result.principal if isinstance(result, Admitted) else None


def covers(wide: str, narrow: str) -> bool:
    """Whether a listener on ``wide`` is reached wherever one on ``narrow`` is. "" is every interface; loopback always is."""
    if narrow and ip_address(narrow).is_loopback:
        return True
    return wide == "" or wide == narrow

"""A DNS server for tests: ``python dns_server.py PORT ZONE``. ZONE is a JSON file, read for each question.

It has ``{name: {"ttl": seconds, "addresses": [...]}}``; a name that is not there does not exist, and ``"fault": true`` makes the
server fail.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.names.common import ResolverBase
from twisted.names.dns import AAAA, IN, A, DNSDatagramProtocol, Record_A, Record_AAAA, RRHeader
from twisted.names.error import DomainError
from twisted.names.server import DNSServerFactory


class Zone(ResolverBase):
    """Answers from a file."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def _lookup(self, name: bytes, cls: int, type: int, timeout: Any) -> Deferred[Any]:
        text = name.decode("ascii").lower()
        entry = json.loads(self.file.read_text()).get(text)
        if entry is None:
            return fail(DomainError(name))
        if entry.get("fault"):
            return fail(RuntimeError("on purpose"))
        wanted = [one for one in entry["addresses"] if (":" in one) == (type == AAAA)] if type in (A, AAAA) else []
        kind, ttl = Record_AAAA if type == AAAA else Record_A, entry["ttl"]
        return succeed(([RRHeader(name, type, IN, ttl, kind(one, ttl)) for one in wanted], [], []))


def main() -> None:
    """Serve until SIGTERM."""
    factory = DNSServerFactory(clients=[Zone(Path(sys.argv[2]))])
    reactor.listenUDP(int(sys.argv[1]), DNSDatagramProtocol(factory), "127.0.0.1")
    reactor.listenTCP(int(sys.argv[1]), factory, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main()

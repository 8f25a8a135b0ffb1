"""Looks up the addresses of a name: in /etc/hosts, then in DNS with Twisted's resolver.

The resolver of the system (getaddrinfo) does not return the TTL of an answer, and takes a thread. Here each answer has its TTL,
and one look-up sends the questions for IPv4 and IPv6 at once. `perimeter.proxy.lookups` decides how often a name is looked up.
The import takes 0.1 s, so only a gateway that looks up names imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, TimeoutError
from twisted.names.client import Resolver
from twisted.names.dns import AAAA, CNAME, A
from twisted.names.error import DNSNameError, DNSQueryRefusedError, DNSQueryTimeoutError, DNSServerError
from twisted.names.hosts import searchFileForAll
from twisted.python.failure import Failure
from twisted.python.filepath import FilePath

from perimeter.config.site.lookup import NameServer
from perimeter.net.addresses import Address, Answer, LookupFailed, Questions, answer, read_questions

HOSTS: Final = Path("/etc/hosts")
RESOLV_CONF: Final = Path("/etc/resolv.conf")

HOSTS_TTL: Final = 30.0
"""Seconds for which an address from /etc/hosts holds."""

TRIES: Final = (1, 2, 2)
"""Seconds to wait for each DNS server, in the rounds through all of them."""

LONGEST: Final = 20.0
"""Seconds for a look-up."""

_LOCAL = NameServer("127.0.0.1")
"""The server to ask if resolv.conf names none."""

_FAULTS = (
    (DNSNameError, "the name does not exist"),
    ((TimeoutError, DNSQueryTimeoutError), "no answer of the DNS servers"),
    (DNSServerError, "the DNS server has failed"),
    (DNSQueryRefusedError, "the DNS server has refused the question"),
)


def read_files(name: str, hosts: Path = HOSTS, resolv_conf: Path = RESOLV_CONF) -> tuple[Sequence[str], Questions]:
    """The addresses of ``name`` in /etc/hosts, and what resolv.conf says. Blocks. A file that cannot be read counts as empty."""
    try:
        text = resolv_conf.read_text(errors="replace")
    except OSError:
        text = ""
    return searchFileForAll(FilePath(str(hosts)), name.encode("ascii")), read_questions(text)


class Names:
    """Looks up names, at ``servers`` or, without any, at those of the system. ``in_thread`` calls a function in a thread."""

    def __init__(self, reactor: Any, servers: Sequence[NameServer], in_thread: Callable[..., Deferred[Any]]) -> None:
        self._reactor = reactor
        self._servers = tuple(servers)
        self._in_thread = in_thread

    async def look_up(self, name: str) -> Answer:
        """The addresses of ``name``. Raises `LookupFailed`, after `LONGEST` seconds at the latest."""
        try:
            return await Deferred.fromCoroutine(self._look_up(name)).addTimeout(LONGEST, self._reactor)
        except TimeoutError:
            raise LookupFailed("no answer of the DNS servers") from None

    async def _look_up(self, name: str) -> Answer:
        known, questions = await self._in_thread(read_files, name)
        if known:
            return answer((ip_address(one), HOSTS_TTL) for one in known)
        servers = self._servers or questions.servers or (_LOCAL,)
        resolver = Resolver(servers=[(one.address, one.port) for one in servers], timeout=TRIES, reactor=self._reactor)
        first: LookupFailed | None = None
        for full in questions.names(name):
            try:
                return await _ask(resolver, full)
            except LookupFailed as failed:
                first = first or failed
        assert first is not None
        raise first


async def _ask(resolver: Resolver, name: str) -> Answer:
    """The addresses of exactly this name."""
    asked = [resolver.lookupAddress(name), resolver.lookupIPV6Address(name)]
    found: list[tuple[Address, float]] = []
    faults: dict[int, str] = {}
    for version, (success, result) in zip((4, 6), await DeferredList(asked, consumeErrors=True), strict=True):
        if not success:
            faults[version] = _fault(result)
            continue
        records = result[0]
        aliases = [record.ttl for record in records if record.type == CNAME]
        addresses = [record for record in records if record.type in (A, AAAA)]
        found += [(ip_address(record.payload.address), float(min([record.ttl, *aliases]))) for record in addresses]
    if not found and faults:
        raise LookupFailed(faults.get(4) or faults[6])
    return answer(found, next(iter(faults), 0))


def _fault(failure: Failure) -> str:
    for kinds, text in _FAULTS:
        if failure.check(*(kinds if isinstance(kinds, tuple) else (kinds,))):
            return text
    return f"the look-up failed with {type(failure.value).__name__}"

"""Shared by the tests of LDAP: an authenticator in this process, and directories that several tests use."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet import reactor, tcp

from perimeter.auth.kinds.ldap.authenticator import LdapAuthenticator, LdapFactory
from perimeter.auth.kinds.ldap.settings import LdapSettings, Tls
from perimeter.model import AuthenticationRequest, BasicCredentials, Principal
from perimeter.offload import Offload
from perimeter.plugin.services import AuthServices
from tests.integration.directories import SEARCHER, SEARCHER_PASSWORD, SUFFIX, Slapd
from tests.integration.harness import GatewayCase
from tests.integration.netkit import eventually

REQUEST = AuthenticationRequest("192.0.2.1")
PEOPLE = f"ou=people,{SUFFIX}"
GROUPS = f"ou=groups,{SUFFIX}"

T = TypeVar("T")
_shared: dict[Callable[[Path], Any], Any] = {}


def shared(start: Callable[[Path], T]) -> T:
    """The result of ``start`` in a directory of its own, once for all tests; its ``kill`` is called when the interpreter ends."""
    if start not in _shared:
        _shared[start] = None  # a failed start is not tried again for each test
        directory = Path(tempfile.mkdtemp(prefix="perimeter-test-"))
        made: Any = start(directory)
        _shared[start] = made

        def end() -> None:
            made.kill()
            shutil.rmtree(directory, ignore_errors=True)

        atexit.register(end)
    if _shared[start] is None:
        raise AssertionError("it did not start for an earlier test")
    return _shared[start]  # type: ignore[no-any-return]


class LdapCase(GatewayCase):
    """Authenticators in this process, whose connections are closed at the end of each test."""

    _waiting = False

    def authenticator(self, settings: LdapSettings) -> LdapAuthenticator:
        """A server that is stopped at the end."""
        if not self._waiting:
            self._waiting = True
            self.addCleanup(self._gone)  # the last of all cleanups
        made = LdapFactory().build("corp", "staff", settings, AuthServices(reactor, Offload(reactor)))
        self.addCleanup(made.stop)
        return made

    async def _gone(self) -> None:
        # Closing takes a turn or two of the reactor, with TLS a round trip.
        def none_left() -> bool:
            return not any(isinstance(one, tcp.Client) for one in (*reactor.getReaders(), *reactor.getWriters()))

        await eventually(none_left, 10)

    def slapd(self, entries: Iterable[str] = (), **options: Any) -> Slapd:
        """A slapd for this test only."""
        self.need("slapd", "ldapmodify")
        slapd = Slapd(self.directory(), entries, **options)
        self.addCleanup(slapd.kill)
        return slapd

    async def login(self, authenticator: LdapAuthenticator, username: str, password: str) -> Principal | None:
        """The result of a login with a name and a password."""
        return await authenticator.authenticate(BasicCredentials(username, password), REQUEST)


def settings_for(*slapds: Slapd, tls: str = "none", host: str = "localhost", **options: Any) -> LdapSettings:
    """Settings for the directory that ``slapds`` hold."""
    options.setdefault("user_base_dn", PEOPLE)
    options.setdefault("role_base_dn", GROUPS)
    options.setdefault("bind_dn", SEARCHER)
    options.setdefault("bind_password", SEARCHER_PASSWORD)
    # a machine that is busy with other tests is slow
    options.setdefault("timeout", 60.0)
    options.setdefault("server_timeout", 20.0)
    if tls != "none":
        options.setdefault("ca_certificate", slapds[0].authority.certificate)
    servers = tuple((host, one.tls_port if tls == "ldaps" else one.port) for one in slapds)
    return LdapSettings(hostname=servers, tls=Tls(tls), **options)

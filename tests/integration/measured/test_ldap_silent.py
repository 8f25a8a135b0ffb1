"""How long logins wait for a directory that is silent."""

from __future__ import annotations

from twisted.internet import reactor

from perimeter.errors import Unavailable
from tests.integration import test_ldap_failing
from tests.integration.ldapkit import LdapCase, settings_for

JOHN, ENTRIES = test_ldap_failing.JOHN, test_ldap_failing.ENTRIES


class SilentTests(LdapCase):
    async def test_a_silent_directory_takes_one_timeout(self) -> None:
        server = self.slapd(ENTRIES)
        ldap = self.authenticator(settings_for(server, server_timeout=0.5, timeout=3))
        self.assertEqual(await self.login(ldap, "john", "secret"), JOHN)
        server.freeze()
        self.addCleanup(server.thaw)
        for _ in range(2):  # on an existing connection, and on a new one that the system accepts
            began = reactor.seconds()
            with self.assertRaises(Unavailable) as caught:
                await self.login(ldap, "john", "secret")
            self.assertRegex(caught.exception.detail, "within (0.5|1) s")
            self.assertLess(reactor.seconds() - began, 2.5)
        server.thaw()
        self.assertEqual(await self.login(ldap, "john", "secret"), JOHN)

"""``[augmenter NAME]`` with ``type = ldap`` against a real slapd."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults

from perimeter.auth.augment.ldap import LdapAugmenter, LdapAugmenterFactory, LdapAugmenterSettings, roles_of_group
from perimeter.config.site.server import ServerSettings
from perimeter.errors import Unavailable, Undecided
from perimeter.model import AuthenticationRequest, Principal
from perimeter.offload import Offload
from perimeter.plugin.services import AuthServices
from tests.integration.directories import SEARCHER, SEARCHER_PASSWORD, SUFFIX, Slapd, person
from tests.integration.harness import site
from tests.integration.ldapkit import PEOPLE, LdapCase, shared

REQUEST = AuthenticationRequest("192.0.2.1")
TEAM = f"ou=TeamA,ou=groups,{SUFFIX}"


def populated(directory: Path) -> Slapd:
    """``seeAlso`` is used in place of ``memberOf``, for which slapd would need an overlay."""
    return Slapd(
        directory,
        [
            person("john", "", f"seeAlso: cn=Admin,{TEAM}", f"seeAlso: cn=Other,ou=groups,{SUFFIX}"),
            person("jane"),
            person("José", "", f"seeAlso: cn=Data,ou=Sub,{TEAM}"),
            person("evil", "", f"seeAlso: cn=x\\,ou\\=TeamA,ou=groups,{SUFFIX}", f"seeAlso: cn=a/Admin,{TEAM}"),
            person("twin", cn="double"),
            person("twin2", cn="double"),
        ],
    )


class LdapAugmenterTests(LdapCase):
    def setUp(self) -> None:
        self.need("slapd", "ldapmodify")
        self.directory_server = shared(populated)

    def augmenter(self, port: int = 0, **options: Any) -> LdapAugmenter:
        options = {"bind_dn": SEARCHER, "ldap_password": SEARCHER_PASSWORD, "timeout": 20.0, **options}
        settings = LdapAugmenterSettings(
            server=ServerSettings("ldap", "localhost", port or self.directory_server.port),
            search_base=PEOPLE,
            member_of="seeAlso",
            **options,
        )
        if not self._waiting:
            self._waiting = True
            self.addCleanup(self._gone)
        services = AuthServices(reactor, Offload(reactor))  # type: ignore[arg-type]
        made = LdapAugmenterFactory().build("groups", "r", settings, services)
        self.addCleanup(made.stop)
        return made

    async def roles(self, name: str, **options: Any) -> tuple[str, ...]:
        found = await self.augmenter(**options).augment(Principal(name, "r", ("own",)), REQUEST)
        self.assertEqual(found.roles[0], "own", "nothing is taken away")
        return found.roles[1:]

    async def test_groups_give_their_names(self) -> None:
        self.assertEqual(sorted(await self.roles("john")), ["Admin", "Other"])
        self.assertEqual(await self.roles("José"), ("Data",))
        self.assertEqual(await self.roles("jane"), ())
        self.assertEqual(await self.roles("nobody"), ())

    async def test_a_filter_leaves_out_other_groups(self) -> None:
        self.assertEqual(await self.roles("john", filter="OU=teama"), ("Admin",))
        self.assertEqual(await self.roles("john", filter="ou=groups,ou=TeamA"), ("Admin",), "written the other way round")
        self.assertEqual(await self.roles("john", filter="ou=TeamB"), ())

    async def test_filters_give_paths(self) -> None:
        self.assertEqual(await self.roles("john", filters=("ou=TeamA",)), ("/TeamA/Admin",))
        self.assertEqual(await self.roles("José", filters=("ou=TeamA", "ou=Sub")), ("/TeamA/Sub/Data", "/Sub/Data"))

    async def test_attack_15_a_groups_name_is_no_fragment_and_no_path(self) -> None:
        self.assertEqual(await self.roles("evil", filters=("ou=TeamA",)), ())
        self.assertEqual(await self.roles("evil", filter="ou=TeamA"), ("a/Admin",))
        for dn in ("cn=a\\0d\\0ab,ou=TeamA", "ou=TeamA", "nothing", "", "cn=,ou=TeamA"):
            self.assertEqual(roles_of_group(dn, (), ()), [], dn)

    async def test_attack_31_names_are_no_filters(self) -> None:
        for name in ("*", "jo*", "john)(cn=*", "john)(|(cn=john)", "a@b@c"):
            self.assertEqual(await self.roles(name), (), name)

    async def test_attack_41_an_ambiguous_name_is_undecided(self) -> None:
        with self.assertRaises(Undecided):
            await self.roles("double")

    async def test_attack_41_a_directory_that_cannot_be_asked_lets_no_client_in(self) -> None:
        with self.assertRaises(Unavailable):
            await self.roles("john", port=1)
        with self.assertRaises(Unavailable):
            await self.roles("john", ldap_password="wrong")

    async def test_roles_are_remembered_and_asked_once(self) -> None:
        augmenter = self.augmenter()
        searches: list[Any] = []
        original = augmenter._directory.search

        async def search(question: Any) -> Any:
            searches.append(question)
            return await original(question)

        self.patch(augmenter._directory, "search", search)
        john = Principal("john", "r")
        await gatherResults([ensureDeferred(augmenter.augment(john, REQUEST)) for _ in range(5)])
        await augmenter.augment(john, REQUEST)
        self.assertEqual(len(searches), 1)
        await augmenter.augment(Principal("José", "r"), REQUEST)
        self.assertEqual(len(searches), 2)

    def test_a_gateway_with_one(self) -> None:
        app = self.upstream()
        augmenter = (
            "[augmenter groups]\ntype = ldap\nrealm = local\nmember_of = seeAlso\nuser_object_class = inetOrgPerson\n"
            f"uri = ldap://127.0.0.1:{self.directory_server.port}\nsearch_base = {PEOPLE}\nbind_dn = {SEARCHER}\n"
            f"ldap_password = {SEARCHER_PASSWORD}\nfilters =\n    ou=TeamA\n"
        )
        routes = f"[upstream app]\nservers = {app.url}\n\n[route app]\npath = /\nupstream = app\n"
        gateway = self.gateway(site(routes, extra=augmenter), {"users.realm": "john: secret,own\n"})
        with gateway.connect("http") as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: gw\r\nAuthorization: Basic am9objpzZWNyZXQ=\r\n\r\n")
            self.assertEqual(wire.response().status, 200)
        self.assertEqual(app.requests[-1].get("x-auth-roles"), "own,/TeamA/Admin")

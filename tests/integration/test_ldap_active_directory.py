"""The LDAP authenticator against a real Active Directory domain controller: Samba's."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path
from typing import Any
from unittest import SkipTest

import attrs

from perimeter.auth.kinds.ldap.settings import LdapSettings, RoleRule
from perimeter.auth.kinds.ldap.values import Equal, Search
from perimeter.errors import Rejected, Unavailable
from perimeter.model import Principal, Recollection
from tests.integration.directories import AD_BASE, AD_REALM, SambaDomain, ad_group, ad_user
from tests.integration.harness import ETC
from tests.integration.kerberos_realm import client_configuration
from tests.integration.ldapkit import REQUEST, LdapCase, shared
from tests.integration.wire import basic
from tests.unit.doubles.ldap_sections import parsed

USERS = f"CN=Users,{AD_BASE}"


def domain(directory: Path) -> SambaDomain:
    """The domain of these tests."""
    return SambaDomain(
        directory,
        [
            ad_user("svc-gateway", "svc-pass"),
            ad_user("Alice", "wonderland", "userPrincipalName: alice.liddell@example.com", "mail: al@mail.example.com"),
            ad_user("bob", "builder", "userPrincipalName: bob@corp.example.org"),
            ad_user("gone", "gone-pass", disabled=True),
            ad_user("left", "left-pass", "accountExpires: 130000000000000000"),
            ad_user("fresh", "fresh-pass", "pwdLastSet: 0"),
            ad_user("clumsy", "clumsy-pass"),
            f"dn: CN=machine,CN=Computers,{AD_BASE}\nchangetype: add\nobjectClass: computer\nsAMAccountName: machine$\n",
            ad_group("Gateway Admins", "Alice"),
            ad_group("Inner", "bob"),
            ad_group("Middle", "Inner"),
            ad_group("Outer", "Middle"),
            ad_group("Odd, comma", "bob"),
            ad_group("Big", "gone", "left", "fresh", "clumsy", "svc-gateway"),
        ],
    )


class ActiveDirectoryTests(LdapCase):
    timeout = 240

    def setUp(self) -> None:
        self.need("samba", "samba-tool", "ldapmodify")
        if os.geteuid():
            raise SkipTest("Samba's ports are fixed and low: only root can start a domain controller")
        self.dc = shared(domain)

    def settings(self, **options: Any) -> LdapSettings:
        """The configuration in docs/how-to/active-directory.md."""
        given = {
            "flavour": "active-directory",
            "hostname": self.dc.address,
            "tls": "ldaps",
            "ca_certificate": str(self.dc.authority.certificate),
            "bind_dn": f"CN=svc-gateway,{USERS}",
            "bind_password": "svc-pass",
            "user_base_dn": AD_BASE,
            "role_base_dn": AD_BASE,
            "domain": "corp.example.org",
            "netbios_domain": "CORP",
            # a machine that is busy with other tests is slow
            "timeout": "60s",
            "server_timeout": "20s",
        }
        return parsed(**given | options)

    async def found(self, username: str, password: str, **options: Any) -> Principal:
        found = await self.login(self.authenticator(self.settings(**options)), username, password)
        assert found is not None, username
        return found

    async def test_the_recipe_of_the_manual(self) -> None:
        text = (ETC.parent / "docs/how-to/active-directory.md").read_text()
        recipe = text.partition("```ini\n")[2].partition("```")[0]
        for shipped, here in (
            ("dc1.corp.example.com, dc2.corp.example.com", self.dc.address),
            ("corp-ca.pem", str(self.dc.authority.certificate)),
            ("credential:ad-password", "svc-pass"),
            ("OU=Services", "CN=Users"),
            ("OU=Groups", "CN=Users"),
            ("DC=corp,DC=example,DC=com", AD_BASE),
            ("corp.example.com", "corp.example.org"),
        ):
            self.assertIn(shipped, recipe)
            recipe = recipe.replace(shipped, here)
        service = self.upstream()
        gateway = self.gateway(
            "[perimeter]\nstate_dir = state\n\n[listener http]\nport = @http@\ninterface = 127.0.0.1\n\n"
            f"{recipe}timeout = 60s\nserver_timeout = 20s\n\n[authentication]\ntimeout = 60s\n\n"
            f"[upstream app]\nservers = {service.url}\n\n"
            "[route app]\npath = /\nupstream = app\nallow = role:admin\n\n[audit]\npath = access.log\n"
        )
        for name in ("alice", "CORP\\alice", "alice@corp.example.org"):
            with gateway.connect("http") as wire:
                self.assertEqual(wire.get("/", basic(name, "wonderland")).status, 200)
            received = service.next()
            told = [received.get(field) for field in ("x-auth-username", "x-auth-realm", "x-auth-roles")]
            self.assertEqual(told, ["Alice", "corp", "admin"])
        with gateway.connect("http") as wire:
            self.assertEqual(wire.get("/", basic("bob", "builder")).status, 403)
        with gateway.connect("http") as wire:
            refused = wire.get("/", basic("gone", "gone-pass"))
        self.assertEqual(refused.status, 401)
        self.assertNotIn(b"533", refused.body)
        self.assertNotIn(b"disabled", refused.body)

    async def test_every_name_of_a_user_is_the_same_principal(self) -> None:
        for name in (
            *("Alice", "alice", "ALICE", "alice.liddell@example.com", "Alice.Liddell@EXAMPLE.com"),
            *("CORP\\alice", "corp\\ALICE", "corp.example.org\\alice", "alice@corp.example.org"),
        ):
            found = await self.found(name, "wonderland")
            self.assertEqual(found, Principal("Alice", "staff", ("Gateway Admins",), "corp"), name)

    async def test_names_of_other_domains_are_left_to_the_next_authenticator(self) -> None:
        ldap = self.authenticator(self.settings())
        for name in ("OTHER\\alice", "alice@other.org", "\\alice", "CORP\\", "CORP\\bob@corp.example.org", "nobody"):
            self.assertIsNone(await self.login(ldap, name, "wonderland"), name)

    async def test_the_gateways_account_by_principal_name(self) -> None:
        found = await self.found("alice", "wonderland", bind_dn="svc-gateway@corp.example.org")
        self.assertEqual(found.username, "Alice")

    async def test_starttls_and_no_tls(self) -> None:
        self.assertEqual((await self.found("alice", "wonderland", tls="starttls")).username, "Alice")
        settings = self.settings(tls="none", ca_certificate="")
        with self.assertRaises(Unavailable) as caught:
            await self.login(self.authenticator(settings), "alice", "wonderland")
        self.assertIn("strongerAuthRequired); the directory takes passwords over TLS only", caught.exception.detail)

    async def test_nested_groups(self) -> None:
        self.assertEqual((await self.found("bob", "builder")).roles, ("Inner", "Middle", "Odd, comma", "Outer"))
        self.assertEqual((await self.found("bob", "builder", nested_groups="no")).roles, ("Inner", "Odd, comma"))

    async def test_a_mail_address_and_attributes(self) -> None:
        for name in ("alice", "al@mail.example.com", "alice@corp.example.org", "alice.liddell@example.com"):
            found = await self.found(name, "wonderland", user_id_attribute="sAMAccountName, mail", attributes="mail, cn")
            self.assertEqual((found.username, found.attributes), ("Alice", {"mail": "al@mail.example.com", "cn": "Alice"}))
        template = "(&(objectCategory=person)(objectClass=user)(|(sAMAccountName={username})(mail={username})))"
        for name in ("alice", "al@mail.example.com"):
            self.assertEqual((await self.found(name, "wonderland", user_filter=template)).roles, ("Gateway Admins",))
        groups = "(&(objectClass=group)(member={dn}))"
        self.assertEqual(
            (await self.found("bob", "builder", role_filter=groups)).roles, ("Inner", "Middle", "Odd, comma", "Outer")
        )

    async def test_attack_142_values_that_come_in_parts_are_all_of_them(self) -> None:
        directory = self.authenticator(self.settings())._directory
        whole = Search(AD_BASE, Equal("cn", "Big"), ("member",), 1)
        members = (await directory.search(whole)).entries[0].values("member")
        self.assertEqual(len(members), 5)
        for first in ("member;range=0-2", "member;range=0-0"):
            found = await directory.search(attrs.evolve(whole, attributes=(first,)))
            self.assertEqual(sorted(found.entries[0].values("member")), sorted(members))

    async def test_a_ticket_of_the_domain(self) -> None:
        """Its case does not matter to Active Directory, and it contains the groups of the user."""
        self.need("kinit", "curl")
        if importlib.util.find_spec("gssapi") is None:
            raise SkipTest("gssapi is not installed: scripts/test installs it where Kerberos' headers are")
        keytab = self.dc.keytab("HTTP/localhost", "svc-gateway")
        directory = self.directory()
        realm = {"KRB5_CONFIG": f"{directory}/krb5.conf", "KRB5CCNAME": f"FILE:{directory}/cache"}
        (directory / "krb5.conf").write_text(client_configuration(AD_REALM, f"{self.dc.address}:88"))
        service = self.upstream()
        gateway = self.gateway(
            "[perimeter]\nstate_dir = state\n\n[listener http]\nport = @http@\ninterface = 127.0.0.1\n\n"
            f"[authenticator tickets]\ntype = kerberos\nrealm = corp\nkeytab = {keytab}\nkerberos_realm = {AD_REALM}\n\n"
            f"[augmenter groups]\ntype = ldap\nrealm = corp\nuri = ldaps://{self.dc.address}\n"
            f"ca_certificate = {self.dc.authority.certificate}\nbind_dn = CN=svc-gateway,{USERS}\nldap_password = svc-pass\n"
            f"search_base = {AD_BASE}\nuser_object_class = user\nuser_id_attribute = sAMAccountName\nattributes = mail\n\n"
            f"[upstream app]\nservers = {service.url}\n\n"
            '[route app]\npath = /\nupstream = app\nallow = role:"Gateway Admins"\n'
            "request_headers = set X-Mail %{attribute:mail}\n\n[audit]\npath = access.log\n",
            environ={"KRB5RCACHENAME": f"file2:{directory}/seen"},
        )
        environ = {**os.environ, **realm}
        for name, password, status in (("alice", "wonderland", "200"), ("ALICE", "wonderland", "200"), ("bob", "builder", "403")):
            subprocess.run(["kinit", name], input=password, text=True, env=environ, check=True, capture_output=True, timeout=60)
            command = ["curl", "-sS", "--negotiate", "-u", ":", "-o", "/dev/null", "-w", "%{http_code}"]
            url = f"http://localhost:{gateway['http']}/"
            done = subprocess.run([*command, url], text=True, env=environ, check=True, capture_output=True, timeout=60)
            self.assertEqual(done.stdout, status, f"{name}: {gateway.log}")
            if status == "200":
                received = service.next()
                told = [received.get(field) for field in ("x-auth-username", "x-auth-roles", "x-mail")]
                self.assertEqual(told, ["alice", "Gateway Admins", "al@mail.example.com"])

    async def test_mapping_by_distinguished_name_and_by_name(self) -> None:
        mapping = f"\n  cn=outer, cn=users, {AD_BASE.lower()} -> member\n  inner -> insider\n  Gateway Admins -> admin"
        self.assertEqual((await self.found("bob", "builder", role_mapping=mapping)).roles, ("insider", "member"))
        self.assertEqual((await self.found("alice", "wonderland", role_mapping=mapping)).roles, ("admin",))
        self.assertEqual(self.settings(role_mapping=mapping).role_mapping[1], RoleRule("inner", "insider"))

    async def rejected(self, username: str, password: str) -> str:
        ldap = self.authenticator(self.settings())
        with self.assertRaises(Rejected) as caught:
            await self.login(ldap, username, password)
        # the client gets the same answer in every case
        self.assertEqual(caught.exception.phrase, "The credentials are wrong")
        return str(caught.exception.detail)

    async def test_the_log_has_the_reason_and_the_response_does_not(self) -> None:
        for username, password, reason in (
            ("alice", "wrong", "52e: wrong password"),
            ("gone", "gone-pass", "533: the account is disabled"),
            ("left", "left-pass", "701: the account has expired"),
            ("fresh", "fresh-pass", "773: the password must be changed first"),
        ):
            self.assertIn(reason, await self.rejected(username, password), username)

    async def test_attack_39_the_owner_of_an_api_token_is_recalled_without_a_password(self) -> None:
        ldap = self.authenticator(self.settings())
        for name, roles in (("Alice", ("Gateway Admins",)), ("bob", ())):
            found = await ldap.authenticate(Recollection(name), REQUEST)
            assert found is not None, name
            self.assertEqual(found.username, name)
            self.assertTrue(set(roles) <= set(found.roles), found)
        for name in ("gone", "left", "nobody", "machine$"):
            self.assertIsNone(await ldap.authenticate(Recollection(name), REQUEST), name)

    async def test_a_locked_account(self) -> None:
        for _ in range(3):
            self.assertIn("52e", await self.rejected("clumsy", "wrong"))
        self.assertIn("775: the account is locked", await self.rejected("clumsy", "clumsy-pass"))

    async def test_computers_do_not_log_in(self) -> None:
        ldap = self.authenticator(self.settings())
        self.assertIsNone(await self.login(ldap, "machine$", "machine"))

    async def test_attack_29_an_unknown_user_costs_a_bind_too(self) -> None:
        ldap = self.authenticator(self.settings())
        self.assertIsNone(await self.login(ldap, "nobody", "secret"))

    async def test_attack_31_no_name_is_a_filter(self) -> None:
        ldap = self.authenticator(self.settings())
        for name in ("*", "al*", "alice)(sAMAccountName=*", "alice*@corp.example.org", "CORP\\al*", "(|(cn=*))"):
            self.assertIsNone(await self.login(ldap, name, "wonderland"), name)

    async def test_attack_32_an_empty_password(self) -> None:
        await self.rejected("alice", "")

"""A gateway in front of a real slapd: what clients see while the directory works, changes, dies and comes back."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

from tests.integration.directories import SEARCHER, SEARCHER_PASSWORD, SUFFIX, Slapd, group, line, person
from tests.integration.harness import ETC, Gateway, GatewayCase, site
from tests.integration.ldapkit import GROUPS, PEOPLE
from tests.integration.ports import eventually
from tests.integration.wire import Response, basic, bearer

LDAP = """\
[authenticator corp]
type = ldap
realm = staff
hostname = 127.0.0.1
port = {port}
user_base_dn = {people}
bind_dn = {searcher}
bind_password = {password}
role_base_dn = {groups}
timeout = 5s
server_timeout = 2s
rest = 1s
"""


def crowd(count: int) -> list[str]:
    return [person(f"user{number}", f"pw{number}") for number in range(count)]


class LdapGatewayCase(GatewayCase):
    """Starts a directory and a gateway that uses it."""

    def serve(self, entries: list[str], routes: str = "", authentication: str = "", extra: str = "", ldap: str = "") -> Gateway:
        self.need("slapd", "ldapmodify")
        self.server = Slapd(self.directory(), entries)
        self.addCleanup(self.server.kill)
        place = {"port": self.server.port, "people": PEOPLE, "groups": GROUPS}
        ldap = LDAP.format(**place, searcher=SEARCHER, password=SEARCHER_PASSWORD) + ldap
        service = self.upstream()
        self.service = service
        text = site(
            f"[upstream app]\nservers = {service.url}\n\n[route app]\npath = /\nupstream = app\n{routes}",
            extra=f"{ldap}{extra}\n[authentication]\norder = corp\n{authentication}",
        )
        # only the users of the directory
        text = text.replace("[authenticator local]\ntype = realmfile\npath = users.realm\n", "")
        return self.gateway(text)

    @staticmethod
    def get(gateway: Gateway, username: str, password: str, *headers: str, target: str = "/") -> Response:
        with gateway.connect("http") as wire:
            return wire.get(target, basic(username, password), *headers)


class LoginTests(LdapGatewayCase):
    def test_the_service_gets_the_directorys_spelling_and_roles(self) -> None:
        gateway = self.serve([person("john", "secret"), group("admin", "john"), group("ops", "john")])
        self.assertEqual(self.get(gateway, "JOHN", "secret").status, 200)
        received = self.service.next()
        told = [received.get(name) for name in ("x-auth-username", "x-auth-realm", "x-auth-roles")]
        self.assertEqual(told, ["john", "staff", "admin,ops"])
        self.assertEqual(self.get(gateway, "john", "wrong").status, 401)
        self.assertEqual(self.get(gateway, "nobody", "secret").status, 401)

    def test_roles_compare_as_the_directory_compares_them(self) -> None:
        """In allow and deny, with a password and with a token, and for an augmenter that reads roles."""
        augmenter = "[augmenter more]\ntype = match\nrealm = staff\nrole = ADMINS\nadd_roles = Matched\n"
        entries = [person("john", "pw"), person("jane", "pw"), group("admins", "john"), group("Banned Users", "jane")]
        routes = 'allow = role:ADMINS, role:"banned users"\ndeny = role:"BANNED USERS"\n'
        gateway = self.serve(entries, routes, extra=augmenter)
        self.assertEqual(self.get(gateway, "john", "pw").status, 200)
        self.assertEqual(self.service.next().get("x-auth-roles"), "admins,Matched")
        self.assertEqual(self.get(gateway, "jane", "pw").status, 403)
        token = json.loads(self.get(gateway, "john", "pw", target="/token").body)["access_token"]
        with gateway.connect("http") as wire:
            self.assertEqual(wire.get("/", f"Authorization: Bearer {token}").status, 200)

    def test_a_filter_of_the_operator_and_attributes_for_services(self) -> None:
        ldap = """\
user_filter = (&(objectClass=inetOrgPerson)(|(cn={username})(mail={username}))(!(title=closed)))
role_filter = (&(objectClass=groupOfUniqueNames)(uniqueMember={dn}))
attributes = mail, displayName
"""
        entries = [
            person("john", "pw", "mail: john@example.org", line("displayName", "José")),
            person("jane", "pw", "mail: jane@example.org", "title: closed"),
            group("ops", "john"),
        ]
        routes = "request_headers =\n    set X-Mail %{attribute:mail}\n    set X-Name %{attribute:displayName}\n"
        gateway = self.serve(entries, routes, ldap=ldap)
        for name in ("john", "john@example.org"):
            self.assertEqual(self.get(gateway, name, "pw").status, 200)
            received = self.service.next()
            told = [received.get(field) for field in ("x-auth-username", "x-auth-roles", "x-mail", "x-name")]
            self.assertEqual(told, ["john", "ops", "john@example.org", "Jos%C3%A9"])
        known = json.loads(self.get(gateway, "john", "pw", target="/whoami").body)
        self.assertEqual(known["attributes"], {"mail": "john@example.org", "displayName": "José"})
        for name in ("jane", "jane@example.org", "*", "john)(cn=*"):
            self.assertEqual(self.get(gateway, name, "pw").status, 401, name)

    def test_attack_140_two_names_of_a_user_are_counted_as_one(self) -> None:
        entries = [person("john", "pw", "mail: john@example.org")]
        gateway = self.serve(entries, ldap="user_id_attribute = cn, mail\n", authentication="lockout_after = 4\n")
        names = ("john@example.org", "john@example.org", "john", "john@example.org", "john@example.org")
        self.assertEqual([self.get(gateway, name, "wrong").status for name in names], [401] * 5)
        self.assertEqual([self.get(gateway, name, "pw").status for name in ("john", "john@example.org")], [429, 429])

    def test_attack_15_what_a_directory_holds_makes_no_second_header_and_no_second_role(self) -> None:
        crlf = f"""\
dn: cn=plain,{GROUPS}
objectClass: groupOfUniqueNames
cn: plain
{line("cn", "x" + chr(13) + chr(10) + "X-Auth-Roles: admin")}
uniqueMember: cn=mallory,{PEOPLE}
"""
        gateway = self.serve([person("José", "pw"), person("mallory", "pw"), group("a,admin", "mallory", "José"), crlf])
        self.assertEqual(self.get(gateway, "mallory", "pw").status, 200)
        received = self.service.next()
        self.assertEqual([value for name, value in received.fields if name.lower() == "x-auth-roles"], ["a%2Cadmin,plain"])
        self.assertEqual(self.get(gateway, "josé", "pw").status, 200)
        self.assertEqual(self.service.next().get("x-auth-username"), "Jos%C3%A9")

    def test_attack_32_an_empty_password_never_reaches_the_directory(self) -> None:
        gateway = self.serve([person("john", "secret")])
        before = self.server.log.count("SRCH") + self.server.log.count("BIND")
        self.assertEqual(self.get(gateway, "john", "").status, 401)
        self.assertEqual(self.get(gateway, "", "").status, 401)
        self.assertEqual(self.server.log.count("SRCH") + self.server.log.count("BIND"), before)

    def test_attack_34_no_client_chooses_the_directory(self) -> None:
        gateway = self.serve([person("john", "secret")])
        evil = ("X-Ldap-Url: ldap://127.0.0.1:1", "X-Ldap-BaseDN: dc=evil", "X-Ldap-Template: (cn=*)", "X-Ldap-BindDN: cn=evil")
        self.assertEqual(self.get(gateway, "john", "secret", *evil).status, 200)
        self.assertEqual(self.get(gateway, "nobody", "secret", *evil).status, 401)
        self.assertEqual(self.get(gateway, "john", "secret", "X-Auth-Realm: other").status, 401)
        self.assertEqual(self.get(gateway, "john", "secret", "X-Auth-Realm: staff").status, 200)

    def test_attack_39_a_role_that_is_taken_away_ends_with_the_remembered_password(self) -> None:
        gateway = self.serve(
            [person("john", "pw"), group("admin", "john", "jane")], "allow = role:admin\n", "remember_password = 1s\n"
        )
        self.assertEqual(self.get(gateway, "john", "pw").status, 200)
        self.server.modify(f"dn: cn=admin,{GROUPS}\nchangetype: modify\ndelete: uniqueMember\nuniqueMember: cn=john,{PEOPLE}\n")
        eventually(lambda: self.get(gateway, "john", "pw").status == 403, "the role to be gone")

    def test_attack_39_so_do_a_password_and_a_user(self) -> None:
        gateway = self.serve([person("john", "pw"), person("jane", "pw")], authentication="remember_password = 1s\n")
        for name in ("john", "jane"):
            self.assertEqual(self.get(gateway, name, "pw").status, 200)
        self.server.modify(f"dn: cn=john,{PEOPLE}\nchangetype: modify\nreplace: userPassword\nuserPassword: new\n")
        self.server.modify(f"dn: cn=jane,{PEOPLE}\nchangetype: delete\n")
        eventually(lambda: self.get(gateway, "john", "pw").status == 401, "the old password to be refused")
        eventually(lambda: self.get(gateway, "jane", "pw").status == 401, "the user to be gone")
        self.assertEqual(self.get(gateway, "john", "new").status, 200)

    def test_attack_40_one_at_sign_at_most(self) -> None:
        gateway = self.serve([person("a@evil.com@company.com", "pw")])
        self.assertEqual(self.get(gateway, "a@evil.com@company.com", "pw").status, 401)

    def test_attack_42_no_secret_in_any_log(self) -> None:
        gateway = self.serve([person("john", "secret-of-john")], extra="debug = yes\n")
        self.assertEqual(self.get(gateway, "john", "secret-of-john").status, 200)
        self.assertEqual(self.get(gateway, "john", "wrong-one").status, 401)
        gateway.await_log("john is in, with roles: none")
        said = gateway.log + "".join(gateway.await_audit(2))
        for secret in ("secret-of-john", "wrong-one", SEARCHER_PASSWORD):
            self.assertNotIn(secret, said)


class DownTests(LdapGatewayCase):
    def token(self, gateway: Gateway, username: str, password: str) -> str:
        answer = self.get(gateway, username, password, target="/token")
        self.assertEqual(answer.status, 200)
        return str(json.loads(answer.body)["access_token"])

    def bearer(self, gateway: Gateway, token: str) -> int:
        with gateway.connect("http") as wire:
            return wire.get("/", bearer(token)).status

    def outage(self, gateway: Gateway, stop: str) -> None:
        """Log in all the time; meanwhile stop the directory and start it again."""
        users = [(f"user{number}", f"pw{number}") for number in range(40)]
        self.assertEqual(self.get(gateway, "john", "secret").status, 200)
        token = self.token(gateway, "john", "secret")
        slowest = 0.0
        seen: list[int] = []

        def login(user: tuple[str, str]) -> int:
            nonlocal slowest
            began = time.monotonic()
            status = self.get(gateway, *user).status
            slowest = max(slowest, time.monotonic() - began)
            seen.append(status)
            return status

        with ThreadPoolExecutor(8) as pool:
            load = [pool.submit(login, user) for user in users]
            eventually(lambda: len(seen) >= 5, "some logins")
            getattr(self.server, stop)()
            statuses = [one.result(30) for one in load]
        self.assertEqual(set(statuses), {200, 503}, statuses)
        self.assertLess(slowest, 15)  # no login hangs; its timeout is 5 s, and the machine may be busy
        # the directory is gone: new logins get 503 with Retry-After, and cached logins still work
        refused = self.get(gateway, "user39", "another")
        self.assertEqual(refused.status, 503)
        self.assertGreater(int(refused.get("retry-after") or 0), 0)
        self.assertEqual(self.get(gateway, "john", "secret").status, 200)
        self.assertEqual(self.bearer(gateway, token), 200)
        if stop == "freeze":
            self.server.thaw()
        else:
            self.server.start()
        eventually(lambda: self.get(gateway, "user39", "pw39").status == 200, "logins to work again", 40)
        self.assertEqual(self.get(gateway, "user39", "another").status, 401)

    def test_attack_41_a_directory_that_dies_in_mid_load(self) -> None:
        gateway = self.serve([person("john", "secret"), *crowd(40)])
        self.outage(gateway, "kill")

    def test_attack_41_a_directory_that_falls_silent_in_mid_load(self) -> None:
        gateway = self.serve([person("john", "secret"), *crowd(40)])
        self.addCleanup(self.server.thaw)
        self.outage(gateway, "freeze")

    def test_a_reload_needs_no_directory(self) -> None:
        gateway = self.serve([person("john", "secret")])
        self.server.kill()
        gateway.reload()
        self.assertEqual(self.get(gateway, "john", "secret").status, 503)
        self.server.start()
        eventually(lambda: self.get(gateway, "john", "secret").status == 200, "logins to work again", 40)


class ShippedTests(LdapGatewayCase):
    def test_the_reactor_example_authenticates_and_maps_roles(self) -> None:
        """etc/reactor-ldap.ini; only addresses and paths of files are changed."""
        self.need("slapd", "ldapmodify")
        server = Slapd(
            self.directory(),
            [person("john", "secret"), person("jane", "pw"), group("admin", "john"), group("readers", "john", "jane")],
            anonymous=True,
        )
        self.addCleanup(server.kill)
        service = self.upstream()
        text = (ETC / "reactor-ldap.ini").read_text()
        for shipped, here in (
            ("port = 10443", "port = @router@\ninterface = 127.0.0.1"),
            ("port = 10009", "port = @tokens@"),
            ("port = 10010", "port = @tls@\ninterface = 127.0.0.1"),
            ("hostname = ldap.example.com", "hostname = 127.0.0.1"),
            ("port = 389", f"port = {server.port}"),
            ("tls = starttls", f"tls = starttls\nca_certificate = {server.authority.certificate}"),
            ("dc=example", SUFFIX),
            ("http://127.0.0.1:11015", service.url),
            ("../var", "var"),
        ):
            self.assertIn(shipped, text)
            text = text.replace(shipped, here)
        gateway = self.gateway(text)
        with gateway.connect("tokens") as wire:
            answer = wire.get("/", basic("john", "secret"))
            self.assertEqual(answer.status, 200)
            token = json.loads(answer.body)["access_token"]
            self.assertEqual(wire.get("/", basic("john", "wrong")).status, 401)
        with gateway.connect("router", tls=True) as wire:
            self.assertEqual(wire.get("/v3/namespaces", bearer(token)).status, 200)
        received = service.next()
        self.assertEqual((received.get("x-auth-username"), received.get("x-auth-roles")), ("john", "administrator,reader"))

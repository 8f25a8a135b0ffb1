"""The sign-in page with each sort of directory: the password is right, wrong, one too many, or not checked."""

from __future__ import annotations

from collections.abc import Callable

from tests.integration.browser import HOST, OWN, chromium, secure
from tests.integration.directories import SEARCHER, SEARCHER_PASSWORD, Slapd, group, person
from tests.integration.harness import GatewayCase, site
from tests.integration.ldapkit import GROUPS, PEOPLE
from tests.integration.visitor import Visitor

ROUTES = """\
[upstream sample]
servers = sample:

[route all]
path = /
upstream = sample
browser_login = yes
"""

LDAP = """\
hostname = 127.0.0.1
port = {port}
user_base_dn = {people}
bind_dn = {searcher}
bind_password = {password}
role_base_dn = {groups}
timeout = 5s
server_timeout = 2s
"""

LOCAL = "[authenticator local]\ntype = realmfile\npath = users.realm\n"

WRONG = "The user name or the password is wrong."
THROTTLED = "There were too many attempts with a wrong password."
UNAVAILABLE = "Your password cannot be checked at the moment"
SENTENCES = {403: WRONG, 429: THROTTLED, 503: UNAVAILABLE}


class DirectoriesTests(GatewayCase):
    def slapd(self) -> Slapd:
        self.need("slapd", "ldapmodify")
        entries = [person(name, "secret") for name in ("alice", "bob", "carol")] + [group("admin", "alice")]
        server = Slapd(self.directory(), entries)
        self.addCleanup(server.kill)
        return server

    def ldap(self, server: Slapd) -> str:
        return LDAP.format(port=server.port, people=PEOPLE, searcher=SEARCHER, password=SEARCHER_PASSWORD, groups=GROUPS)

    def serve(self, authenticator: str) -> None:
        config = secure(site(ROUTES)).replace(LOCAL, authenticator)
        users = "".join(f"{name}: secret\n" for name in ("alice", "bob", "carol"))
        self.served = self.gateway(config, {**chromium().files, "users.realm": users, "empty.realm": ""})

    def attempt(self, username: str, password: str) -> int:
        """The status of a sign-in; the page has the sentence for it, and no other, and says nothing of the password."""
        with Visitor(f"https://127.0.0.1:{self.served['https']}", self.served.directory / f"{HOST}.pem") as visitor:
            answer = visitor.sign_in(username, password, to="/page")
            if answer.status_code == 303:
                self.assertTrue(answer.headers["location"].startswith(f"{OWN}go?to="))
                self.assertIn(username, visitor.get("/page").text)
            else:
                found = {sentence for sentence in SENTENCES.values() if sentence in answer.text}
                self.assertEqual(found, {SENTENCES[answer.status_code]})
                self.assertIn(f'value="{username}"', answer.text)
                self.assertNotIn(password, answer.text)
                self.assertIsNone(visitor.cookie)
                self.assertEqual("retry-after" in answer.headers, answer.status_code in (429, 503))
            return answer.status_code

    def look(self, kill: Callable[[], object] | None = None) -> None:
        self.assertEqual(self.attempt("alice", "secret"), 303)
        self.assertEqual(self.attempt("bob", "not-right"), 403)
        self.assertEqual(self.attempt("nobody", "not-right"), 403)
        self.assertEqual([self.attempt("bob", f"not-right-{number}") for number in range(9)], [403] * 9)
        # the first wait is a second, the next one two: a slow machine may need it
        self.assertIn(429, [self.attempt("bob", f"not-right-{number}") for number in range(9, 12)])
        self.assertEqual(self.attempt("alice", "secret"), 303, "others do not wait")
        if kill is not None:
            kill()
            self.assertEqual(self.attempt("carol", "secret"), 503)
            self.assertEqual(self.attempt("carol", "not-right"), 503)

    def test_a_realm_file(self) -> None:
        self.serve(LOCAL)
        self.look()

    def test_a_directory(self) -> None:
        server = self.slapd()
        self.serve(f"[authenticator corp]\ntype = ldap\nrest = 1s\n{self.ldap(server)}")
        self.look(server.kill)

    def test_login_modules(self) -> None:
        server = self.slapd()
        options = "".join(f"option.{line}\n" for line in self.ldap(server).splitlines())
        modules = "type = login-modules\nmodules =\n    realmfile sufficient\n    ldap required\noption.path = empty.realm\n"
        config = f"[authenticator stack]\n{modules}{options}"
        self.serve(config)
        self.look(server.kill)

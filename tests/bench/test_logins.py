"""The benchmark's logins: the directory that it makes, and the figures of the answers."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import TestCase

from bench import directory, programs
from bench.clients import logins as client
from bench.clients.logins import Answer
from bench.errors import BenchError
from bench.material import PASSWORD, ROLES
from bench.run import CPU
from bench.scenarios import logins
from bench.scenarios.logins import Mark, first_login_measurements
from tests.unit.doubles.ldap_sections import LdapSettings, read_body


class DirectoryTests(TestCase):
    def settings(self, ca: Path | None) -> LdapSettings:
        # the authenticator does not read the realm
        lines = directory.authenticator(3890, ca).splitlines()
        body = "\n".join(line for line in lines if not line.startswith(("[", "type", "realm")))
        settings, problems = read_body(body + "\n")
        self.assertEqual(problems, [])
        return settings

    def test_the_gateway_understands_the_section(self) -> None:
        ca = Path(self.mktemp()).absolute()
        ca.touch()
        plain, secured = self.settings(None), self.settings(ca)
        self.assertEqual((plain.servers, plain.tls, plain.ca_certificate), ((("127.0.0.1", 3890),), "none", None))
        self.assertEqual((secured.tls, secured.ca_certificate), ("starttls", ca))

    def test_every_user_has_a_password_and_every_role(self) -> None:
        settings = self.settings(None)
        found = directory.entries(["alice", "bob"]).split("\n\n")
        users = [entry for entry in found if f"objectClass: {settings.user_object_class}" in entry]
        groups = [entry for entry in found if f"objectClass: {settings.role_object_class}" in entry]
        names = [f"uid={name},{settings.user_base_dn}" for name in ("alice", "bob")]
        self.assertEqual([entry.splitlines()[0] for entry in users], [f"dn: {name}" for name in names])
        for entry in users:
            self.assertIn(f"userPassword: {PASSWORD}", entry)
        self.assertEqual(
            [entry.splitlines()[0] for entry in groups], [f"dn: cn={role},{settings.role_base_dn}" for role in ROLES]
        )
        for entry in groups:
            self.assertEqual([f"uniqueMember: {name}" in entry for name in names], [True, True])

    def test_the_gateway_s_own_account_is_there(self) -> None:
        settings = self.settings(None)
        self.assertIn(f"dn: {settings.bind_dn}\n", directory.entries([]))
        self.assertIn(f"userPassword: {settings.bind_password}", directory.entries([]))


class ClientTests(TestCase):
    def test_a_status_is_read(self) -> None:
        self.assertEqual(client.status_of(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n\r\n"), 503)

    def test_what_is_no_answer_has_no_status(self) -> None:
        for head in (b"", b"HTTP/1.1", b"HTTP/1.1 20", b"HTTP/1.1 abc\r\n\r\n", b"ICY 200 OK\r\n\r\n"):
            self.assertEqual(client.status_of(head), 0)

    def test_all_but_200_is_refused(self) -> None:
        told = client.summary([Answer(200, 0.5), Answer(503, 2.0), Answer(0, 0.1), Answer(503, 0.2)], 2.25)
        self.assertEqual(told, {"logins": 4, "refused": 3, "statuses": [0, 503], "slowest": 2.0, "seconds": 2.25})


class FirstLoginTests(TestCase):
    ROUND = {"logins": 100, "refused": 0, "statuses": [], "slowest": 0.4, "seconds": 0.5, "cpu": 0.25}

    def test_each_kind_of_figure_is_a_measurement(self) -> None:
        found = first_login_measurements("first", {"perimeter": [self.ROUND, {**self.ROUND, "seconds": 0.75}]})
        told = {one.scenario: (one.unit, one.samples["perimeter"]) for one in found}
        self.assertEqual(
            told,
            {
                "first: all answered": ("ms", [500.0, 750.0]),
                "first: slowest": ("ms", [400.0, 400.0]),
                "first: each": (CPU, [2500.0, 2500.0]),
                "first: refused": ("requests", [0.0, 0.0]),
            },
        )
        self.assertEqual({one.baseline for one in found}, {"perimeter"})

    def test_a_refused_login_is_no_figure(self) -> None:
        rounds = [self.ROUND, {**self.ROUND, "refused": 2, "statuses": [503]}]
        error = self.assertRaises(BenchError, first_login_measurements, "first", {"perimeter": rounds})
        self.assertEqual(str(error), "perimeter refused 2 of first, with [503]")


class MarkTests(TestCase):
    def test_the_figures_between_two_snapshots(self) -> None:
        begin, end = Mark(100, 1.5, 10.0), Mark(2100, 2.0, 12.5)
        self.assertEqual((begin.rate(end), begin.cpu_each(end)), (800.0, 250.0))

    def test_no_requests_have_no_cost(self) -> None:
        self.assertRaises(BenchError, Mark(100, 1.5, 10.0).cpu_each, Mark(100, 2.0, 12.5))


class LeftOutTests(TestCase):
    def test_logins_need_a_directory(self) -> None:
        self.patch(programs, "have", lambda program: program != "slapd")
        told = "slapd is not installed (scripts/install-bench-peers)"
        self.assertEqual([one.missing() for one in logins.SCENARIOS], [told, told])

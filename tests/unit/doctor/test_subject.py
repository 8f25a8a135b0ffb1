"""The servers that a configuration names, wherever it names them; and the findings of look-ups and services."""

from __future__ import annotations

import socket
import time
from typing import Any

import attrs
from twisted.trial.unittest import TestCase

from perimeter.doctor import names
from perimeter.doctor.finding import Grade, Name
from perimeter.doctor.services import findings
from perimeter.doctor.subject import Server, _plugged, servers_of
from perimeter.run.problems import Problem, Severity, Subject
from tests.unit.doctor.examined import SITE, ExaminedCase

MORE = """
[authenticator corp]
type = ldap
hostname = one.example, two.example:1389
tls = ldaps
user_base_dn = dc=example

[authenticator partners]
type = jwt
issuer = https://issuer.example
audience = x
cert_uri = https://keys.example/jwks

[augmenter groups]
type = ldap
realm = corp
uri = ldap://three.example
search_base = dc=example
"""


class ServerTests(ExaminedCase):
    def test_all_kinds(self) -> None:
        text = SITE.replace("http://127.0.0.1:8888", "https://app.example, http://127.0.0.1:8888") + MORE
        self.assertEqual(
            set(servers_of(self.subject(text).config)),
            {
                Server("[upstream app]", "app.example", 443, tls=True),
                Server("[upstream app]", "127.0.0.1", 8888, tls=False),
                Server("[authenticator corp]", "one.example", 636, tls=True),
                Server("[authenticator corp]", "two.example", 1389, tls=True),
                Server("[authenticator partners]", "keys.example", 443, tls=True),
                Server("[augmenter groups]", "three.example", 389, tls=False),
            },
        )


class NameTests(ExaminedCase):
    SERVER = Server("[upstream app]", "app.example", 80, tls=False)

    def resolver(self, result: Any, seconds: float = 0.0) -> None:
        clock = [0.0]

        def getaddrinfo(*arguments: Any, **options: Any) -> Any:
            clock[0] += seconds
            if isinstance(result, Exception):
                raise result
            return result

        self.patch(socket, "getaddrinfo", getaddrinfo)
        self.patch(time, "monotonic", lambda: clock[0])

    def test_found(self) -> None:
        self.resolver([], 0.9)
        self.assertEqual(names.see(self.SERVER), [])

    def test_slow(self) -> None:
        self.resolver([], 1.25)
        (finding,) = names.see(self.SERVER)
        self.assertEqual((finding.name, finding.grade), (Name.NAME_SLOW, Grade.SOON))
        self.assertIn("took 1.2 s", finding.message)

    def test_unknown(self) -> None:
        for error, text in ((socket.gaierror(-2, "Name or service not known"), "not known"), (UnicodeError("x"), "not a name")):
            self.resolver(error)
            (finding,) = names.see(self.SERVER)
            self.assertEqual((finding.name, finding.grade), (Name.NAME_UNKNOWN, Grade.FAILS))
            self.assertIn(text, finding.message)


class ServiceFindingTests(ExaminedCase):
    def test_problems_are_findings(self) -> None:
        found = findings(
            (
                Problem(Severity.SOME_REQUESTS_FAIL, Subject.AUTHENTICATOR, "corp", "no connection"),
                Problem(Severity.WORKS_FOR_NOW, Subject.UPSTREAM, "app", "one of two"),
                Problem(Severity.SOME_REQUESTS_FAIL, Subject.UPSTREAM, "app", "all"),
            )
        )
        self.assertEqual(
            [(one.name, one.grade, one.subject) for one in found],
            [
                (Name.AUTHENTICATOR_DOWN, Grade.FAILS, "[authenticator corp]"),
                (Name.UPSTREAM_DOWN, Grade.SOON, "[upstream app]"),
                (Name.UPSTREAM_DOWN, Grade.FAILS, "[upstream app]"),
            ],
        )


@attrs.frozen
class _Foreign:
    """Settings of a third party, to whom the words mean something else."""

    servers: object
    urls: object = ("https://a.example",)


class ForeignSettingsTests(TestCase):
    def test_words_of_third_parties_name_no_server(self) -> None:
        for servers in (("a", "b"), "abc", None, 7, (("a", "b", "c"),), (("a", "443"),)):
            self.assertEqual(list(_plugged("[authenticator x]", _Foreign(servers))), [])
        self.assertEqual([one.host for one in _plugged("x", _Foreign((("a.example", 389), "b")))], ["a.example"])

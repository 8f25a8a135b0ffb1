"""What the library says about tokens and keytabs, and what it means."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.kerberos.acceptor import Acceptor, Ticket, load_gssapi
from perimeter.errors import Rejected, StartupError, Unavailable, Undecided
from tests.unit.doubles.gssapi import KERBEROS, Accepted, Gssapi, GSSError, Oid

SPNEGO = "1.3.6.1.5.5.2"


def acceptor(gssapi: Gssapi, service: str = "") -> Acceptor:
    return Acceptor(Path("/etc/http.keytab"), service, gssapi)


class AcceptTests(TestCase):
    def refused(self, outcome: Accepted | GSSError, kind: type[Exception] = Rejected) -> str:
        with self.assertRaises(kind) as caught:
            acceptor(Gssapi(token=outcome)).accept(b"token")
        self.assertIs(type(caught.exception), kind)
        return str(caught.exception.detail)  # type: ignore[attr-defined]

    def test_a_good_token(self) -> None:
        gssapi = Gssapi(token=Accepted("josé@EXAMPLE.ORG".encode(), lifetime=30))
        self.assertEqual(acceptor(gssapi).accept(b"token"), Ticket("josé@EXAMPLE.ORG", 30.0))
        self.assertEqual(gssapi.used, ({b"keytab": b"/etc/http.keytab"}, None, [KERBEROS, SPNEGO], "accept"))
        self.assertEqual(gssapi.negotiates, [Oid(KERBEROS)])

    def test_the_keys_of_one_service(self) -> None:
        gssapi = Gssapi(token=Accepted())
        acceptor(gssapi, "HTTP/gw@EXAMPLE.ORG").accept(b"token")
        self.assertEqual(gssapi.used[1], (b"HTTP/gw@EXAMPLE.ORG", "kerberos_principal"))

    def test_a_keytab_that_cannot_be_used_is_not_a_wrong_token(self) -> None:
        gssapi = Gssapi(token=Accepted())
        gssapi.keytab_fault = "Keytab FILE:/etc/http.keytab is nonexistent or empty"
        for ask in (acceptor(gssapi).check, lambda: acceptor(gssapi).accept(b"token")):
            with self.assertRaises(Unavailable) as caught:
                ask()
            self.assertIs(type(caught.exception), Unavailable)
            expected = "the keytab cannot be used: Keytab FILE:/etc/http.keytab is nonexistent or empty"
            self.assertEqual(caught.exception.detail, expected)
        gssapi.keytab_fault = ""
        acceptor(gssapi).check()

    def test_attack_144_errors_of_the_token(self) -> None:
        for text in ("Request is a replay", "Clock skew too great", "Request ticket server HTTP/x@R not found in keytab"):
            self.assertEqual(self.refused(GSSError(text)), f"the Kerberos ticket is not accepted: {text}")
        self.assertEqual(
            self.refused(GSSError("", "Invalid token was supplied")),
            "the Kerberos ticket is not accepted: Invalid token was supplied",
        )
        self.assertEqual(self.refused(GSSError("a; b")), "the Kerberos ticket is not accepted: a; b")

    def test_attack_144_what_a_client_writes_into_an_error(self) -> None:
        self.assertTrue(self.refused(GSSError("x\ny" + "z" * 300)).endswith(": x?y" + "z" * 197))

    def test_errors_of_this_machine_are_not_the_clients(self) -> None:
        """The replay cache cannot be written, for example. The circuit breaker stays closed: another token may be fine."""
        for code in (errno.ENOENT, errno.EACCES, errno.ENOSPC, errno.EROFS):
            text = f"{os.strerror(code)} (filename: /var/tmp/krb5_0.rcache2)"
            self.assertEqual(self.refused(GSSError(text), Undecided), f"a Kerberos ticket could not be verified: {text}")

    def test_attack_144_other_mechanisms_and_unfinished_contexts(self) -> None:
        for outcome in (Accepted(more_steps=True), Accepted(mechanism=None), Accepted(mechanism="1.3.6.1.4.1.311.2.2.10")):
            self.assertEqual(self.refused(outcome), "the client does not prove its identity by Kerberos in one message")
        for outcome in (Accepted(name=None), Accepted(flags=frozenset(("anonymity",)))):
            self.assertEqual(self.refused(outcome), "the Kerberos ticket is anonymous")
        self.assertEqual(self.refused(Accepted(b"\xff@EXAMPLE.ORG")), "the Kerberos ticket has a name that is not UTF-8")

    def test_ntlm_is_named(self) -> None:
        with self.assertRaises(Rejected) as caught:
            acceptor(Gssapi()).accept(b"NTLMSSP\0\x01")
        self.assertEqual(caught.exception.detail, "the client sent NTLM: it has no Kerberos ticket for this service")


class PackageTests(TestCase):
    def test_without_the_package(self) -> None:
        self.patch(sys, "modules", {**sys.modules, "gssapi": None})
        with self.assertRaises(StartupError) as caught:
            load_gssapi()
        self.assertIn("pip install 'perimeter-gateway[kerberos]'", str(caught.exception))

    def test_with_the_package(self) -> None:
        gssapi = Gssapi()
        self.patch(sys, "modules", {**sys.modules, "gssapi": gssapi, "gssapi.raw": gssapi})
        self.assertIs(load_gssapi(), gssapi)

"""Messages say what a failure to connect means and which option to set."""

from __future__ import annotations

import errno
import socket

from OpenSSL import SSL
from twisted.internet import defer, error
from twisted.trial.unittest import TestCase

from perimeter.connection_faults import (
    Options,
    begins_tls,
    begins_tls_alert,
    client_fault,
    connect_fault,
    handshake_fault,
    reason_of,
)

OPTIONS = Options("set http:// in servers", name="server_name", timeout="connect_timeout", seconds=2.5, pin="pin")
BARE = Options("use an http:// URL", ca="ca_file")


class SocketTests(TestCase):
    def test_unix_sockets(self) -> None:
        for number, words in (
            (errno.ENOENT, "there is no socket with this path"),
            (errno.ECONNREFUSED, "nothing listens on this socket"),
            (errno.EACCES, "permission denied: the gateway's user needs write permission"),
            (errno.ENOTSOCK, "this path is not a socket"),
            (errno.EPROTOTYPE, "this socket is not for streams"),
        ):
            self.assertIn(words, connect_fault(error.ConnectError(number, "x"), OPTIONS))
        self.assertIn("its queue is full", connect_fault(error.TimeoutError(errno.EAGAIN), OPTIONS))
        self.assertIn("is the port right?", connect_fault(error.ConnectionRefusedError(errno.ECONNREFUSED), OPTIONS))

    def test_the_option_for_a_client_certificate(self) -> None:
        options = Options("x", certificate="client_certificate")
        for reason in ("tlsv13 alert certificate required", "tlsv1 alert unknown ca", "sslv3 alert bad certificate"):
            self.assertEqual(
                handshake_fault(reason, 0, options),
                f"it wants a client certificate of a CA that it trusts: set client_certificate to one ({reason})",
            )


class ServerTests(TestCase):
    def test_handshakes(self) -> None:
        for reason, code, words in (
            ("wrong version number", 0, "it does not speak TLS on this port: set http:// in servers, or use its port for TLS"),
            ("Record Layer Failure", 0, "it does not speak TLS on this port"),
            (
                "certificate verify failed",
                18,
                "its certificate is self-signed: set ca_certificate to a file with",
            ),
            ("certificate verify failed", 19, "its certificate is not from a trusted CA: set ca_certificate"),
            ("certificate verify failed", 20, "its certificate is not from a trusted CA: set ca_certificate"),
            ("certificate verify failed", 10, "its certificate has expired: renew it on the server"),
            ("certificate verify failed", 9, "its certificate is not valid yet: compare the clocks"),
            ("certificate verify failed", 26, "its certificate cannot be verified"),
            ("certificate verify failed", 0, "its certificate cannot be verified"),
            ("the certificate is not for a.example", 0, "another name (the certificate is not for a.example): set server_name"),
            ("unexpected eof while reading", 0, "it closed the connection during the TLS handshake"),
            ("the connection was closed", 0, "it closed the connection during the TLS handshake"),
            ("tlsv1 alert protocol version", 0, "it offers no TLS version from 1.2 on (tlsv1 alert protocol version)"),
            ("tlsv13 alert certificate required", 0, "it wants a client certificate, and the gateway has none"),
            ("tlsv1 alert unknown ca", 0, "it wants a client certificate, and the gateway has none (tlsv1 alert unknown ca)"),
            ("sslv3 alert certificate expired", 0, "it wants a client certificate"),
            ("no pinned key: the server has sha256//x", 0, "not one of those in pin (no pinned key: the server has sha256//x)"),
            ("something new", 0, "the TLS handshake failed: something new"),
        ):
            self.assertIn(words, handshake_fault(reason, code, OPTIONS), reason)

    def test_options_that_do_not_exist_are_not_named(self) -> None:
        self.assertTrue(handshake_fault("the certificate is not for a", 0, BARE).endswith("(the certificate is not for a)"))
        self.assertIn("set ca_file to", handshake_fault("", 18, BARE))
        self.assertTrue(connect_fault(error.TimeoutError(), BARE).startswith("no answer: a firewall"))
        self.assertTrue(connect_fault(error.TimeoutError(), BARE).endswith("the machine is down"))

    def test_connections(self) -> None:
        for problem, words in (
            (error.DNSLookupError(), "its name cannot be resolved: check the name, and the DNS"),
            (socket.gaierror(), "its name cannot be resolved"),
            (error.ConnectionRefusedError(), "nothing listens there (connection refused)"),
            (error.TimeoutError(), "no answer within 2.5 s: a firewall may drop the packets"),
            (defer.TimeoutError(), "no answer within 2.5 s"),
            (error.TCPTimedOutError(), "; connect_timeout is the limit"),
            (error.NoRouteError(), "there is no network route to it"),
            (error.ConnectError(osError=errno.ENETUNREACH), "there is no network route to it"),
            (OSError(errno.EHOSTUNREACH, "x"), "there is no network route to it"),
            (error.ConnectError(osError=errno.EMFILE), "no free file descriptor: raise LimitNOFILE"),
            (error.ConnectError(), "no connection (ConnectError)"),
            (ValueError("a secret"), "no connection (ValueError)"),
        ):
            said = connect_fault(problem, OPTIONS)  # type: ignore[arg-type]
            self.assertIn(words, said)
            self.assertNotIn("secret", said)


class ClientTests(TestCase):
    def test_handshakes(self) -> None:
        for reason, words in (
            ("unexpected eof while reading", ""),
            ("http request", "it speaks plain HTTP, and this listener has tls = yes"),
            ("https proxy request", "it speaks plain HTTP"),
            ("tlsv1 alert unknown ca", "it does not trust the certificate of this listener"),
            ("sslv3 alert certificate unknown", "it does not trust the certificate of this listener"),
            ("sslv3 alert certificate expired", "which has expired for it"),
            ("peer did not return a certificate", "this listener has client_certificate = required"),
            ("certificate verify failed", "its certificate is not from a CA in client_ca"),
            ("unsupported protocol", "it offers nothing that the gateway accepts: TLS 1.2 or 1.3"),
            ("no shared cipher", "it offers nothing that the gateway accepts"),
            ("wrong version number", "it does not speak TLS (wrong version number)"),
            ("something new", "the TLS handshake failed: something new"),
        ):
            said = client_fault(reason)
            self.assertIn(words, said)
            self.assertEqual(bool(said), bool(words))

    def test_what_begins_tls(self) -> None:
        for data, hello, alert in (
            (b"\x16\x03\x01\x02", True, False),
            (b"\x16", True, False),
            (b"\x16\x04", False, False),
            (b"\x15\x03\x03", False, True),
            (b"\x15", False, False),
            (b"GET", False, False),
            (b"", False, False),
        ):
            self.assertEqual((begins_tls(data), begins_tls_alert(data)), (hello, alert), data)


class ReasonTests(TestCase):
    def test_the_last_reason_of_openssl(self) -> None:
        self.assertEqual(reason_of(SSL.Error([("a", "b", "first"), ("a", "b", "last")])), "last")
        self.assertEqual(reason_of(SSL.Error([])), "connection lost")
        self.assertEqual(reason_of(SSL.SysCallError(104, "ECONNRESET")), "econnreset")
        self.assertEqual(reason_of(ValueError()), "ValueError")

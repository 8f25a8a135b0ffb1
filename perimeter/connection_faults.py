"""What it means that a connection cannot be made, and which option to set: instead of the words of OpenSSL and the system.

Pure. `perimeter.proxy`, the clients of directories and of services, and the listeners use it for their messages.
"""

from __future__ import annotations

import errno
import socket
from typing import Final

import attrs
from OpenSSL import SSL
from twisted.internet import defer, error


@attrs.frozen
class Options:
    """What the options of a connection are called. ``plain`` is what to set if the server has no TLS; ``seconds`` the timeout.

    ``name``, ``timeout``, ``certificate`` and ``pin`` are "" if there is no such option.
    """

    plain: str
    ca: str = "ca_certificate"
    name: str = ""
    timeout: str = ""
    seconds: float = 0.0
    certificate: str = ""
    pin: str = ""


_NO_TLS = frozenset(
    (
        "wrong version number",
        "packet length too long",
        "record layer failure",
        "http request",
        "unknown protocol",
        "bad record type",
    )
)
"""What OpenSSL says of a peer that answers the handshake in plain text."""

_CLOSED = frozenset(
    ("unexpected eof", "unexpected eof while reading", "econnreset", "connection lost", "the connection was closed")
)

_OLD = frozenset(("unsupported protocol", "tlsv1 alert protocol version", "no protocols available", "version too low"))

# X509_V_ERR_… of OpenSSL's x509_vfy.h
_NOT_YET_VALID: Final = frozenset((9,))
_EXPIRED: Final = frozenset((10,))
_SELF_SIGNED: Final = frozenset((18,))
_UNKNOWN_CA: Final = frozenset((2, 19, 20, 21, 27))


_OF_SOCKETS: Final = {
    errno.ENOENT: "there is no socket with this path: is it running, and is the path right?",
    errno.ECONNREFUSED: "nothing listens on this socket, which an earlier process may have left: is it running?",
    errno.EACCES: (
        "permission denied: the gateway's user needs write permission for the socket, and search permission (x) for the "
        "directories above it"
    ),
    errno.EAGAIN: "it accepts no connections: its queue is full",
    errno.ENOTSOCK: "this path is not a socket",
    errno.EPROTOTYPE: "this socket is not for streams",
}
"""What the system says of a unix socket."""


def handshake_fault(reason: str, code: int, options: Options) -> str:
    """What a failed TLS handshake with a server means. ``reason`` is OpenSSL's, ``code`` that of the verification (0: none)."""
    low = reason.lower()
    if code or low == "certificate verify failed":
        return _certificate_fault(code, options)
    if low.startswith("the certificate is not for"):
        return f"its certificate is for another name ({reason})" + (
            f": set {options.name} to a name in it" if options.name else ""
        )
    if low in _NO_TLS:
        return f"it does not speak TLS on this port: {options.plain}, or use its port for TLS ({reason})"
    if low in _CLOSED:
        return f"it closed the connection during the TLS handshake: it may not speak TLS on this port ({options.plain})"
    if low in _OLD:
        return f"it offers no TLS version from 1.2 on ({reason})"
    if "certificate required" in low or ("alert" in low and ("certificate" in low or "unknown ca" in low)):
        return _wants_certificate(reason, options)
    if low.startswith("no pinned key"):
        return f"its public key is not one of those in {options.pin} ({reason})"
    return f"the TLS handshake failed: {reason}"


def _wants_certificate(reason: str, options: Options) -> str:
    if not options.certificate:
        return f"it wants a client certificate, and the gateway has none ({reason})"
    return f"it wants a client certificate of a CA that it trusts: set {options.certificate} to one ({reason})"


def _certificate_fault(code: int, options: Options) -> str:
    if code in _SELF_SIGNED:
        return f"its certificate is self-signed: set {options.ca} to a file with this certificate"
    if code in _UNKNOWN_CA:
        return (
            f"its certificate is not from a trusted CA: set {options.ca} to a file with the certificate of its CA, "
            "or let the server send the intermediate certificates"
        )
    if code in _EXPIRED:
        return "its certificate has expired: renew it on the server"
    if code in _NOT_YET_VALID:
        return "its certificate is not valid yet: compare the clocks of both machines"
    return f"its certificate cannot be verified: it may have expired, be self-signed, or be from a CA that is not in {options.ca}"


def connect_fault(problem: BaseException | None, options: Options) -> str:
    """What ``problem``, one of `twisted.internet.error` or an `OSError`, means. Without the words of the exception in general.

    A connection to a unix socket (`perimeter.net.unix`) fails with the number of the system's error.
    """
    number = getattr(problem, "osError", None) or getattr(problem, "errno", None)
    if number in _OF_SOCKETS and not isinstance(problem, error.ConnectionRefusedError):
        return _OF_SOCKETS[number]
    if isinstance(problem, error.DNSLookupError | socket.gaierror):
        return "its name cannot be resolved: check the name, and the DNS of this machine (/etc/resolv.conf)"
    if isinstance(problem, error.ConnectionRefusedError):
        return "nothing listens there (connection refused): is it running, and is the port right?"
    if isinstance(problem, error.TimeoutError | error.TCPTimedOutError | defer.TimeoutError):
        within = f" within {options.seconds:g} s" if options.seconds else ""
        more = f"; {options.timeout} is the limit" if options.timeout else ""
        return f"no answer{within}: a firewall may drop the packets, or the machine is down{more}"
    if isinstance(problem, error.NoRouteError):
        return "there is no network route to it"
    if number == errno.ENETUNREACH or number == errno.EHOSTUNREACH:
        return "there is no network route to it"
    if number in (errno.EMFILE, errno.ENFILE):
        return "this process has no free file descriptor: raise LimitNOFILE, or ulimit -n"
    return f"no connection ({type(problem).__name__})"


def client_fault(reason: str) -> str:
    """What it means that a client's TLS handshake failed with OpenSSL's ``reason``; "" if it has just left."""
    low = reason.lower()
    if low in _CLOSED:
        return ""
    if low in ("http request", "https proxy request"):
        return "it speaks plain HTTP, and this listener has tls = yes: clients must use https://"
    if "unknown ca" in low or "certificate unknown" in low or "bad certificate" in low:
        return (
            f"it does not trust the certificate of this listener: set certificate to one from a CA that clients trust ({reason})"
        )
    if "certificate expired" in low:
        return "it refuses the certificate of this listener, which has expired for it"
    if low in ("peer did not return a certificate", "no certificate returned"):
        return "it showed no certificate, and this listener has client_certificate = required"
    if low == "no application protocol":
        return "it offers only other protocols than HTTP/1.1 (ALPN)"
    if low == "unknown server name":
        return "it asks for no server name that a certificate has, and this listener has unknown_name = refuse"
    if low == "certificate verify failed":
        return "its certificate is not from a CA in client_ca, or has expired"
    if low in _OLD or low in (
        "no shared cipher",
        "no suitable key share",
        "no suitable signature algorithm",
        "inappropriate fallback",
    ):
        return f"it offers nothing that the gateway accepts: TLS 1.2 or 1.3 with current ciphers ({reason})"
    if low in _NO_TLS:
        return f"it does not speak TLS ({reason})"
    return f"the TLS handshake failed: {reason}"


def begins_tls(data: bytes) -> bool:
    """Whether ``data`` begins with a TLS handshake message (RFC 8446, section 5.1)."""
    return data[:1] == b"\x16" and data[1:2] in (b"", b"\x03")


def begins_tls_alert(data: bytes | bytearray) -> bool:
    """Whether ``data`` begins with a TLS alert: what a server with TLS answers to plain text."""
    return data[:2] == b"\x15\x03"


def reason_of(problem: BaseException) -> str:
    """Return the reason that OpenSSL or the system gives, as one line."""
    if isinstance(problem, SSL.Error) and not isinstance(problem, SSL.SysCallError) and problem.args:
        queue = problem.args[0]
        if isinstance(queue, list):
            return str(queue[-1][-1]) if queue else "connection lost"
    if isinstance(problem, SSL.SysCallError) and len(problem.args) == 2:
        return str(problem.args[1]).lower()
    return str(problem) or type(problem).__name__

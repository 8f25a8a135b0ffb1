"""TLS contexts: what is offered to clients, and how the services behind are verified.

TLS 1.2 and 1.3 only, with forward secrecy and authenticated encryption only; no compression, no renegotiation. Loading
certificates is left to `perimeter.net.certificates`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import service_identity
from cryptography import x509
from OpenSSL import SSL
from service_identity import pyopenssl as identity

from perimeter.errors import StartupError
from perimeter.net.tls_records import Connection, PortableConnection

# With the server's order first, the cheapest of equals is taken; ChaCha20 goes first for clients that put it first, because
# they have no AES in hardware (OP_PRIORITIZE_CHACHA, which pyOpenSSL does not name).
CIPHERS_12 = b"ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20"
CIPHERS_13 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
PRIORITIZE_CHACHA = 1 << 21

ALPN = b"http/1.1"


@attrs.frozen
class Identity:
    """A certificate chain (the server's own first) and its private key. ``names`` are the DNS names it is for, in lower case."""

    chain: tuple[x509.Certificate, ...]
    key: Any = attrs.field(repr=False)
    source: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The DNS names of the certificate."""
        try:
            extension = self.chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            return ()
        return tuple(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))


@attrs.frozen
class ClientAuthentication:
    """Ask clients for a certificate issued by the CAs in the PEM file ``ca``; ``required``: shake hands with no others."""

    ca: Path
    required: bool = False


def _common(method: int) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(CIPHERS_12)
    context.set_tls13_ciphersuites(CIPHERS_13)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    return context


def _select_alpn(connection: SSL.Connection, offered: list[bytes]) -> Any:
    # A client that offers nothing we speak is served all the same, as nginx does: many offer what they do not need.
    return ALPN if ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


class ServerContexts:
    """The contexts of a listener, chosen by the name that the client asks for (SNI, RFC 6066, section 3).

    An exact name wins over a wildcard, and the first identity serves every other name. `replace` swaps them all for new
    connections; those that are open keep theirs. ``clients`` says whether they show certificates, whatever name they ask for.
    """

    def __init__(self, identities: Sequence[Identity], clients: ClientAuthentication | None = None) -> None:
        self.clients = clients
        self.default: SSL.Context
        self._names: Mapping[str, SSL.Context]
        self.replace(identities)

    def replace(self, identities: Sequence[Identity]) -> None:
        """Serve ``identities`` from now on. Raises `StartupError`, and changes nothing, where one cannot be used."""
        names: dict[str, SSL.Context] = {}
        contexts = [self._context(identity) for identity in identities]
        if len(contexts) > 1:  # with one there is nothing to choose: OpenSSL need not call back for it
            for context in contexts:
                context.set_tlsext_servername_callback(self._select)
        if not contexts:
            raise StartupError("a TLS listener needs a certificate")
        for identity_, context in zip(identities, contexts, strict=True):
            for name in identity_.names:
                names.setdefault(name, context)
        self._names = names
        self.default = contexts[0]

    def select(self, name: str) -> SSL.Context:
        """The context for a server name, "" being none."""
        name = name.lower().removesuffix(".")
        context = self._names.get(name)
        if context is None:
            context = self._names.get("*." + name.partition(".")[2], self.default)
        return context

    def _select(self, connection: SSL.Connection) -> None:
        name = connection.get_servername()
        if name:
            context = self.select(name.decode("ascii", "replace"))
            if context is not connection.get_context():
                connection.set_context(context)

    def _context(self, identity_: Identity) -> SSL.Context:
        context = _common(SSL.TLS_SERVER_METHOD)
        context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE | PRIORITIZE_CHACHA)
        try:
            context.use_certificate(identity_.chain[0])
            for certificate in identity_.chain[1:]:
                context.add_extra_chain_cert(certificate)
            context.use_privatekey(identity_.key)
            context.check_privatekey()
        except SSL.Error as problem:
            raise StartupError(f"{identity_.source}: OpenSSL does not take this certificate and key") from problem
        context.set_alpn_select_callback(_select_alpn)
        # Tickets hold all of a session, so nothing is kept here; the id keeps tickets of other services out.
        context.set_session_id(b"perimeter")
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        if self.clients is not None:
            self._ask_clients(context, self.clients)
        return context

    @staticmethod
    def _ask_clients(context: SSL.Context, clients: ClientAuthentication) -> None:
        ca = str(clients.ca)
        try:
            with open(ca, "rb"):
                context.load_verify_locations(ca)
                context.load_client_ca(ca.encode())
        except OSError as problem:
            raise StartupError(f"{ca}: cannot read the CA certificates: {problem.strerror}") from problem
        except SSL.Error as problem:
            raise StartupError(f"{ca}: there is no CA certificate in PEM form") from problem
        context.set_verify(SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if clients.required else 0))
        # OpenSSL does not ask again when a session is resumed, not even where a certificate is required: so none is (attack 44).
        context.set_options(SSL.OP_NO_TICKET)


def client_certificate(connection: SSL.Connection) -> x509.Certificate | None:
    """After a handshake in which the client was asked: its certificate, if it showed one and the chain was verified."""
    chain = connection.get_verified_chain(as_cryptography=True)
    return chain[0] if chain else None


class ClientTLS:
    """How connections to a service behind are secured: verified for ``server_name`` (a DNS name or an IP address).

    Trusted are the CAs of ``ca_certificate`` (PEM), or else those of the system. ``alpn`` is what is offered to be spoken
    (RFC 7301). Raises `StartupError` where the file cannot be read.
    """

    def __init__(self, server_name: str, ca_certificate: Path | None = None, alpn: Sequence[bytes] = (ALPN,)) -> None:
        self.server_name = server_name
        self._address = _is_address(server_name)
        self._context = _common(SSL.TLS_CLIENT_METHOD)
        try:
            if ca_certificate is None:
                self._context.set_default_verify_paths()
            else:
                with open(ca_certificate, "rb"):
                    self._context.load_verify_locations(str(ca_certificate))
        except OSError as problem:
            raise StartupError(f"{ca_certificate}: cannot read the CA certificates: {problem.strerror}") from problem
        except SSL.Error as problem:
            raise StartupError(f"{ca_certificate}: there is no CA certificate in PEM form") from problem
        self._context.set_verify(SSL.VERIFY_PEER)
        if alpn:
            self._context.set_alpn_protos(list(alpn))

    def connection(self, sock: Any) -> PortableConnection:
        """A client connection on a connected socket, its handshake not begun."""
        connection = Connection(self._context, sock)
        if not self._address:
            # An address is no server name (RFC 6066, section 3).
            connection.set_tlsext_host_name(self.server_name.encode("ascii"))
        connection.set_connect_state()
        return connection

    def verify(self, connection: SSL.Connection) -> str:
        """After the handshake: "" where the certificate is for the server's name, else what is wrong."""
        check = identity.verify_ip_address if self._address else identity.verify_hostname
        try:
            check(connection, self.server_name)
        except (service_identity.VerificationError, service_identity.CertificateError):
            return f"the certificate is not for {self.server_name}"
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

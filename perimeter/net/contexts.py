"""TLS contexts: what listeners offer to clients, and how upstreams are verified.

Only TLS 1.2 and 1.3, only with forward secrecy and authenticated encryption, without compression and renegotiation.
`perimeter.net.certificates` loads the certificates.
"""

from __future__ import annotations

import copy
import hashlib
import ipaddress
import os
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import service_identity
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL, crypto
from service_identity import pyopenssl

from perimeter.config.site.dialling import Pin
from perimeter.descriptors import system_reason
from perimeter.errors import StartupError
from perimeter.net.tls_records import FastConnection, PortableConnection

# The server's order decides, so the cheapest of equally strong ciphers is used. Clients without AES in hardware put ChaCha20
# first, and for them it comes first (OP_PRIORITIZE_CHACHA, which has no name in pyOpenSSL).
CIPHERS_12 = b"ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20"
CIPHERS_13 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
PRIORITIZE_CHACHA = 1 << 21

ALPN = b"http/1.1"

_SPOKEN = (ALPN, b"http/1.0")
"""The protocols that a listener serves, the best first."""

UNKNOWN_NAME: Final = "unknown server name"
"""Why a handshake failed with a client that asked for a name which is not served, in ``app_data`` of its connection."""

CHALLENGE_ALPN = b"acme-tls/1"
"""The protocol in which a CA checks that a name leads here (RFC 8737, section 4). The connection ends after the handshake."""


def dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names of a certificate, in lower case."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return ()
    return tuple(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))


@attrs.frozen
class ServerIdentity:
    """A certificate chain (the server's own certificate first) and its private key. ``source`` is the file, for messages."""

    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes = attrs.field(repr=False)
    source: str = ""

    @property
    def kind(self) -> str:
        """The kind of its key, as a dotted object identifier. Of two kinds, each client accepts at least one in general."""
        return self.chain[0].public_key_algorithm_oid.dotted_string

    @property
    def names(self) -> tuple[str, ...]:
        """The DNS names of the certificate, in lower case."""
        return dns_names(self.chain[0])


@attrs.frozen
class ClientAuthentication:
    """Clients are asked for a certificate issued by the CAs in the PEM file ``ca``. ``required``: without one, TLS fails."""

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
    """The protocol of the connection (RFC 7301, section 3.2).

    A client that offers only others would not understand HTTP/1.1, or is being used against a service of another protocol
    (attack 117). OpenSSL then sends the alert no_application_protocol, and pyOpenSSL raises the exception again.
    """
    for spoken in _SPOKEN:
        if spoken in offered:
            return spoken
    raise SSL.Error([("SSL routines", "", "no application protocol")])


def by_name(identities: Sequence[ServerIdentity]) -> dict[str, tuple[ServerIdentity, ...]]:
    """The identities for each DNS name: one for each kind of key, the first one in the list that has the name.

    A wildcard is for names that are in no certificate, and for kinds of keys that no certificate with the name has. The name ""
    is for identities without DNS names.
    """
    kinds: dict[str, dict[str, ServerIdentity]] = {}
    for identity in identities:
        for name in identity.names or ("",):
            kinds.setdefault(name, {}).setdefault(identity.kind, identity)
    return {name: tuple({**kinds.get(_wildcard(name), {}), **found}.values()) for name, found in kinds.items()}


def _wildcard(name: str) -> str:
    return "*." + name.partition(".")[2]


def _trust(context: SSL.Context, anchors: Path) -> None:
    """Let ``context`` trust the certificates in the PEM file ``anchors``, and no others. Blocks. Raises `StartupError`.

    Each of them is a trust anchor (RFC 5280, section 6.1.1): the operator has named it. So it may be an intermediate, or the
    certificate of the server itself, and its issuer need not be in the file.
    """
    try:
        with open(anchors, "rb"):
            context.load_verify_locations(str(anchors))
    except OSError as problem:
        raise StartupError(f"{anchors}: cannot read the CA certificates: {system_reason(problem)}") from problem
    except SSL.Error as problem:
        raise StartupError(f"{anchors}: the file contains no CA certificate in PEM format") from problem
    store = context.get_cert_store()
    assert store is not None
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)


def _certified(identities: Iterable[ServerIdentity]) -> SSL.Context:
    """A server's context with certificates, each of another kind of key. Raises `StartupError` if OpenSSL cannot use them."""
    context = _common(SSL.TLS_SERVER_METHOD)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE | PRIORITIZE_CHACHA)
    for identity in identities:
        _use(context, identity)
    return context


def _use(context: SSL.Context, identity: ServerIdentity) -> None:
    """Let ``context`` show the certificate of ``identity``. Raises `StartupError`."""
    chain = b"".join(one.public_bytes(Encoding.PEM) for one in identity.chain)
    # Only this function of OpenSSL that pyOpenSSL has gives each certificate a chain of its own, and it reads a file.
    descriptor = os.memfd_create("perimeter-chain", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(chain)
        context.use_certificate_chain_file(f"/proc/self/fd/{descriptor}")
        context.use_privatekey(identity.key)  # type: ignore[arg-type]  # TypeError for a key that cannot sign
        context.check_privatekey()
    except (SSL.Error, TypeError) as problem:
        raise StartupError(f"{identity.source}: OpenSSL does not accept this certificate and key") from problem
    finally:
        os.close(descriptor)


class ServerContexts:
    """The contexts of a listener. The name that the client asks for selects one (SNI, RFC 6066, section 3).

    An exact name is preferred to a wildcard (`by_name`). A context has one certificate for each kind of key: OpenSSL takes the
    first in its order of signatures that the client accepts, so ECDSA before RSA. The context of the first identity serves all
    other names, and clients that send none; with ``refuse_unknown`` their handshakes fail. ``clients`` (None: do not ask) applies
    to all names, so no name is a way around it (attack 118).

    ``challenges`` are the identities by which a CA recognises a name at this moment, by name; None if a CA never asks here.
    """

    def __init__(
        self,
        identities: Sequence[ServerIdentity],
        clients: ClientAuthentication | None = None,
        challenges: Mapping[str, ServerIdentity] | None = None,
        *,
        refuse_unknown: bool = False,
    ) -> None:
        """Raises `StartupError` if one of ``identities`` cannot be used."""
        self._challenges = challenges
        if not identities:
            raise StartupError("a TLS listener needs a certificate")
        self.clients = clients
        self.identities = tuple(identities)
        names = by_name(identities)
        contexts: dict[tuple[int, ...], SSL.Context] = {}
        self._names: dict[str, SSL.Context] = {}
        for name, several in names.items():
            group = tuple(map(id, several))
            if group not in contexts:
                contexts[group] = self._context(several)
            self._names[name] = contexts[group]
        self.default = self._names[(*identities[0].names, "")[0]]
        self._refuses_unknown = refuse_unknown
        self._without_certificate = _common(SSL.TLS_SERVER_METHOD)
        if len(contexts) > 1 or refuse_unknown:  # otherwise there is nothing to select, which saves OpenSSL's callback
            for context in contexts.values():
                context.set_tlsext_servername_callback(self._select)

    def select(self, name: str) -> SSL.Context | None:
        """Return the context for a server name ("" if the client sent none), None if the handshake is to fail."""
        name = name.lower().removesuffix(".")
        context = (self._names.get(name) or self._names.get(_wildcard(name))) if name else None
        if context is None and not (self._refuses_unknown and name not in (self._challenges or ())):
            return self.default
        return context

    def _select(self, connection: SSL.Connection) -> None:
        name = connection.get_servername() or b""
        context = self.select(name.decode("ascii", "replace"))
        if context is None:
            connection.set_app_data(UNKNOWN_NAME)
            connection.set_context(self._without_certificate)
        elif context is not connection.get_context():
            connection.set_context(context)

    def _select_alpn(self, connection: SSL.Connection, offered: list[bytes]) -> Any:
        """As `_select_alpn`, and the answer to a CA, which gets the certificate of the challenge and needs to show none.

        Only with TLS 1.3: for TLS 1.2, OpenSSL has chosen the certificate before it asks for the protocol.
        """
        if self._challenges and CHALLENGE_ALPN in offered and connection.get_protocol_version() == SSL.TLS1_3_VERSION:
            name = (connection.get_servername() or b"").decode("ascii", "replace").lower()
            identity = self._challenges.get(name)
            if identity is not None:
                connection.set_context(_certified([identity]))
                connection.set_verify(SSL.VERIFY_NONE)
                return CHALLENGE_ALPN
        return _select_alpn(connection, offered)

    def _context(self, identities: Iterable[ServerIdentity]) -> SSL.Context:
        context = _certified(identities)
        context.set_alpn_select_callback(_select_alpn if self._challenges is None else self._select_alpn)
        # A ticket contains the whole session, so no session is stored here. The id excludes tickets of other services.
        context.set_session_id(b"perimeter")
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        if self.clients is not None:
            self._ask_clients(context, self.clients)
        return context

    @staticmethod
    def _ask_clients(context: SSL.Context, clients: ClientAuthentication) -> None:
        _trust(context, clients.ca)
        context.load_client_ca(str(clients.ca).encode())
        context.set_verify(SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if clients.required else 0))
        # OpenSSL does not ask for a certificate when a session is resumed, not even a required one. So no session is resumed
        # (attack 44).
        context.set_options(SSL.OP_NO_TICKET)


def client_certificate(connection: SSL.Connection) -> x509.Certificate | None:
    """Return the client's certificate after the handshake, or None if it showed none or the chain was not verified."""
    chain = connection.get_verified_chain(as_cryptography=True)
    return chain[0] if chain else None


def _note_fault(connection: SSL.Connection, certificate: object, code: int, depth: int, good: int) -> bool:
    """Keep why a certificate of a server is refused: OpenSSL's exception does not say it."""
    if not good:
        connection.set_app_data(code)
    return bool(good)


def verification_code(connection: SSL.Connection) -> int:
    """Why the certificate of the server was refused: X509_V_ERR_… of OpenSSL, or 0."""
    code = connection.get_app_data()
    return code if isinstance(code, int) else 0


class ClientTLS:
    """TLS of connections to an upstream. The certificate is verified for ``server_name`` (a DNS name or an IP address).

    The trusted CAs are those in ``ca_certificate`` (PEM), or those of the system if it is None. ``alpn`` lists the application
    protocols to offer (RFC 7301). ``identity`` is shown to a server that asks for a certificate. The certificate of the server
    must also have one of the public keys ``pins``, unless there are none. Raises `StartupError` if the file cannot be read, or
    the identity cannot be used.
    """

    def __init__(
        self,
        server_name: str,
        ca_certificate: Path | None = None,
        alpn: Sequence[bytes] = (ALPN,),
        identity: ServerIdentity | None = None,
        pins: Collection[Pin] = (),
    ) -> None:
        self.server_name = server_name
        self.pins = frozenset(pins)
        self._address = _is_address(server_name)
        self._context = _common(SSL.TLS_CLIENT_METHOD)
        if ca_certificate is None:
            self._context.set_default_verify_paths()
        else:
            _trust(self._context, ca_certificate)
        self._context.set_verify(SSL.VERIFY_PEER, _note_fault)
        if alpn:
            self._context.set_alpn_protos(list(alpn))
        if identity is not None:
            _use(self._context, identity)

    def for_name(self, server_name: str) -> ClientTLS:
        """The same for another ``server_name``. No file is read again."""
        other = copy.copy(self)
        other.server_name = server_name
        other._address = _is_address(server_name)
        return other

    def connection(self, sock: socket.socket | None) -> PortableConnection:
        """Return a TLS connection on a connected socket (None: on memory buffers). The handshake has not begun."""
        connection = FastConnection(self._context, sock)
        if not self._address:
            # An IP address is not a server name (RFC 6066, section 3).
            connection.set_tlsext_host_name(self.server_name.encode("ascii"))
        connection.set_connect_state()
        return connection

    def verify(self, connection: SSL.Connection) -> str:
        """After the handshake, return "" if the certificate is valid for the server's name, otherwise what is wrong."""
        check = pyopenssl.verify_ip_address if self._address else pyopenssl.verify_hostname
        try:
            check(connection, self.server_name)
        except (service_identity.VerificationError, service_identity.CertificateError):
            return f"the certificate is not for {self.server_name}"
        if self.pins:
            certificate = connection.get_peer_certificate(as_cryptography=True)
            found = None if certificate is None else public_key_pin(certificate)
            if found not in self.pins:
                return f"no pinned key: the server has {found}"
        return ""


def public_key_pin(certificate: x509.Certificate) -> Pin:
    """The pin of the public key of ``certificate`` (RFC 7469, section 2.4)."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Pin(hashlib.sha256(key).digest())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

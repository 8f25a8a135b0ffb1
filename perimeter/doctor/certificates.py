"""Certificates: of the listeners, of CAs, and of the servers that the gateway connects to."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID
from OpenSSL import SSL, crypto

from perimeter.acme.orders import orders
from perimeter.config.site.acme import certificate_file
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import ListenerSettings, Serve
from perimeter.config.site.renewed import renewed_files
from perimeter.config.site.upstream import UpstreamSettings
from perimeter.doctor.finding import Finding, Grade, Name
from perimeter.doctor.subject import Server, Subject
from perimeter.errors import StartupError
from perimeter.net.certificates import DateFinding, date_findings, got_identity, load_identities
from perimeter.net.contexts import ServerIdentity, by_name
from perimeter.net.keystores import MAX_FILE_SIZE
from perimeter.run.build.upstream_tls import client_identity

SECONDS: Final = 3.0
"""Time for each step of a handshake."""

LEAST_RSA: Final = 2048
"""Bits of a key that clients accept."""

_RENEW = "renew it, or find out why the renewal does not run; the gateway takes up a new file within a minute"
#: X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, …_LOCALLY and …_VERIFY_LEAF_SIGNATURE of OpenSSL
_NO_ISSUER = (2, 20, 21)


def of_listener(subject: Subject, listener: ListenerSettings) -> Iterator[Finding]:
    """The chains that a listener with certificates of its own serves. Reads files."""
    place = f"[listener {listener.name}]"
    try:
        identities = _served(listener, subject.config.perimeter.state_dir)
    except StartupError:
        return  # a fault of the configuration, which is reported as one
    if not identities:
        return
    for identity in identities:
        yield from _dates(place, identity)
        yield from _weak(place, identity)
        yield from _incomplete(place, identity)
    if listener.serve is Serve.GATEWAY:
        yield from _names(place, identities, subject.config)
    yield from _unreached(place, identities)


def _served(listener: ListenerSettings, state_dir: Path) -> tuple[ServerIdentity, ...]:
    """The chains in the files of a listener. Empty if there is no certificate from the CA yet (`perimeter.doctor.authority`)."""
    if listener.acme_names:
        got = got_identity(certificate_file(state_dir, listener.acme_names), datetime.now(UTC))
        return () if got is None else (got,)
    return load_identities(listener, state_dir)


def of_upstream(upstream: UpstreamSettings) -> Iterator[Finding]:
    """The dates of the certificate that the gateway shows to the servers of an upstream. Reads files."""
    try:
        identity = client_identity(upstream)
    except StartupError:
        return  # a fault of the configuration, which is reported as one
    if identity is not None:
        yield from _dates(f"[upstream {upstream.name}]", identity)


def _dates(place: str, identity: ServerIdentity) -> Iterator[Finding]:
    for dated in date_findings(identity.chain, datetime.now(UTC)):
        grade = Grade.FAILS if dated.unusable else Grade.SOON
        yield Finding(Name.CERTIFICATE_EXPIRES, grade, place, f"{identity.source}: {_dated(dated)}", _RENEW)


def _dated(dated: DateFinding) -> str:
    days = dated.left // timedelta(days=1)
    return dated.text if dated.unusable else f"{dated.text}, in {days} {'day' if days == 1 else 'days'}"


def _weak(place: str, identity: ServerIdentity) -> Iterator[Finding]:
    for certificate in identity.chain:
        key, algorithm = certificate.public_key(), certificate.signature_hash_algorithm
        self_issued = certificate.issuer == certificate.subject
        what = ""
        if isinstance(key, rsa.RSAPublicKey) and key.key_size < LEAST_RSA:
            what = f"an RSA key of {key.key_size} bits"
        elif isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < 224:
            what = f"an elliptic curve of {key.key_size} bits"
        elif isinstance(algorithm, hashes.SHA1 | hashes.MD5) and not self_issued:
            what = f"a signature with {algorithm.name}"
        if what:
            subject = certificate.subject.rfc4514_string()
            message = f"{identity.source}: the certificate of {subject} has {what}, which clients refuse"
            yield Finding(
                Name.CERTIFICATE_WEAK, Grade.FAILS, place, message, "get a new certificate, with a key of EC P-256 or RSA 2048"
            )


def _incomplete(place: str, identity: ServerIdentity) -> Iterator[Finding]:
    """A chain without the certificates between the server's and a CA that clients have.

    Clients of a private CA have its certificate, so a chain that ends below an unknown CA may be complete. A certificate is
    missing only if the last one has the URL of its issuer's certificate, as the certificates of public CAs do.
    """
    last = _top(identity.chain)
    if last.issuer == last.subject or not _says_where(last) or not _issuer_unknown(identity.chain):
        return
    message = (
        f"{identity.source}: the certificate of {last.issuer.rfc4514_string()} is missing, so most clients other than browsers "
        "cannot verify the chain"
    )
    remedy = "serve the whole chain: certbot calls the file fullchain.pem"
    yield Finding(Name.CERTIFICATE_INCOMPLETE, Grade.FAILS, place, message, remedy)


def _top(chain: Sequence[x509.Certificate]) -> x509.Certificate:
    """The certificates from the first one to its issuers; other certificates in the file do not belong to the chain."""
    top = chain[0]
    for _ in chain:
        issuer = next((one for one in chain if one.subject == top.issuer and one != top), None)
        if issuer is None:
            break
        top = issuer
    return top


def _says_where(certificate: x509.Certificate) -> bool:
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return any(one.access_method == AuthorityInformationAccessOID.CA_ISSUERS for one in access)


def _issuer_unknown(chain: Iterable[x509.Certificate]) -> bool:
    """Whether no CA of this system has issued the end of the chain."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_default_verify_paths()
    store = context.get_cert_store()
    assert store is not None
    leaf, *rest = map(crypto.X509.from_cryptography, chain)
    try:
        crypto.X509StoreContext(store, leaf, rest).verify_certificate()
    except crypto.X509StoreContextError as error:
        return bool(error.errors) and error.errors[0] in _NO_ISSUER
    return False


def _names(place: str, identities: Sequence[ServerIdentity], config: SiteConfig) -> Iterator[Finding]:
    """Host names of routes, and that of the gateway's own pages, that are in no certificate."""
    names = tuple(dict.fromkeys(name for identity in identities for name in identity.names))
    source = " and ".join(identity.source for identity in identities)
    wanted = dict.fromkeys((host for route in config.routes for host in route.hosts), "a host of a route")
    if config.login.host:
        wanted.setdefault(config.login.host, "the host in [login]")
    for host, role in wanted.items():
        if "*" not in host and host not in names and f"*.{host.partition('.')[2]}" not in names:
            message = f"{source} is not for {host}, which is {role}: browsers refuse it there"
            remedy = f"get a certificate with this name too (it has {', '.join(names[:8]) or 'no names'})"
            yield Finding(Name.CERTIFICATE_NAME, Grade.SOON, place, message, remedy)


def _unreached(place: str, identities: Sequence[ServerIdentity]) -> Iterator[Finding]:
    """Certificates that no client gets, because earlier ones have the same names and kind of key."""
    used = {id(one) for several in by_name(identities).values() for one in several}
    for identity in identities:
        if id(identity) not in used:
            message = f"no client gets {identity.source}: earlier certificates have all of its names, and a key of the same kind"
            remedy = "remove it from the list, or put it before the certificate that clients should not get"
            yield Finding(Name.CERTIFICATE_UNUSED, Grade.SOON, place, message, remedy)


def of_authorities(subject: Subject) -> Iterator[Finding]:
    """The dates of the CA certificates that the configuration names, not those of the gateway's own certificates."""
    own = {path for one in subject.config.listeners for path in (*one.certificate, *one.private_key, one.keystore)}
    shown = {path for one in subject.config.upstreams for path in (one.client_certificate, one.client_key)}
    ordered = {one.path for one in orders(subject.config)}
    for path in sorted(renewed_files(subject.config) - own - shown - ordered):
        for dated in date_findings(_certificates(path), datetime.now(UTC)):
            grade = Grade.FAILS if dated.unusable else Grade.SOON
            message = f"{path}: {_dated(dated)}: the gateway then refuses the certificates that it has issued"
            yield Finding(Name.CA_EXPIRES, grade, str(path), message, "get the new certificate of the CA, and add it to the file")


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        with path.open("rb") as file:
            return x509.load_pem_x509_certificates(file.read(MAX_FILE_SIZE))
    except (OSError, ValueError):
        return []  # not certificates, or a fault that is reported as one of the configuration


def of_server(server: Server) -> Iterator[Finding]:
    """The dates of the certificate of a server. Connects to it, and does not verify the certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((server.host, server.port), SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=server.host) as secured,
        ):
            data = secured.getpeercert(binary_form=True)
        certificate = x509.load_der_x509_certificate(data or b"")
    except (OSError, ValueError):
        return  # another look reports that it cannot be reached
    for dated in date_findings((certificate,), datetime.now(UTC)):
        grade = Grade.FAILS if dated.unusable else Grade.SOON
        message = f"{server.host}:{server.port}: {_dated(dated)}"
        yield Finding(Name.SERVER_CERTIFICATE_EXPIRES, grade, server.place, message, "ask the operator of the server to renew it")

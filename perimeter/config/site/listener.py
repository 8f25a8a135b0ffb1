"""``[listener NAME]``: a port that clients connect to."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import attrs

from perimeter.config.language.datatypes import (
    BOOLEAN,
    FILE_MODE,
    PORT,
    SECRET,
    Datatype,
    duration,
    file_path,
    integer,
    list_of,
    one_of,
    optional,
)
from perimeter.config.language.net_types import INTERFACE, PEER_NETWORK, UNIX, PeerNetwork, UnixPeers
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings, read
from perimeter.config.site.acme import ACME_NAMES
from perimeter.workers.plan import Address


class Serve(StrEnum):
    """What a listener answers."""

    GATEWAY = "gateway"
    TOKENS = "tokens"
    REDIRECT = "redirect"
    METRICS = "metrics"


class ClientCertificate(StrEnum):
    """Whether a client must have a certificate."""

    OPTIONAL = "optional"
    REQUIRED = "required"


class UnknownName(StrEnum):
    """What a client gets that asks for a server name (SNI) which no certificate has, or for none."""

    FIRST = "first"
    REFUSE = "refuse"


_FILES: Datatype[tuple[Path, ...]] = list_of(file_path("file"), separators="\n", label="files, one in a line")
_YEAR = 365 * 86400
_DURATION = duration()


def _hsts(text: str, base: Path) -> float:
    return 0.0 if text == "off" else _DURATION.convert(text, base)


HSTS: Datatype[float] = Datatype("duration \\| off", _hsts, 0.0)


@attrs.frozen
class ListenerSettings(Settings):
    """``[listener NAME]``. ``interface`` is an IP address, ``unix:`` and the path of a socket, or "" for all interfaces."""

    name: str
    port: int = option(
        integer(0, 65535, "port"), "TCP port; `0` takes a free one. Required, except for a unix socket", default=""
    )
    interface: str = option(
        INTERFACE,
        "IP address of the interface to listen on, or `unix:` and the absolute path of a unix socket, which the gateway makes; "
        "not set: all interfaces, IPv4 and IPv6 (with `serve = metrics`: 127.0.0.1)",
        default="",
    )
    mode: int = option(
        FILE_MODE,
        "with a unix socket: the permissions of its file in octal. A program needs the right to write to connect",
        default="0660",
    )
    proxy_protocol: tuple[PeerNetwork, ...] = option(
        list_of(PEER_NETWORK),
        "networks of load balancers (`unix:`: all clients of a unix socket) that send the client's address in front of "
        "each connection, by the PROXY protocol, version 1 or 2. Connections from other addresses, or without the address, are "
        "refused; not set: no connection begins with it",
        default="",
    )
    tls: bool = option(BOOLEAN, "`yes` requires TLS (1.2 or 1.3)", default="no")
    certificate: tuple[Path, ...] = option(
        _FILES,
        "PEM file with the certificate chain. Of several, the server name that a client asks for (SNI) and the kinds of keys "
        "that it accepts choose one. Without it and `keystore`, a self-signed certificate is made in `state_dir`",
        default="",
        renewed=True,
    )
    private_key: tuple[Path, ...] = option(
        _FILES,
        "PEM file with the private key of `certificate`; as many as there are certificates, in their order",
        default="",
        renewed=True,
    )
    private_key_password: str | None = option(optional(SECRET), "password of `private_key`, if it is encrypted", default="")
    unknown_name: UnknownName = option(
        one_of(UnknownName),
        "what a client gets that asks for a server name which no certificate has, or for none: `first`, the first certificate; "
        "`refuse`: the handshake fails",
        default="first",
    )
    keystore: Path | None = option(
        optional(file_path("file")),
        "PKCS#12 or JKS keystore with certificate and key, instead of `certificate`",
        default="",
        renewed=True,
    )
    keystore_password: str | None = option(optional(SECRET), "password of `keystore`", default="")
    acme_names: tuple[str, ...] = option(
        ACME_NAMES,
        "host names of a certificate that the gateway gets and renews by itself, instead of `certificate` (see `[acme]`). Until "
        "it has one, it serves the self-signed certificate",
        default="",
    )
    client_ca: Path | None = option(
        optional(file_path("file")),
        "PEM file with CA certificates; clients are asked for a certificate that one of them issued",
        default="",
        renewed=True,
    )
    client_certificate: ClientCertificate = option(
        one_of(ClientCertificate),
        "with `client_ca`: `required` refuses connections of clients without a certificate",
        default="optional",
    )
    serve: Serve = option(
        one_of(Serve),
        "`gateway`: the routes and the token endpoints; `tokens`: only the token endpoints; `redirect`: 301 to https; "
        "`metrics`: metrics for Prometheus",
        default="gateway",
    )
    redirect_to: int | None = option(
        optional(PORT), "with `serve = redirect` (then required): port of the https listener", default=""
    )
    hsts: float | None = option(
        optional(HSTS),
        "with `tls = yes`: time for which browsers use only https for this host, after they have opened one of the gateway's own "
        "pages (header `Strict-Transport-Security`); not set: `365d` with a `certificate`, a `keystore` or "
        "`acme_names`, otherwise `off`",
        default="",
    )
    file: str = ""
    line: int = 0

    @property
    def socket_path(self) -> str:
        """The path of the unix socket, "" if it is none."""
        return self.interface.removeprefix(UNIX) if self.interface.startswith(UNIX) else ""

    @property
    def address(self) -> Address:
        """Where it listens."""
        return Address(self.name, self.interface, self.port, self.mode)

    @property
    def hsts_age(self) -> int:
        """Seconds of ``hsts``; 0 if the header is not sent."""
        if self.hsts is not None:
            return int(self.hsts)
        return _YEAR if self.tls and (self.certificate or self.keystore or self.acme_names) else 0

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        its = attrs.fields(ListenerSettings)
        if not self.tls and not section.faulty(its.tls):
            tls_only = (
                *(its.certificate, its.private_key, its.private_key_password, its.unknown_name),
                *(its.keystore, its.keystore_password, its.acme_names, its.client_ca, its.hsts),
            )
            section.refuse(tls_only, "is only allowed with tls = yes")
        self._check_place(section)
        section.needs(its.private_key, its.certificate)
        section.needs(its.certificate, its.private_key)
        section.needs(its.private_key_password, its.private_key)
        section.needs(its.keystore_password, its.keystore)
        section.needs(its.client_certificate, its.client_ca)
        if section.given(its.keystore) and section.given(its.certificate):
            section.problem(its.keystore, "set either keystore or certificate, not both")
        for other in (its.certificate, its.keystore):
            if section.given(its.acme_names) and section.given(other):
                section.problem(its.acme_names, f"set either acme_names or {other.name}, not both")
        pairs = section.faulty(its.certificate) or section.faulty(its.private_key) or not self.private_key
        if not pairs and len(self.certificate) != len(self.private_key):
            section.problem(
                its.private_key, f"expected one file for each certificate: {len(self.certificate)}, not {len(self.private_key)}"
            )
        if self.serve is not Serve.REDIRECT:
            section.refuse([its.redirect_to], "is only allowed with serve = redirect")
        elif not section.given(its.redirect_to):
            section.problem(its.redirect_to, "is required with serve = redirect: the port of the https listener")

    def _check_place(self, section: Section) -> None:
        its = attrs.fields(ListenerSettings)
        if self.socket_path:
            section.refuse([its.port], "is not allowed with a unix socket")
        elif not section.faulty(its.interface):
            section.refuse([its.mode], "is only allowed with interface = unix:PATH")
            if not section.given(its.port):
                section.problem(its.port, "is required (port)")
        if self.proxy_protocol and not section.faulty(its.interface):
            senders = [one for one in self.proxy_protocol if isinstance(one, UnixPeers) == bool(self.socket_path)]
            if not senders:
                only = "its clients are in unix:" if self.socket_path else "no client of a port is in unix:"
                section.problem(its.proxy_protocol, f"refuses all connections: {only}")


def read_listener(section: Section) -> ListenerSettings:
    """The settings of a listener. One with ``serve = metrics`` is on the loopback interface unless another one is set."""
    settings = read(section, ListenerSettings)
    if settings.serve is Serve.METRICS and not settings.interface:
        # Metrics are public to every client that can connect, so that is this machine alone unless configured (attack 43).
        return attrs.evolve(settings, interface="127.0.0.1")
    return settings


KIND = SectionKind(
    "listener",
    ListenerSettings,
    "A port that clients connect to.",
    "port = 9443\ninterface = 192.0.2.1\ntls = yes\ncertificate = gw.crt\nprivate_key = gw.key\n",
    example_name="https",
)

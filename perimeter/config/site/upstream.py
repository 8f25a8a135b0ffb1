"""``[upstream NAME]``: a service that requests are forwarded to."""

from __future__ import annotations

from pathlib import Path

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address

from perimeter.config.language.datatypes import BOOLEAN, duration, file_path, integer, list_of, one_of, optional
from perimeter.config.language.net_types import SERVER_NAME
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings
from perimeter.config.site.balancing import BALANCE, HEALTH, PERCENT, Balance, HealthCheck
from perimeter.config.site.dialling import PIN, Pin, ProxyProtocol
from perimeter.config.site.lookup import NAME_SERVER, NameServer, Resolve
from perimeter.config.site.server import SERVER, ServerScheme, ServerSettings


@attrs.frozen
class UpstreamSettings(Settings):
    """``[upstream NAME]``. Times are seconds."""

    name: str
    servers: tuple[ServerSettings, ...] = option(
        list_of(SERVER),
        "servers of the service, `http://host:port`, `https://host:port` (its certificate is verified) or `unix:/path` (HTTP on "
        "a unix socket); requests are spread over several. `weight=NUMBER` after a server gives it that many times as many "
        "requests, and `backup` gives it requests "
        "only while no other server can be used. `sample:` is the built-in sample service",
    )
    balance: Balance = option(
        BALANCE,
        "how the gateway chooses the server of a request: each in turn; the one with the fewest requests in flight; or by the "
        "user, the client's address or a header, so that the same value gets the same server. For a request without user or "
        "header, the address counts. All methods use the weights",
        default="round-robin",
    )
    max_requests: int | None = option(
        optional(integer(1, 1_000_000)),
        "largest number of requests that a server gets at a time, tunnels included. Other requests wait in a queue. Several "
        "workers divide the number. Not set: no limit",
        default="",
    )
    queue: int = option(
        integer(0, 1_000_000),
        "with `max_requests`: largest number of requests that wait; one more gets 503",
        default="100",
    )
    queue_timeout: float = option(
        duration(), "with `max_requests`: longest time that a request may wait; then the answer is 503", default="5s"
    )
    fair: bool = option(
        BOOLEAN,
        "with `max_requests`: `yes`: no user has more requests at a time than there are free places, so a user alone gets at "
        "most half of the places, two users a third each, and so on; the other requests of a user wait. A client without a user "
        "counts by its address",
        default="no",
    )
    health: HealthCheck | None = option(
        HEALTH,
        "a request that each server gets at intervals, such as `GET /health 200-399 every 5s within 2s`: path, statuses that "
        "pass, interval, and time for the answer. A server that does not pass gets no requests; if none passes, the "
        "answer is 503",
        default="",
    )
    health_fall: int = option(integer(1, 100), "checks that fail in a row before a server gets no more requests", default="3")
    health_rise: int = option(integer(1, 100), "checks that pass in a row before it gets requests again", default="2")
    slow_start: float = option(
        duration(zero=True),
        "time for which a server that can be used again gets less than its share: 10% of it at first, then more and more",
        default="0s",
    )
    eject_after: int | None = option(
        optional(integer(1, 10_000)),
        "bad answers in a row (502, 503, 504, or not complete) after which a server gets no requests for `eject_time`. Not "
        "set: never",
        default="",
    )
    eject_time: float = option(
        duration(),
        "time for which an ejected server gets no requests; the second time in a row twice as long, and so on up to ten times",
        default="30s",
    )
    eject_floor: float = option(
        PERCENT, "the part of the servers that always stays in use, even if they answer badly; at least one server", default="50%"
    )
    retries: int = option(
        integer(0, 10),
        "how many more servers the gateway tries if a server answers a request with 502, 503 or 504, or does not answer. Only "
        "requests without a body whose method may be repeated (GET, HEAD, OPTIONS, PUT, DELETE) are sent again",
        default="0",
    )
    retry_budget: float = option(
        PERCENT,
        "the largest part of all requests that may be sent again, so that retries do not increase an overload",
        default="20%",
    )
    connect_timeout: float = option(duration(), "longest time for a new connection to a server", default="10s")
    read_timeout: float = option(duration(), "longest time that a server may send nothing of its response", default="60s")
    keepalive: int = option(integer(0, 100_000), "largest number of idle connections to keep open", default="64")
    idle_timeout: float = option(
        duration(),
        "how long an idle connection is kept. Set it below the time after which the servers close one, since a request that is "
        "sent at that moment fails. A server that announces its time (`Keep-Alive: timeout=5`) needs no setting",
        default="60s",
    )
    ca_certificate: Path | None = option(
        optional(file_path("file")),
        "with https servers: PEM file with the CA certificates to trust; not set: those of the system",
        default="",
        renewed=True,
    )
    client_certificate: Path | None = option(
        optional(file_path("file")),
        "with https servers: PEM file with the certificate that the gateway shows to them, and the intermediate certificates",
        default="",
        renewed=True,
    )
    client_key: Path | None = option(
        optional(file_path("file")),
        "with `client_certificate`: PEM file with its private key; not set: the key is in the same file",
        default="",
        renewed=True,
    )
    pin: tuple[Pin, ...] = option(
        list_of(PIN),
        "with https servers: public keys, one of which the certificate of a server must have, besides being valid: the SHA-256 "
        "digest of the key (SubjectPublicKeyInfo), as curl's `--pinnedpubkey` has it. Not set: any key",
        default="",
    )
    server_name: str | None = option(
        optional(SERVER_NAME), "with https servers: host name in their certificate, if it is not the one in `servers`", default=""
    )
    proxy_protocol: ProxyProtocol | None = option(
        optional(one_of(ProxyProtocol)),
        "begin each connection with the address of the client, in the text (`v1`) or binary (`v2`) form of the PROXY protocol. "
        "Each connection then serves one request. Not set: no",
        default="",
    )
    resolve: Resolve = option(
        one_of(Resolve),
        "how the addresses of names in `servers` are found. `system`: the system looks them up for each new connection, and the "
        "first address that accepts it is used. `dns`: the gateway looks them up, and again when the time of the last answer "
        "(TTL) is over; each address, IPv4 and IPv6, is a server of its own with the weight of its name",
        default="system",
    )
    nameservers: tuple[NameServer, ...] = option(
        list_of(NAME_SERVER),
        "with `resolve = dns`: DNS servers. Not set: the servers in /etc/resolv.conf. The gateway reads /etc/hosts first",
        default="",
    )
    ttl_min: float = option(
        duration(), "with `resolve = dns`: shortest time until a name is looked up again, also after a failure", default="5s"
    )
    ttl_max: float = option(duration(), "with `resolve = dns`: longest time until a name is looked up again", default="5m")
    file: str = ""
    line: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """The hosts of the servers that have names, not addresses."""
        return tuple(one.host for one in self.servers if one.host and not isIPAddress(one.host) and not isIPv6Address(one.host))

    @property
    def looks_up(self) -> bool:
        """Whether the gateway looks up names of servers."""
        return self.resolve is Resolve.DNS

    @property
    def host(self) -> str | None:
        """The host that all servers have in a URL, with the port unless it is that of the scheme; None if there are several.

        That of a unix socket is ``localhost``.
        """
        hosts = {server.authority if server.path else _host(self.server_name or server.host, server) for server in self.servers}
        return None if len(hosts) != 1 else next(iter(hosts)) or None

    @property
    def dialling_in_words(self) -> tuple[str, ...]:
        """What connections to its servers have besides."""
        words = (
            f"PROXY protocol {self.proxy_protocol}" if self.proxy_protocol else "",
            "client certificate" if self.client_certificate else "",
            "pinned keys" if self.pin else "",
        )
        return tuple(word for word in words if word)

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        its = attrs.fields(UpstreamSettings)
        if section.faulty(its.servers):
            return
        schemes = {server.scheme for server in self.servers}
        if len({server.url for server in self.servers}) != len(self.servers):
            section.problem(its.servers, "the same server is listed twice")
        elif ServerScheme.SAMPLE in schemes and len(self.servers) > 1:
            section.problem(its.servers, "sample: cannot be combined with other servers")
        elif all(server.backup for server in self.servers):
            section.problem(its.servers, "one server at least must not be a backup")
        if ServerScheme.HTTPS not in schemes:
            only_https = (its.ca_certificate, its.client_certificate, its.client_key, its.pin, its.server_name)
            section.refuse(only_https, "is only allowed with https servers")
        elif self.client_certificate is None:
            section.refuse((its.client_key,), "is only allowed with client_certificate")
        if len(self.servers) == 1 and not self.looks_up:
            several = (its.balance, its.slow_start, its.eject_after, its.retries)
            section.refuse(several, "is only allowed with several servers, or with resolve = dns")
        if ServerScheme.SAMPLE in schemes:
            section.refuse((its.health, its.proxy_protocol), "is not allowed with sample:")
        if self.proxy_protocol is not None:
            section.refuse(
                (its.keepalive, its.idle_timeout), "has no effect with proxy_protocol: a connection serves one request"
            )
        if not self.looks_up:
            section.refuse((its.nameservers, its.ttl_min, its.ttl_max), "is only allowed with resolve = dns")
        elif not self.names:
            section.problem(its.resolve, "dns is only allowed with names in servers: they are all addresses")
        elif self.ttl_min > self.ttl_max:
            section.problem(its.ttl_min, "must not be longer than ttl_max")
        if self.max_requests is None:
            section.refuse((its.queue, its.queue_timeout, its.fair), "is only allowed with max_requests")
        if self.health is None:
            section.refuse((its.health_fall, its.health_rise), "is only allowed with health")
        if self.eject_after is None:
            section.refuse((its.eject_time, its.eject_floor), "is only allowed with eject_after")
        if not self.retries:
            section.refuse((its.retry_budget,), "is only allowed with retries")


def _host(name: str, server: ServerSettings) -> str:
    host = f"[{name}]" if ":" in name else name
    return host if server.port in (0, _PORTS.get(server.scheme)) else f"{host}:{server.port}"


_PORTS = {ServerScheme.HTTP: 80, ServerScheme.HTTPS: 443}


KIND = SectionKind(
    "upstream",
    UpstreamSettings,
    "A service that requests are forwarded to.",
    "servers = http://10.0.0.1:8888, http://10.0.0.2:8888\nread_timeout = 5m\n",
    example_name="app",
)

"""What a site.ini says, as frozen values. Times are seconds (float), sizes octets (int), paths absolute.

Every option's meaning, unit and default is told in `perimeter.config.site.schema`; here is only the shape. ``line`` is
where the section starts in ``file``, for messages at a later stage of the start.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import attrs

Network = IPv4Network | IPv6Network


@attrs.frozen
class PerimeterSettings:
    """``[perimeter]``."""

    state_dir: Path
    state: str = "sqlite"
    enabled: bool = True
    realm: str = "perimeter"
    workers: int = 1
    announce: tuple[str, ...] = ()
    maintenance: bool = False
    trusted_proxies: tuple[Network, ...] = ()


@attrs.frozen
class LimitSettings:
    """``[limits]``: what one client may cost."""

    handshake_timeout: float = 10.0
    head_timeout: float = 10.0
    idle_timeout: float = 75.0
    body_timeout: float = 30.0
    body_min_rate: int = 256
    send_timeout: float = 60.0
    max_head: int = 32 * 1024
    max_headers: int = 100
    remembered_tokens: int = 32768
    connections: int = 20000
    connections_per_address: int = 1000


@attrs.frozen
class ListenerSettings:
    """``[listener NAME]``. ``serve`` is ``gateway``, ``tokens``, ``redirect`` or ``metrics``.

    ``client_certificate`` is optional or required.
    """

    name: str
    port: int
    interface: str = ""
    tls: bool = False
    certificate: Path | None = None
    private_key: Path | None = None
    private_key_password: str | None = attrs.field(default=None, repr=False)
    keystore: Path | None = None
    keystore_password: str | None = attrs.field(default=None, repr=False)
    client_ca: Path | None = None
    client_certificate: str = "optional"
    serve: str = "gateway"
    redirect_to: int | None = None
    file: str = ""
    line: int = 0


@attrs.frozen
class AuthenticatorSettings:
    """``[authenticator NAME]``. ``settings`` is what the kind's own factory parsed, opaque to everybody else."""

    name: str
    kind: str
    realm: str
    settings: Any
    file: str = ""
    line: int = 0
    timeout: float | None = None


@attrs.frozen
class AuthenticationSettings:
    """``[authentication]``. ``order`` holds every authenticator's name once, in the order in which they are asked.

    ``ask`` is in_order or all_at_once.
    """

    order: tuple[str, ...] = ()
    ask: str = "in_order"
    timeout: float = 5.0
    remember_password: float = 60.0
    lockout_after: int = 10


@attrs.frozen
class AugmenterSettings:
    """``[augmenter NAME]``; ``settings`` is what the factory of its kind parsed."""

    name: str
    kind: str
    realm: str
    settings: Any
    file: str = ""
    line: int = 0


@attrs.frozen
class TokenSettings:
    """``[token]``. ``algorithm`` is ES256, EdDSA, RS256 or HS256; ``secret`` goes with HS256 only.

    ``api_lifetime`` is the longest life of an API token, 0 for no limit.
    """

    lifetime: float = 86400.0
    extended_lifetime: float = 7 * 86400.0
    issuer: str = "perimeter"
    audience: str = "perimeter"
    algorithm: str = "ES256"
    secret: str | None = attrs.field(default=None, repr=False)
    key_lifetime: float = 30 * 86400.0
    api_tokens: bool = True
    api_lifetime: float = 365 * 86400.0


@attrs.frozen
class ServerSettings:
    """One of an upstream's ``servers``. ``scheme`` is http, https or sample (the built-in sample service; no host, port 0)."""

    scheme: str
    host: str
    port: int


@attrs.frozen
class UpstreamSettings:
    """``[upstream NAME]``."""

    name: str
    servers: tuple[ServerSettings, ...]
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    keepalive: int = 64
    ca_certificate: Path | None = None
    server_name: str | None = None
    file: str = ""
    line: int = 0


@attrs.frozen
class Rule:
    """One term of ``allow`` or ``deny``: ``kind`` is role, user, realm or method."""

    kind: str
    value: str


@attrs.frozen
class RouteSettings:
    """``[route NAME]``: exactly one of ``upstream`` and ``static`` is set."""

    name: str
    path: str
    hosts: tuple[str, ...] = ()
    upstream: str | None = None
    static: Path | None = None
    index: tuple[str, ...] = ("index.html", "index.htm")
    rewrite: str | None = None
    auth: str = "required"
    allow: tuple[Rule, ...] | None = None
    deny: tuple[Rule, ...] = ()
    networks: tuple[Network, ...] = ()
    identity: tuple[str, ...] = ("headers",)
    identity_username_header: str = "X-Auth-Username"
    identity_realm_header: str = "X-Auth-Realm"
    identity_roles_header: str = "X-Auth-Roles"
    websocket: bool = True
    allow_encoded_slash: bool = False
    max_body: int | None = None
    audit: Path | None = None
    file: str = ""
    line: int = 0


@attrs.frozen
class AuditSettings:
    """``[audit]``. ``roll`` is ``daily`` or a size in octets; ``path`` is None where there is no audit log at all."""

    path: Path | None = None
    format: str = "reactor"
    roll: str | int = "daily"
    keep: int = 30
    strict: bool = True


@attrs.frozen
class LoggingSettings:
    """``[logging]``. ``level`` is debug, info, warn or error; ``format`` console or json."""

    level: str = "info"
    format: str = "console"


@attrs.frozen
class MetricsSettings:
    """``[metrics]``."""

    path: str = "/metrics"
    networks: tuple[Network, ...] = ()


@attrs.frozen
class ErrorPage:
    """One ``page`` of ``[errors]``: these statuses are answered with the page at this path of this gateway."""

    statuses: tuple[int, ...]
    path: str


@attrs.frozen
class SiteConfig:
    """A whole site.ini, found to be valid."""

    file: Path
    perimeter: PerimeterSettings
    limits: LimitSettings
    listeners: tuple[ListenerSettings, ...]
    authenticators: tuple[AuthenticatorSettings, ...]
    authentication: AuthenticationSettings
    token: TokenSettings
    upstreams: tuple[UpstreamSettings, ...]
    routes: tuple[RouteSettings, ...]
    audit: AuditSettings
    logging: LoggingSettings
    error_pages: tuple[ErrorPage, ...] = ()
    augmenters: tuple[AugmenterSettings, ...] = ()
    metrics: MetricsSettings = attrs.field(factory=MetricsSettings)
    warnings: tuple[str, ...] = ()

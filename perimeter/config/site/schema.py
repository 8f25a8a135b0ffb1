"""Every section and option of a site.ini: its name, datatype, default and one line of documentation.

The one place where they are told. Reading (`perimeter.config.site.build`, `build_route`), the hints for misspelt names
(`perimeter.config.site.load`) and the reference page (`perimeter.cli.reference`) all follow from it. ``available=False`` marks
what belongs to the contract and is not built yet: it is refused, never ignored.
"""

from __future__ import annotations

from perimeter.config.language.datatypes import (
    BOOLEAN,
    PORT,
    ROLL,
    SECRET,
    SIZE,
    TEXT,
    WORKERS,
    choice,
    duration,
    file_path,
    integer,
    list_of,
    optional,
)
from perimeter.config.language.option import Option, SectionKind
from perimeter.config.site.net_types import (
    FILE_NAME,
    HEADER_NAME,
    INTERFACE,
    NETWORK,
    PAGE,
    ROUTE_HOST,
    ROUTE_PATH,
    RULE,
    SERVER,
    SERVER_NAME,
    URL,
)


class Perimeter:
    """The gateway as a whole."""

    enabled = Option("enabled", BOOLEAN, "`no` routes everything without authentication, with a loud warning", "yes")
    realm = Option("realm", TEXT, "the realm of `WWW-Authenticate`", "perimeter")
    state_dir = Option("state_dir", file_path(), "keyring, database and self-made certificate; created 0700", "../var")
    workers = Option("workers", WORKERS, "processes; `1` is this one alone", "1")
    announce = Option("announce", list_of(URL), "the `auth_uri` list of 401 answers; not set: the live token endpoints")
    maintenance = Option("maintenance", BOOLEAN, "`yes` answers 503 with JSON on every route", "no")
    state = Option(
        "state",
        choice("sqlite", "memory", later=("redis",)),
        "where API tokens and revocations are kept: `sqlite` (in `state_dir`), or `memory`, which forgets them at the end",
        "sqlite",
    )
    redis_url = Option("redis_url", SECRET, "with `state = redis`", available=False)
    trusted_proxies = Option(
        "trusted_proxies",
        list_of(NETWORK),
        "networks whose `X-Forwarded-*` is believed, and whose questions at `/authenticate` too",
    )


class Limits:
    """What one client may cost."""

    handshake_timeout = Option("handshake_timeout", duration(), "for a TLS handshake, from its first octet to its last", "10s")
    head_timeout = Option("head_timeout", duration(), "for a request's head, from its first octet to its last", "10s")
    idle_timeout = Option("idle_timeout", duration(), "between two requests of a connection", "75s")
    body_timeout = Option("body_timeout", duration(), "between two parts of a request's body", "30s")
    body_min_rate = Option("body_min_rate", SIZE, "octets a second that a request's body must come at, on average", "256")
    send_timeout = Option("send_timeout", duration(), "for a client that reads nothing of its response", "60s")
    max_head = Option("max_head", SIZE, "the request line and all header fields together", "32KiB")
    max_headers = Option("max_headers", integer(1, 100_000), "header fields of one request", "100")
    remembered_tokens = Option(
        "remembered_tokens",
        integer(3, 100_000_000),
        "tokens that need not be verified again while they last; each takes some 2 KiB when it is in use",
        "32768",
    )
    connections = Option("connections", integer(1, 10_000_000), "client connections at a time", "20000")
    connections_per_address = Option("connections_per_address", integer(1, 10_000_000), "and of one address", "1000")


class Listener:
    """A port that clients connect to."""

    port = Option("port", integer(0, 65535, "port"), "0 takes any free one", required=True)
    interface = Option("interface", INTERFACE, "not set: all of them, IPv4 and IPv6; with `serve = metrics`: 127.0.0.1")
    tls = Option("tls", BOOLEAN, "speak TLS (1.2 and 1.3)", "no")
    certificate = Option(
        "certificate", optional(file_path("file")), "PEM chain; without it or a keystore one is made in `state_dir`"
    )
    private_key = Option("private_key", optional(file_path("file")), "PEM key of `certificate`")
    private_key_password = Option("private_key_password", optional(SECRET), "of an encrypted `private_key`")
    keystore = Option("keystore", optional(file_path("file")), "a PKCS#12 or JKS keystore, in place of `certificate`")
    keystore_password = Option("keystore_password", optional(SECRET), "of `keystore`")
    client_ca = Option("client_ca", optional(file_path("file")), "ask for client certificates issued by these CAs (PEM)")
    client_certificate = Option(
        "client_certificate",
        choice("optional", "required"),
        "with `client_ca`: whether a client may come without one",
        "optional",
    )
    serve = Option(
        "serve",
        choice("gateway", "tokens", "redirect", "metrics"),
        "`gateway`: the routes and the token endpoints; `tokens`: the authentication server alone; `redirect`: 301 to https; "
        "`metrics`: figures for Prometheus",
        "gateway",
    )
    redirect_to = Option("redirect_to", optional(PORT), "with `serve = redirect`: the port of the https listener")


class Authenticator:
    """Somewhere that users are known. Each kind has further options of its own."""

    type = Option("type", TEXT, "the kind of authenticator", required=True)
    realm = Option("realm", TEXT, "the realm of its users; not set: the section's name")
    timeout = Option("timeout", optional(duration()), "for its answer; not set: that of `[authentication]`")


class Authentication:
    """How the authenticators are asked."""

    order = Option("order", list_of(TEXT), "every authenticator, in the order of asking; not set: that of the sections")
    ask = Option(
        "ask",
        choice("in_order", "all_at_once"),
        "`in_order`: one after the other, until one knows the user; `all_at_once`: the first to vouch wins, and every password "
        "goes to every one of them",
        "in_order",
    )
    timeout = Option("timeout", duration(), "for one authenticator's answer", "5s")
    remember_password = Option(
        "remember_password", duration(zero=True), "how long a verified password is not verified again; `0` always verifies", "60s"
    )
    lockout_after = Option(
        "lockout_after",
        integer(0, 10_000),
        "wrong passwords for one name or from one address before the next ones have to wait and are answered by 429; `0`: never",
        "10",
    )


class Augmenter:
    """Adds roles and attributes to the users of one realm after authentication, and never takes any away.

    These options, and those of its type. Augmenters that read roles (`match`) work after the others and see the roles that those
    have added.
    """

    type = Option("type", TEXT, "what kind it is", required=True)
    realm = Option("realm", TEXT, "the realm of the users", required=True)


class Token:
    """The access tokens that the gateway issues."""

    lifetime = Option("lifetime", duration(), "of tokens from `/token`", "24h")
    extended_lifetime = Option("extended_lifetime", duration(), "of tokens from `/extendedtoken`", "7d")
    issuer = Option("issuer", TEXT, "the `iss` claim", "perimeter")
    audience = Option("audience", TEXT, "the `aud` claim", "perimeter")
    algorithm = Option("algorithm", choice("ES256", "EdDSA", "RS256", "HS256"), "how tokens are signed", "ES256")
    secret = Option("secret", optional(SECRET), "the key of HS256, at least 32 octets")
    api_tokens = Option(
        "api_tokens", BOOLEAN, "users may have API tokens (`/tokens`), and `GET /token` gives one for an hour as `token`", "yes"
    )
    api_lifetime = Option(
        "api_lifetime",
        duration(zero=True),
        "the longest that an API token may live; `0`: no limit, and it need not expire",
        "365d",
    )
    key_lifetime = Option(
        "key_lifetime", duration(), "a new signing key after that; old ones go on verifying their tokens", "30d"
    )


class Upstream:
    """A service behind the gateway."""

    servers = Option(
        "servers",
        list_of(SERVER),
        "`http://host:port` or `https://host:port` (verified), several are balanced; `sample:` is the built-in sample service",
        required=True,
    )
    connect_timeout = Option("connect_timeout", duration(), "for a connection to be made", "10s")
    read_timeout = Option("read_timeout", duration(), "for the service to send something", "60s")
    keepalive = Option("keepalive", integer(0, 100_000), "idle connections kept", "64")
    ca_certificate = Option(
        "ca_certificate", optional(file_path("file")), "PEM CAs of https servers; not set: those of the system"
    )
    server_name = Option("server_name", optional(SERVER_NAME), "the name in the certificate, where it is not the host")


class Route:
    """Requests that belong together: where they go, and who may send them. The longest path that matches wins."""

    host = Option("host", list_of(ROUTE_HOST), "host names; `*` is any", "*")
    path = Option("path", ROUTE_PATH, "this path and what is below it", required=True)
    upstream = Option("upstream", optional(TEXT), "the name of an upstream section")
    static = Option("static", optional(file_path("directory")), "or a directory of files")
    index = Option("index", list_of(FILE_NAME), "with `static`: the file that answers for a directory", "index.html, index.htm")
    rewrite = Option("rewrite", optional(ROUTE_PATH), "replaces the matched prefix; `/` takes it away")
    auth = Option("auth", choice("required", "optional", "none"), "whether the client must say who it is", "required")
    allow = Option(
        "allow",
        optional(list_of(RULE)),
        "`role:x`, `user:x`, `realm:x`, `method:GET`: any one suffices; left out: any authenticated user",
        empty_message="is empty; leave it out to let every authenticated user in, or say who may",
    )
    deny = Option("deny", list_of(RULE), "as `allow`; wins over it")
    networks = Option("networks", list_of(NETWORK), "networks that may come at all; not set: any")
    identity = Option(
        "identity",
        list_of(choice("headers", "jwt", "none")),
        "what the upstream gets: `X-Auth-*` headers, `jwt` (an assertion in `Authorization`), both, or `none`",
        "headers",
    )
    identity_username_header = Option("identity_username_header", HEADER_NAME, "its name", "X-Auth-Username")
    identity_realm_header = Option("identity_realm_header", HEADER_NAME, "its name", "X-Auth-Realm")
    identity_roles_header = Option("identity_roles_header", HEADER_NAME, "its name", "X-Auth-Roles")
    browser_login = Option("browser_login", BOOLEAN, "redirect unauthenticated browsers to the login page", available=False)
    websocket = Option("websocket", BOOLEAN, "let `Upgrade` through after admission", "yes")
    allow_encoded_slash = Option("allow_encoded_slash", BOOLEAN, "let `%2F` through to services that need it", "no")
    max_body = Option("max_body", optional(SIZE), "largest request body; not set: unlimited")
    audit = Option("audit", optional(file_path()), "an audit file of its own; not set: that of `[audit]`")


class Audit:
    """The log of who did what."""

    path = Option("path", optional(file_path()), "the file; not set: no audit log but those of the routes")
    format = Option("format", choice("reactor", "combined", "json"), "of a line", "reactor")
    roll = Option("roll", ROLL, "`daily` (access.log becomes access.log.2026-11-22), or a size", "daily")
    keep = Option("keep", integer(1, 100_000), "rolled files that are kept", "30")
    strict = Option("strict", BOOLEAN, "no response ends before its record is written", "yes")


class Logging:
    """What the gateway says of itself."""

    level = Option("level", choice("debug", "info", "warn", "error"), "the least that is told", "info")
    format = Option("format", choice("console", "json"), "of a line", "console")


class Metrics:
    """Figures for Prometheus, which a listener with `serve = metrics` tells. Without such a listener nothing is counted."""

    path = Option("path", ROUTE_PATH, "where they are", "/metrics")
    networks = Option("networks", list_of(NETWORK), "networks that may ask; not set: whoever can reach the listener")


class Errors:
    """Pages of the site in place of the gateway's own."""

    page = Option("page", list_of(PAGE, "\n"), "statuses and the path of a page, such as `500 502 503 504 /50x.html`; one a line")


KINDS = (
    SectionKind("perimeter", Perimeter),
    SectionKind("limits", Limits),
    SectionKind("listener", Listener, named=True),
    SectionKind("authenticator", Authenticator, named=True),
    SectionKind("authentication", Authentication),
    SectionKind("augmenter", Augmenter, named=True),
    SectionKind("token", Token),
    SectionKind("upstream", Upstream, named=True),
    SectionKind("route", Route, named=True),
    SectionKind("audit", Audit),
    SectionKind("logging", Logging),
    SectionKind("metrics", Metrics),
    SectionKind("errors", Errors),
)

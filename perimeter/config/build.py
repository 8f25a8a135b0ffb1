"""From a section to its frozen settings, one function for each kind; what sections say of each other is in `crosscheck`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from perimeter.config import schema
from perimeter.config.datatypes import closest
from perimeter.config.section import NOT_YET, Section
from perimeter.config.values import (
    AuditSettings,
    AuthenticationSettings,
    AuthenticatorSettings,
    ErrorPage,
    LimitSettings,
    ListenerSettings,
    LoggingSettings,
    PerimeterSettings,
    RouteSettings,
    Rule,
    ServerSettings,
    TokenSettings,
    UpstreamSettings,
)
from perimeter.errors import ConfigError
from perimeter.interfaces import IAuthenticatorFactory

# RFC 7518, section 3.2: a key for HS256 is at least as long as the hash.
_HS256_OCTETS = 32


def perimeter(section: Section) -> PerimeterSettings:
    """``[perimeter]``."""
    options = schema.Perimeter
    for later in (options.state, options.redis_url):
        section.value(later)
    return PerimeterSettings(
        state_dir=section.value(options.state_dir),
        enabled=section.value(options.enabled),
        realm=_quotable(section, "realm", section.value(options.realm)),
        workers=section.value(options.workers),
        announce=section.value(options.announce),
        maintenance=section.value(options.maintenance),
        trusted_proxies=section.value(options.trusted_proxies),
    )


def limits(section: Section) -> LimitSettings:
    """``[limits]``."""
    options = schema.Limits
    return LimitSettings(
        handshake_timeout=section.value(options.handshake_timeout),
        head_timeout=section.value(options.head_timeout),
        idle_timeout=section.value(options.idle_timeout),
        body_timeout=section.value(options.body_timeout),
        body_min_rate=section.value(options.body_min_rate),
        send_timeout=section.value(options.send_timeout),
        max_head=section.value(options.max_head),
        max_headers=section.value(options.max_headers),
        connections=section.value(options.connections),
        connections_per_address=section.value(options.connections_per_address),
    )


def listener(section: Section) -> ListenerSettings:
    """``[listener NAME]``."""
    options = schema.Listener
    section.value(options.client_ca)
    settings = ListenerSettings(
        name=section.name,
        port=section.value(options.port),
        interface=section.value(options.interface),
        tls=section.value(options.tls),
        certificate=section.value(options.certificate),
        private_key=section.value(options.private_key),
        private_key_password=section.value(options.private_key_password),
        keystore=section.value(options.keystore),
        keystore_password=section.value(options.keystore_password),
        serve=section.value(options.serve),
        redirect_to=section.value(options.redirect_to),
        file=section.file,
        line=section.line,
    )
    tls_only = ("certificate", "private_key", "private_key_password", "keystore", "keystore_password")
    if not settings.tls and not section.faulty("tls"):
        _unused(section, tls_only, "goes with tls = yes only")
    _goes_with(section, "private_key", "certificate")
    _goes_with(section, "certificate", "private_key")
    _goes_with(section, "private_key_password", "private_key")
    _goes_with(section, "keystore_password", "keystore")
    if section.given("keystore") and section.given("certificate"):
        section.problem("keystore", "stands in place of certificate; both are given")
    if settings.serve != "redirect":
        _unused(section, ["redirect_to"], "goes with serve = redirect only")
    elif not section.given("redirect_to"):
        section.problem("redirect_to", "is needed with serve = redirect: the port of the https listener")
    return settings


def authenticator(section: Section, factories: Mapping[str, IAuthenticatorFactory]) -> AuthenticatorSettings:
    """``[authenticator NAME]``, its own options read by the factory of its ``type``."""
    kind = section.value(schema.Authenticator.type)
    realm = _quotable(section, "realm", section.value(schema.Authenticator.realm) or section.name)
    settings: Any = None
    if section.name == "token":
        section.problem("", "the audit log says token for access tokens; another name is needed")
    factory = factories.get(kind)
    if factory is not None:
        settings = _parsed(section, kind, factory)
        section.finish(option.name for option in getattr(factory, "options", ()))
    elif kind in schema.LATER_AUTHENTICATORS:
        section.problem("type", f"{kind} is {NOT_YET}")
    elif kind:
        known = sorted(factories)
        section.problem("type", f"expected {' or '.join(known)}, not {section.quote('type', kind)}", closest(kind, known))
    return AuthenticatorSettings(section.name, kind, realm, settings, section.file, section.line)


def _parsed(section: Section, kind: str, factory: IAuthenticatorFactory) -> Any:
    try:
        return factory.parse(section)
    except ConfigError as error:
        for problem in error.problems:
            section.problem(problem.option, problem.message, problem.suggestion, line=problem.line)
    except Exception as error:
        # Its text is not ours and may hold a secret: the class must do.
        section.problem("type", f"the authenticator kind {kind} failed to read this section ({type(error).__name__})")
    return None


def authentication(section: Section) -> AuthenticationSettings:
    """``[authentication]``."""
    options = schema.Authentication
    section.value(options.lockout_after)
    return AuthenticationSettings(
        order=section.value(options.order),
        timeout=section.value(options.timeout),
        remember_password=section.value(options.remember_password),
    )


def token(section: Section) -> TokenSettings:
    """``[token]``."""
    options = schema.Token
    settings = TokenSettings(
        lifetime=section.value(options.lifetime),
        extended_lifetime=section.value(options.extended_lifetime),
        issuer=section.value(options.issuer),
        audience=section.value(options.audience),
        algorithm=section.value(options.algorithm),
        secret=section.value(options.secret),
        key_lifetime=section.value(options.key_lifetime),
    )
    if settings.algorithm != "HS256" and not section.faulty("algorithm"):
        _unused(section, ["secret"], "goes with algorithm = HS256 only")
    elif settings.algorithm == "HS256" and not section.faulty("secret"):
        if settings.secret is None:
            section.problem("secret", "is needed with algorithm = HS256")
        elif len(settings.secret.encode()) < _HS256_OCTETS:
            section.problem("secret", f"expected at least {_HS256_OCTETS} octets (RFC 7518, section 3.2)")
    return settings


def upstream(section: Section) -> UpstreamSettings:
    """``[upstream NAME]``."""
    options = schema.Upstream
    settings = UpstreamSettings(
        name=section.name,
        servers=section.value(options.servers),
        connect_timeout=section.value(options.connect_timeout),
        read_timeout=section.value(options.read_timeout),
        keepalive=section.value(options.keepalive),
        ca_certificate=section.value(options.ca_certificate),
        server_name=section.value(options.server_name),
        file=section.file,
        line=section.line,
    )
    if not section.faulty("servers"):
        _servers(section, settings.servers)
    return settings


def _servers(section: Section, servers: tuple[ServerSettings, ...]) -> None:
    schemes = {server.scheme for server in servers}
    if len(set(servers)) != len(servers):
        section.problem("servers", "the same server is named twice")
    elif "sample" in schemes and len(servers) > 1:
        section.problem("servers", "sample: stands alone")
    if "https" not in schemes:
        _unused(section, ("ca_certificate", "server_name"), "goes with https servers only")


def route(section: Section) -> RouteSettings:
    """``[route NAME]``."""
    options = schema.Route
    section.value(options.browser_login)
    hosts = section.value(options.host)
    if "*" in hosts and len(hosts) > 1:
        section.problem("host", "* stands alone, because it is every host")
    settings = RouteSettings(
        name=section.name,
        path=section.value(options.path),
        hosts=() if "*" in hosts else hosts,
        upstream=section.value(options.upstream),
        static=section.value(options.static),
        index=section.value(options.index),
        rewrite=section.value(options.rewrite),
        auth=section.value(options.auth),
        allow=section.value(options.allow),
        deny=section.value(options.deny),
        networks=section.value(options.networks),
        identity=_identity(section),
        identity_username_header=section.value(options.identity_username_header),
        identity_realm_header=section.value(options.identity_realm_header),
        identity_roles_header=section.value(options.identity_roles_header),
        websocket=section.value(options.websocket),
        allow_encoded_slash=section.value(options.allow_encoded_slash),
        max_body=section.value(options.max_body),
        audit=section.value(options.audit),
        file=section.file,
        line=section.line,
    )
    _target(section)
    _identity_headers(section, settings)
    if settings.auth == "none" and not section.faulty("auth"):
        _anonymous(section, "allow", settings.allow or ())
        _anonymous(section, "deny", settings.deny)
    return settings


_IDENTITY_HEADERS = ("identity_username_header", "identity_realm_header", "identity_roles_header")
_UPSTREAM_ONLY = ("rewrite", "identity", *_IDENTITY_HEADERS, "websocket", "allow_encoded_slash")


def _identity(section: Section) -> tuple[str, ...]:
    words = section.value(schema.Route.identity)
    if "none" in words and len(words) > 1:
        section.problem("identity", "none stands alone")
    elif len(set(words)) != len(words):
        section.problem("identity", "the same word is given twice")
    return tuple(word for word in words if word != "none")


def _target(section: Section) -> None:
    has_upstream, has_static = section.given("upstream"), section.given("static")
    if has_upstream and has_static:
        section.problem("static", "a route has one target: upstream or static, both are given")
    elif has_static:
        _unused(section, _UPSTREAM_ONLY, "goes with upstream only")
    elif has_upstream:
        _unused(section, ["index"], "goes with static only")
    else:
        section.problem("", "a route needs a target: upstream = NAME or static = DIRECTORY")


def _identity_headers(section: Section, settings: RouteSettings) -> None:
    names = [settings.identity_username_header, settings.identity_realm_header, settings.identity_roles_header]
    if len({name.lower() for name in names}) != len(names) and not any(section.faulty(option) for option in _IDENTITY_HEADERS):
        given = next(option for option in _IDENTITY_HEADERS if section.given(option))
        section.problem(given, "the three identity headers need three names")
    if "headers" not in settings.identity and section.given("identity"):
        _unused(section, _IDENTITY_HEADERS, "goes with identity = headers only")


def _anonymous(section: Section, option: str, rules: Iterable[Rule]) -> None:
    for rule in rules:
        if rule.kind != "method":
            shown = section.quote(option, f"{rule.kind}:{rule.value}")
            section.problem(option, f"{shown} can never match, because auth = none asks nobody who they are")


def audit(section: Section) -> AuditSettings:
    """``[audit]``."""
    options = schema.Audit
    return AuditSettings(
        path=section.value(options.path),
        format=section.value(options.format),
        roll=section.value(options.roll),
        keep=section.value(options.keep),
        strict=section.value(options.strict),
    )


def logging(section: Section) -> LoggingSettings:
    """``[logging]``."""
    return LoggingSettings(level=section.value(schema.Logging.level), format=section.value(schema.Logging.format))


def errors(section: Section) -> tuple[ErrorPage, ...]:
    """``[errors]``."""
    pages = section.value(schema.Errors.page)
    statuses = [status for page in pages for status in page.statuses]
    for status in sorted({status for status in statuses if statuses.count(status) > 1}):
        section.problem("page", f"the status {status} is given twice")
    return pages


def _unused(section: Section, options: Iterable[str], message: str) -> None:
    for option in options:
        if section.given(option) and not section.faulty(option):
            section.problem(option, message)


def _goes_with(section: Section, option: str, other: str) -> None:
    if section.given(option) and not section.given(other):
        section.problem(option, f"needs {other} too")


def _quotable(section: Section, option: str, realm: str) -> str:
    """A realm stands in a quoted string of WWW-Authenticate (RFC 9110, section 11.5) and in a header of its own."""
    if any(character in '"\\' or not character.isprintable() for character in realm):
        section.problem(option, "expected a realm without quotes, backslashes or control characters")
    return realm

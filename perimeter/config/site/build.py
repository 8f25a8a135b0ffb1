"""From a section to its frozen settings, one function for each kind.

Routes have a module of their own (`perimeter.config.site.build_route`). What sections say of each other is in
`perimeter.config.site.crosscheck`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs

from perimeter.config.language.datatypes import closest
from perimeter.config.language.section import Section
from perimeter.config.site import schema
from perimeter.config.site.values import (
    AuditSettings,
    AugmenterSettings,
    AuthenticationSettings,
    AuthenticatorSettings,
    ErrorPage,
    LimitSettings,
    ListenerSettings,
    LoggingSettings,
    MetricsSettings,
    PerimeterSettings,
    ServerSettings,
    TokenSettings,
    UpstreamSettings,
)
from perimeter.errors import ConfigError
from perimeter.plugin.augmenter import IAugmenterFactory
from perimeter.plugin.authenticator import IAuthenticatorFactory

# RFC 7518, section 3.2: a key for HS256 is at least as long as the hash.
_HS256_OCTETS = 32

#: what a metrics listener answers beside the figures
HEALTH_PATHS = ("/health", "/status")


def perimeter(section: Section) -> PerimeterSettings:
    """``[perimeter]``."""
    options = schema.Perimeter
    section.value(options.redis_url)
    return PerimeterSettings(
        state_dir=section.value(options.state_dir),
        state=section.value(options.state),
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
        remembered_tokens=section.value(options.remembered_tokens),
        connections=section.value(options.connections),
        connections_per_address=section.value(options.connections_per_address),
    )


def listener(section: Section) -> ListenerSettings:
    """``[listener NAME]``."""
    options = schema.Listener
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
        client_ca=section.value(options.client_ca),
        client_certificate=section.value(options.client_certificate),
        serve=section.value(options.serve),
        redirect_to=section.value(options.redirect_to),
        file=section.file,
        line=section.line,
    )
    tls_only = ("certificate", "private_key", "private_key_password", "keystore", "keystore_password", "client_ca")
    if not settings.tls and not section.faulty("tls"):
        section.refuse(tls_only, "goes with tls = yes only")
    section.needs("private_key", "certificate")
    section.needs("certificate", "private_key")
    section.needs("private_key_password", "private_key")
    section.needs("keystore_password", "keystore")
    section.needs("client_certificate", "client_ca")
    if section.given("keystore") and section.given("certificate"):
        section.problem("keystore", "stands in place of certificate; both are given")
    if settings.serve != "redirect":
        section.refuse(["redirect_to"], "goes with serve = redirect only")
    elif not section.given("redirect_to"):
        section.problem("redirect_to", "is needed with serve = redirect: the port of the https listener")
    if settings.serve == "metrics" and not settings.interface and not section.faulty("interface"):
        # What is told to anybody who asks is told to this machine alone, until somebody says otherwise (attack 43).
        settings = attrs.evolve(settings, interface="127.0.0.1")
    return settings


def authenticator(section: Section, factories: Mapping[str, IAuthenticatorFactory]) -> AuthenticatorSettings:
    """``[authenticator NAME]``, its own options read by the factory of its ``type``."""
    kind = section.value(schema.Authenticator.type)
    realm = _quotable(section, "realm", section.value(schema.Authenticator.realm) or section.name)
    timeout: float | None = None
    settings: Any = None
    if section.name == "token":
        section.problem("", "the audit log says token for access tokens; another name is needed")
    factory = _factory(section, kind, factories)
    if factory is not None:
        settings = _parsed(section, kind, factory)
        if not section.faulty("timeout"):  # a kind may read it too
            timeout = section.value(schema.Authenticator.timeout)
        _finish(section, factory, factories)
    return AuthenticatorSettings(section.name, kind, realm, settings, section.file, section.line, timeout)


def augmenter(section: Section, factories: Mapping[str, IAugmenterFactory]) -> AugmenterSettings:
    """``[augmenter NAME]``, its own options read by the factory of its ``type``."""
    kind, realm = section.value(schema.Augmenter.type), section.value(schema.Augmenter.realm)
    settings: Any = None
    factory = _factory(section, kind, factories)
    if factory is not None:
        settings = _parsed(section, kind, factory)
        _finish(section, factory, factories)
    return AugmenterSettings(section.name, kind, realm, settings, section.file, section.line)


F = TypeVar("F", IAuthenticatorFactory, IAugmenterFactory)


def _factory(section: Section, kind: str, factories: Mapping[str, F]) -> F | None:
    factory = factories.get(kind)
    if factory is None and kind:
        known = sorted(factories)
        section.problem("type", f"expected {' or '.join(known)}, not {section.quote('type', kind)}", closest(kind, known))
    return factory


def _parsed(section: Section, kind: str, factory: IAuthenticatorFactory | IAugmenterFactory) -> Any:
    try:
        return factory.parse(section)
    except ConfigError as error:
        for problem in error.problems:
            section.problem(problem.option, problem.message, problem.suggestion, line=problem.line)
    except Exception as error:
        # The text of a third party's exception may contain a secret, so only its class is shown.
        section.problem("type", f"the kind {kind} failed to read this section ({type(error).__name__})")
    return None


def _finish(section: Section, factory: F, factories: Mapping[str, F]) -> None:
    """Report the options that nothing has read; those of other kinds with the names of these."""
    elsewhere: dict[str, list[str]] = {}
    for kind in sorted(factories):
        for option in factories[kind].options:
            elsewhere.setdefault(option.name, []).append(kind)
    for name, kinds in elsewhere.items():
        if not section.was_read(name):
            section.refuse([name], f"goes with type = {' or '.join(kinds)} only")
    section.finish(option.name for option in factory.options)


def authentication(section: Section) -> AuthenticationSettings:
    """``[authentication]``."""
    options = schema.Authentication
    return AuthenticationSettings(
        order=section.value(options.order),
        ask=section.value(options.ask),
        timeout=section.value(options.timeout),
        remember_password=section.value(options.remember_password),
        lockout_after=section.value(options.lockout_after),
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
        api_tokens=section.value(options.api_tokens),
        api_lifetime=section.value(options.api_lifetime),
    )
    if settings.algorithm != "HS256" and not section.faulty("algorithm"):
        section.refuse(["secret"], "goes with algorithm = HS256 only")
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
        section.refuse(("ca_certificate", "server_name"), "goes with https servers only")


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


def metrics(section: Section) -> MetricsSettings:
    """``[metrics]``."""
    options = schema.Metrics
    settings = MetricsSettings(path=section.value(options.path), networks=section.value(options.networks))
    if settings.path in ("/", *HEALTH_PATHS):
        section.problem("path", f"is taken, as {', '.join(HEALTH_PATHS)} are; expected another, such as /metrics")
    return settings


def errors(section: Section) -> tuple[ErrorPage, ...]:
    """``[errors]``."""
    pages = section.value(schema.Errors.page)
    statuses = [status for page in pages for status in page.statuses]
    for status in sorted({status for status in statuses if statuses.count(status) > 1}):
        section.problem("page", f"the status {status} is given twice")
    return pages


def _quotable(section: Section, option: str, realm: str) -> str:
    """A realm stands in a quoted string of WWW-Authenticate (RFC 9110, section 11.5) and in a header of its own."""
    if not realm.isascii() or any(character in '"\\' or not character.isprintable() for character in realm):
        section.problem(option, "expected a realm of ASCII, without quotes, backslashes or control characters")
    return realm

"""Checks across the sections of a site.ini: names that must exist, combinations that must not occur, and warnings.

What a section says by itself is checked by the ``check`` of its settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import attrs

from perimeter.config.language.datatypes import closest
from perimeter.config.language.section import Named, Section
from perimeter.config.site import acme_listeners, factor_checks, login_hosts, own_issuer, provider_pages
from perimeter.config.site.augmenter import AugmenterSettings
from perimeter.config.site.authentication import Ask, AuthenticationSettings
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.errors import ErrorSettings
from perimeter.config.site.expression import AllOf, AnyOf, Expression, Not
from perimeter.config.site.listener import ClientCertificate, ListenerSettings, Serve
from perimeter.config.site.login import LoginSettings
from perimeter.config.site.methods import REGISTERED_METHODS
from perimeter.config.site.metrics import MetricsSettings
from perimeter.config.site.perimeter import StateKind
from perimeter.config.site.provider import ProviderSettings
from perimeter.config.site.route import Auth, RouteSettings
from perimeter.config.site.route_conditions import Condition
from perimeter.config.site.route_headers import OF_UPSTREAM
from perimeter.config.site.route_matching import covers
from perimeter.config.site.route_path import PathKind, RoutePath
from perimeter.config.site.rule import Rule, RuleKind
from perimeter.config.site.server import ServerSettings

_Requests = tuple[str, RoutePath, frozenset[str], frozenset[Condition], frozenset[Condition]]
"""A host, and what else of a request decides that it belongs to a route."""


@attrs.frozen
class Sections:
    """The sections that a `SiteConfig` was built from, in the order of its tuples, to report problems on."""

    listeners: Sequence[Section]
    routes: Sequence[Section]
    authentication: Section
    errors: Section
    login: Section
    second_factor: Section
    authenticators: Sequence[Section] = ()
    augmenters: Sequence[Section] = ()
    providers: Sequence[Section] = ()


def check(config: SiteConfig, sections: Sections) -> None:
    """Report every contradiction between sections."""
    _listeners(config, sections)
    _order(config, sections)
    _augmenters(config, sections)
    login_hosts.check(config, sections.routes)
    _providers(config, sections)
    own_issuer.check(config, sections.authenticators, sections.providers)
    provider_pages.check(config, sections.providers, sections.login)
    seen: dict[_Requests, RouteSettings] = {}
    for route, section in zip(config.routes, sections.routes, strict=True):
        _route(config, route, section)
        _duplicates(route, section, seen)
    factor_checks.check(config, sections.second_factor, sections.login, sections.routes)
    for page in config.error_pages:
        if not any(route.path.matches(page.path) and not route.conditional for route in config.routes):
            pages = attrs.fields(ErrorSettings).pages
            sections.errors.problem(pages, f"no route serves {sections.errors.quote(pages, page.path)}")


def _listeners(config: SiteConfig, sections: Sections) -> None:
    its = attrs.fields(ListenerSettings)
    for index, listener in enumerate(config.listeners):
        section = sections.listeners[index]
        for earlier in config.listeners[:index]:
            if listener.socket_path or earlier.socket_path:
                if listener.socket_path == earlier.socket_path:
                    section.problem(its.interface, f"[listener {earlier.name}] has the same unix socket")
            elif listener.port == earlier.port != 0 and _overlap(listener.interface, earlier.interface):
                section.problem(its.port, f"[listener {earlier.name}] has the same port on the same interface")
        if listener.serve is Serve.TOKENS and not config.authenticators:
            section.problem(its.serve, "no user could get a token, because there is no [authenticator] section")
    acme_listeners.check(config, sections.listeners)


def _overlap(one: str, other: str) -> bool:
    if one == other or not one or not other:
        return True
    first, second = ip_address(one), ip_address(other)
    return first.version == second.version and (first.is_unspecified or second.is_unspecified)


def _order(config: SiteConfig, sections: Sections) -> None:
    section = sections.authentication
    option = attrs.fields(AuthenticationSettings).order
    names = [authenticator.name for authenticator in config.authenticators]
    order = config.authentication.order
    for name in dict.fromkeys(order):
        if name not in names:
            section.problem(option, f"there is no [authenticator {section.bare(option, name)}]", closest(name, names))
        elif order.count(name) > 1:
            section.problem(option, f"{name} is listed twice")
    if section.given(option):
        for name in names:
            if name not in order:
                section.problem(option, f"does not list [authenticator {name}]")


def _augmenters(config: SiteConfig, sections: Sections) -> None:
    option = attrs.fields(AugmenterSettings).realm
    realms = config.realms
    for augmenter, section in zip(config.augmenters, sections.augmenters, strict=True):
        if augmenter.realm and augmenter.realm not in realms:
            shown = section.bare(option, augmenter.realm)
            section.problem(option, f"no authenticator has the realm {shown}", closest(augmenter.realm, realms))


def _providers(config: SiteConfig, sections: Sections) -> None:
    """A provider has a name of its own, for the audit log, and a realm of its own.

    In the realm of an authenticator, a user of the provider would be the user of that name there (attack 33).
    """
    names = {authenticator.name for authenticator in config.authenticators}
    realms = {authenticator.realm: authenticator.name for authenticator in config.authenticators}
    option = attrs.fields(ProviderSettings).realm
    for provider, section in zip(config.providers, sections.providers, strict=True):
        if provider.name in names:
            section.problem("", f"expected another name: there is an [authenticator {provider.name}]")
        elif provider.realm in realms:
            name = realms[provider.realm]
            section.problem(
                option, f"expected a realm of its own: that of [authenticator {name}] has other users of the same names"
            )


def _route(config: SiteConfig, route: RouteSettings, section: Section) -> None:
    its = attrs.fields(RouteSettings)
    upstreams = [upstream.name for upstream in config.upstreams]
    if route.upstream and route.upstream not in upstreams:
        shown = section.bare(its.upstream, route.upstream)
        section.problem(its.upstream, f"there is no [upstream {shown}]", closest(route.upstream, upstreams))
    if route.upstream_host == OF_UPSTREAM and any(one.name == route.upstream and one.host is None for one in config.upstreams):
        section.problem(its.upstream_host, "the servers of the upstream have several hosts, or none: write the one that is meant")
    pages = config.login.path
    if _at_pages(pages, route.path) and not section.faulty(its.path):
        section.problem(its.path, f"{pages} and all paths below it belong to the gateway's own pages: see path in [login]")
    idle = config.login.idle
    if route.idle is not None and 0 < idle < route.idle:
        section.problem(its.idle, f"is longer than idle of [login], which ends the session after {idle:g} s")
    needs_users = route.auth is Auth.REQUIRED and config.perimeter.enabled and not section.faulty(its.auth)
    if needs_users and not (config.authenticators or config.providers):
        section.problem(its.auth, "no client could authenticate, because there is no [authenticator] section")
    realms = config.realms
    _realms_exist(section, its.allow, route.allow or (), realms)
    _realms_exist(section, its.deny, route.deny, realms)
    _realms_exist(section, its.read_only, route.read_only, realms)


def _realms_exist(section: Section, option: Named, rules: Sequence[Expression], realms: Sequence[str]) -> None:
    for rule in (term for one in rules for term in one.terms):
        # A misspelt realm in deny would admit the users that it is meant to refuse (attack 41).
        if rule.kind is RuleKind.REALM and realms and rule.value not in realms:
            near = closest(rule.value, realms)
            message = f"no authenticator has the realm {section.bare(option, rule.value)}"
            section.problem(option, message, f"realm:{near}" if near else "", part=str(rule))
        elif rule.kind in (RuleKind.USER, RuleKind.ROLE) and realms and not rule.realm:
            _names_no_realm(section, option, rule, realms)


def _names_no_realm(section: Section, option: Named, rule: Rule, realms: Sequence[str]) -> None:
    """Report a name with a slash after a realm that does not exist: it may be misspelt, or be a part of the name."""
    before, slash, name = rule.value.partition("/")
    if not before or not slash:
        return
    if before in realms:
        section.problem(option, f"expected a name after the realm {section.bare(option, before)}", part=str(rule))
        return
    near = closest(before, realms)
    message = f"no authenticator has the realm {section.bare(option, before)}"
    if near:
        section.problem(option, message, f"{rule.kind}:{near}/{name}", part=str(rule))
    else:
        shown = section.bare(option, f"{realms[0]}/{rule.value}")
        section.problem(
            option,
            f"{message}; a name that contains a slash is written after its realm, such as {rule.kind}:{shown}",
            part=str(rule),
        )


def _at_pages(pages: str, path: RoutePath) -> bool:
    """Whether ``path`` is that of the gateway's own ``pages``, or below it."""
    return covers(pages, path.place if path.kind is not PathKind.EXACT else path.text)


def _duplicates(route: RouteSettings, section: Section, seen: dict[_Requests, RouteSettings]) -> None:
    its = attrs.fields(RouteSettings)
    if any(section.faulty(one) for one in (its.path, its.hosts, its.methods, its.headers, its.query)):
        return
    for host in route.hosts or ("*",):
        requests = (host, route.path, frozenset(route.methods), frozenset(route.headers), frozenset(route.query))
        earlier = seen.setdefault(requests, route)
        if earlier is not route:
            alike = "the same path and conditions" if route.conditional else "the same path"
            section.problem(its.path, f"[route {earlier.name}] has {alike} on the same host")
            return


def warnings(config: SiteConfig) -> tuple[str, ...]:
    """What an operator should know about a valid configuration."""
    found = []
    if not config.perimeter.enabled:
        found.append("[perimeter] enabled = no: SECURITY IS OFF, every client may use every route")
    if config.perimeter.maintenance:
        found.append("[perimeter] maintenance = yes: every route answers 503")
    protected = any(route.auth is not Auth.NONE for route in config.routes) and config.perimeter.enabled
    for listener in config.listeners:
        where = f"[listener {listener.name}]"
        if listener.tls and not (listener.certificate or listener.keystore or listener.acme_names):
            found.append(f"{where} has no certificate: a self-signed one is made in state_dir, which clients cannot verify")
        if not listener.tls and listener.serve in (Serve.GATEWAY, Serve.TOKENS) and _reachable(listener):
            accepts = listener.serve is Serve.TOKENS or protected or config.authenticators
            found.append(
                f"{where} {'accepts credentials' if accepts else 'serves'} without TLS on an interface that other machines can "
                "reach: set tls = yes, or interface = 127.0.0.1"
            )
    if config.audit.path is None:
        unlogged = [route.name for route in config.routes if route.audit is None]
        if unlogged or not config.routes:
            found.append("[audit] has no path: there is no audit log" + (f" for {', '.join(unlogged)}" if unlogged else ""))
    if config.routes and not any(listener.serve is Serve.GATEWAY for listener in config.listeners):
        found.append("no listener has serve = gateway: no client can reach the routes")
    if config.authentication.ask is Ask.ALL_AT_ONCE and len(config.authenticators) > 1:
        found.append("[authentication] ask = all_at_once: every authenticator sees every password and token that it can check")
    if not any(listener.client_ca for listener in config.listeners):
        found += [
            f"[authenticator {one.name}] cannot know any user: no listener has a client_ca"
            for one in config.authenticators
            if one.kind == "certificate"
        ]
    found += [
        f"[route {route.name}] authorization = pass: the service gets the password or token of every user"
        for route in config.routes
        if route.sends_authorization.passes and route.auth is not Auth.NONE and config.perimeter.enabled
    ]
    found += [
        f"[route {route.name}] authorization and auth = none: every client uses the service with the gateway's credentials"
        for route in config.routes
        if route.sends_authorization.value and route.auth is Auth.NONE
    ]
    found += _any_realm(config)
    found += _odd_methods(config)
    found += _certificates(config)
    found += [
        f"[route {route.name}] cors: the pages cannot send credentials, which the route requires: list Authorization in "
        "cors_headers, or set cors_credentials = yes"
        for route in config.routes
        if route.shared and route.auth is Auth.REQUIRED and config.perimeter.enabled and not route.sends_credentials
    ]
    found += _metrics(config)
    found += _sign_in(config)
    found += provider_pages.warnings(config)
    found += acme_listeners.warnings(config)
    found += factor_checks.warnings(config)
    found += [
        f"[upstream {upstream.name}] {server.url if server.path else server.authority} is [listener {listener.name}] of this "
        "gateway: requests would go round until they are refused with 508"
        for upstream in config.upstreams
        for server in upstream.servers
        for listener in config.listeners
        if listener.serve is Serve.GATEWAY and _is_served_at(listener, server)
    ]
    used = {route.upstream for route in config.routes}
    found += [
        f"[upstream {upstream.name}] is not used by any route" for upstream in config.upstreams if upstream.name not in used
    ]
    return tuple(found)


def _any_realm(config: SiteConfig) -> list[str]:
    """Rules of ``allow`` that hold for the same name in several realms, which may be different people (attack 49)."""
    realms = sorted({one.realm for one in config.authenticators})
    if len(realms) < 2 or not config.perimeter.enabled:
        return []
    found = []
    for route in config.routes:
        rules = [rule for one in route.allow or () for rule in _of_any_realm(one)]
        if rules:
            found.append(
                f"[route {route.name}] allow: {', '.join(map(str, rules))} holds in every realm ({', '.join(realms)}): "
                f"write {rules[0].kind}:{realms[0]}/{rules[0].value} for one realm"
            )
    return found


def _of_any_realm(expression: Expression) -> list[Rule]:
    """The users and roles by which ``expression`` matches in several realms. With a term for the realm beside them it does not;
    under a ``not`` a name without a realm is the safe form."""
    match expression:
        case Rule():
            return [expression] if expression.kind in (RuleKind.USER, RuleKind.ROLE) and not expression.realm else []
        case AnyOf():
            return [rule for one in expression.parts for rule in _of_any_realm(one)]
        case AllOf():
            bound = any(_of_one_realm(one) for one in expression.parts)
            return [] if bound else [rule for one in expression.parts for rule in _of_any_realm(one)]
        case Not():
            return []


def _of_one_realm(expression: Expression) -> bool:
    """Whether all that ``expression`` matches is of a realm that it names."""
    match expression:
        case Rule():
            return expression.kind is RuleKind.REALM or bool(expression.realm)
        case AnyOf():
            return all(map(_of_one_realm, expression.parts))
        case AllOf():
            return any(map(_of_one_realm, expression.parts))
        case Not():
            return False


def _certificates(config: SiteConfig) -> list[str]:
    """Rules about client certificates that no listener asks for."""
    if any(listener.client_ca for listener in config.listeners):
        return []
    return [
        f"[route {route.name}] has a rule with certificate:, but no listener has a client_ca: in allow it never matches, and in "
        "deny it refuses every client"
        for route in config.routes
        if route.compares(RuleKind.CERTIFICATE)
    ]


def _odd_methods(config: SiteConfig) -> list[str]:
    """Rules and routes with a method that is not registered: with a misspelt method they have no effect."""
    found = []
    for route in config.routes:
        named = [("methods", method) for method in route.methods]
        for option, rules in (("allow", route.allow or ()), ("deny", route.deny), ("read_only", route.read_only)):
            named += [(option, term.value) for one in rules for term in one.terms if term.kind is RuleKind.METHOD]
        for option, method in named:
            if method not in REGISTERED_METHODS:
                near = closest(method, [one.lower() for one in REGISTERED_METHODS]).upper()
                hint = f", did you mean {near}?" if near else ""
                found.append(f"[route {route.name}] {option}: {method} is not a registered method of HTTP{hint}")
    return found


def _is_served_at(listener: ListenerSettings, server: ServerSettings) -> bool:
    """Whether a connection to ``server`` reaches ``listener``, as far as the configuration shows: names are not looked up."""
    if server.path or listener.socket_path:
        return server.path == listener.socket_path
    if server.port != listener.port or not server.port:
        return False
    try:
        address = ip_address("127.0.0.1" if server.host == "localhost" else server.host)
    except ValueError:
        return False
    if not listener.interface or ip_address(listener.interface).is_unspecified:
        return address.is_loopback or address.is_unspecified
    return address == ip_address(listener.interface)


def _sign_in(config: SiteConfig) -> list[str]:
    """Warnings about listeners and options with which users cannot sign in, or lose their sessions."""
    if not config.signs_people_in:
        return ["[login] has no effect: no route has browser_login = yes"] if config.login != LoginSettings() else []
    found = [
        f"[listener {listener.name}] has no TLS: a browser that asks for a page there gets a page with a link to https"
        for listener in config.listeners
        if listener.serve is Serve.GATEWAY and not listener.tls and not config.perimeter.trusted_proxies
    ]
    if config.perimeter.state is StateKind.MEMORY:
        found.append("[perimeter] state = memory: all users are signed out when the gateway stops")
    return found + login_hosts.warnings(config)


def _metrics(config: SiteConfig) -> list[str]:
    listeners = [listener for listener in config.listeners if listener.serve is Serve.METRICS]
    if not listeners and config.metrics != MetricsSettings():
        return ["[metrics] has no effect: no listener has serve = metrics"]
    return [
        f"[listener {listener.name}] shows metrics to every client that can connect: set networks in [metrics] to restrict it"
        for listener in listeners
        if _reachable(listener) and not config.metrics.networks and listener.client_certificate is not ClientCertificate.REQUIRED
    ]


def _reachable(listener: ListenerSettings) -> bool:
    """Whether other machines can connect."""
    return not listener.socket_path and (not listener.interface or not ip_address(listener.interface).is_loopback)

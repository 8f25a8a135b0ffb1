"""What the sections of a site.ini say of each other: names that must exist, pairs that must not occur, and warnings.

Each section by itself was judged in `perimeter.config.site.build`.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import attrs

from perimeter.config.language.datatypes import closest
from perimeter.config.language.section import Section
from perimeter.config.site.route_matching import covers, prefix_of
from perimeter.config.site.values import ListenerSettings, MetricsSettings, RouteSettings, SiteConfig


@attrs.frozen
class Sections:
    """The sections that a `SiteConfig` was built from, in the order of its tuples, to report problems on."""

    listeners: Sequence[Section]
    routes: Sequence[Section]
    authentication: Section
    errors: Section
    augmenters: Sequence[Section] = ()


def check(config: SiteConfig, sections: Sections) -> None:
    """Report every contradiction between sections."""
    _listeners(config, sections)
    _order(config, sections)
    _augmenters(config, sections)
    seen: dict[tuple[str, str], RouteSettings] = {}
    for route, section in zip(config.routes, sections.routes, strict=True):
        _route(config, route, section)
        _duplicates(route, section, seen)
    for page in config.error_pages:
        if not any(covers(prefix_of(route.path), page.path) for route in config.routes):
            sections.errors.problem("page", f"no route leads to {sections.errors.quote('page', page.path)}")


def _listeners(config: SiteConfig, sections: Sections) -> None:
    for index, listener in enumerate(config.listeners):
        section = sections.listeners[index]
        for earlier in config.listeners[:index]:
            if listener.port == earlier.port != 0 and _overlap(listener.interface, earlier.interface):
                section.problem("port", f"[listener {earlier.name}] has the same port on the same interface")
        if listener.serve == "tokens" and not config.authenticators:
            section.problem("serve", "tokens can be issued to nobody, because there is no [authenticator] section")


def _overlap(one: str, other: str) -> bool:
    if one == other or not one or not other:
        return True
    first, second = ip_address(one), ip_address(other)
    return first.version == second.version and (first.is_unspecified or second.is_unspecified)


def _order(config: SiteConfig, sections: Sections) -> None:
    section = sections.authentication
    names = [authenticator.name for authenticator in config.authenticators]
    order = config.authentication.order
    for name in dict.fromkeys(order):
        if name not in names:
            section.problem("order", f"there is no [authenticator {_bare(section, 'order', name)}]", closest(name, names))
        elif order.count(name) > 1:
            section.problem("order", f"{name} is named twice")
    if section.given("order"):
        for name in names:
            if name not in order:
                section.problem("order", f"leaves out [authenticator {name}]")


def _augmenters(config: SiteConfig, sections: Sections) -> None:
    realms = [authenticator.realm for authenticator in config.authenticators]
    for augmenter, section in zip(config.augmenters, sections.augmenters, strict=True):
        if augmenter.realm and augmenter.realm not in realms:
            shown = _bare(section, "realm", augmenter.realm)
            section.problem("realm", f"no authenticator has the realm {shown}", closest(augmenter.realm, realms))


def _route(config: SiteConfig, route: RouteSettings, section: Section) -> None:
    upstreams = [upstream.name for upstream in config.upstreams]
    if route.upstream and route.upstream not in upstreams:
        shown = _bare(section, "upstream", route.upstream)
        section.problem("upstream", f"there is no [upstream {shown}]", closest(route.upstream, upstreams))
    if route.auth == "required" and config.perimeter.enabled and not config.authenticators and not section.faulty("auth"):
        section.problem("auth", "required cannot be met, because there is no [authenticator] section")
    realms = [authenticator.realm for authenticator in config.authenticators]
    for option, rules in (("allow", route.allow or ()), ("deny", route.deny)):
        for rule in rules:
            # A misspelt realm in deny would let in whom it is to keep out (attack 41).
            if rule.kind == "realm" and realms and rule.value not in realms:
                shown = _bare(section, option, rule.value)
                near = closest(rule.value, realms)
                section.problem(option, f"no authenticator has the realm {shown}", f"realm:{near}" if near else "")


def _duplicates(route: RouteSettings, section: Section, seen: dict[tuple[str, str], RouteSettings]) -> None:
    if section.faulty("path") or section.faulty("host") or not route.path:
        return
    for host in route.hosts or ("*",):
        earlier = seen.setdefault((host, route.path), route)
        if earlier is not route:
            section.problem("path", f"[route {earlier.name}] has the same path on the same host")
            return
    if len(set(route.hosts)) != len(route.hosts):
        section.problem("host", "the same host is named twice")


def _bare(section: Section, option: str, value: str) -> str:
    """``value`` for the inside of a message: without the quotes that would look odd in the name of a section."""
    quoted = section.quote(option, value)
    return value if quoted == repr(value) else quoted


def warnings(config: SiteConfig) -> tuple[str, ...]:
    """What an operator should know of a configuration that is valid."""
    found = []
    if not config.perimeter.enabled:
        found.append("[perimeter] enabled = no: SECURITY IS OFF, every route is open to everybody")
    if config.perimeter.maintenance:
        found.append("[perimeter] maintenance = yes: every route answers 503")
    protected = [route.name for route in config.routes if config.perimeter.enabled and route.auth != "none"]
    for listener in config.listeners:
        where = f"[listener {listener.name}]"
        if listener.tls and listener.certificate is None and listener.keystore is None:
            found.append(f"{where} has no certificate: one is made in state_dir, self-signed, which clients cannot verify")
        if _exposes(listener, protected):
            found.append(f"{where} takes credentials in plain text on an interface that others can reach")
    if config.audit.path is None:
        unlogged = [route.name for route in config.routes if route.audit is None]
        if unlogged or not config.routes:
            found.append("[audit] has no path: there is no audit log" + (f" for {', '.join(unlogged)}" if unlogged else ""))
    if config.routes and not any(listener.serve == "gateway" for listener in config.listeners):
        found.append("no listener has serve = gateway: the routes are out of reach")
    if config.authentication.ask == "all_at_once" and len(config.authenticators) > 1:
        found.append(
            "[authentication] ask = all_at_once: every password and token is shown to every authenticator that takes such"
        )
    if not any(listener.client_ca for listener in config.listeners):
        found += [
            f"[authenticator {one.name}] knows nobody: no listener has a client_ca"
            for one in config.authenticators
            if one.kind == "certificate"
        ]
    found += _metrics(config)
    used = {route.upstream for route in config.routes}
    found += [
        f"[upstream {upstream.name}] is not used by any route" for upstream in config.upstreams if upstream.name not in used
    ]
    return tuple(found)


def _metrics(config: SiteConfig) -> list[str]:
    listeners = [listener for listener in config.listeners if listener.serve == "metrics"]
    if not listeners and config.metrics != MetricsSettings():
        return ["[metrics] is of no use: no listener has serve = metrics"]
    return [
        f"[listener {listener.name}] tells its figures to whoever can reach it: networks in [metrics] says who may ask"
        for listener in listeners
        if _reachable(listener) and not config.metrics.networks and listener.client_certificate != "required"
    ]


def _reachable(listener: ListenerSettings) -> bool:
    """Whether others than this machine can connect."""
    return not listener.interface or not ip_address(listener.interface).is_loopback


def _exposes(listener: ListenerSettings, protected: Sequence[str]) -> bool:
    if listener.tls or listener.serve in ("redirect", "metrics"):
        return False
    return _reachable(listener) and (listener.serve == "tokens" or bool(protected))

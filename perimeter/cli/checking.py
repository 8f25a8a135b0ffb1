"""Checks a site.ini without opening ports or writing files, for ``perimeter check`` and ``twistd perimeter --check``.

The files that it names are read as a start reads them (`perimeter.run.build.inspection`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from perimeter.cli.table import columns
from perimeter.cluster.configuration import configuration_hash
from perimeter.config.language.net_types import PeerNetwork
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.expression import Expression
from perimeter.config.site.listener import ListenerSettings, UnknownName
from perimeter.config.site.route import RouteSettings
from perimeter.config.site.route_requests import in_order
from perimeter.errors import ConfigError, Problem, StartupError
from perimeter.plugin.kinds import PluginKinds
from perimeter.run.build.inspection import inspected

if TYPE_CHECKING:  # imported for a configuration that orders certificates
    from perimeter.acme.orders import Order

_LISTENER_COLUMNS = ("LISTENER", "PLACE", "CLIENTS", "CERTIFICATES")
_COLUMNS = ("HOST", "PATH", "TARGET", "AUTH", "RULES", "IDENTITY")


@attrs.frozen
class Checked:
    """The result: ``problems``, or ``warnings`` and a row for each host of each route, in the order in which they are matched.

    ``orders`` are the certificates that the gateway gets by itself. ``listeners`` has a row for each listener. The text has them
    only if there is one whose place, clients or certificates are not those that listeners have without options. ``state`` is
    where the state is that several machines share, "" if it is of this machine alone; ``configuration`` is the hash that
    ``perimeter status`` shows.
    """

    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()
    routes: tuple[tuple[str, ...], ...] = ()
    orders: tuple[Order, ...] = ()
    listeners: tuple[tuple[str, ...], ...] = ()
    unusual: bool = False
    state: str = ""
    configuration: str = ""

    @property
    def text(self) -> str:
        """All of it in lines."""
        if self.problems:
            return "\n".join(map(str, self.problems))
        warnings = [f"warning: {warning}" for warning in self.warnings]
        table = columns([_COLUMNS, *self.routes]) if self.routes else ["There are no routes."]
        listeners = [*columns([_LISTENER_COLUMNS, *self.listeners]), ""] if self.unusual else []
        ordered = ["", *(one.text for one in self.orders)] if self.orders else []
        shared = ["", f"state: {self.state}; configuration {self.configuration}"] if self.state else []
        return "\n".join([*warnings, *([""] if warnings else []), *listeners, *table, *ordered, *shared])

    @property
    def members(self) -> dict[str, Any]:
        """All of it as members of a JSON object."""
        return {
            "problems": [attrs.asdict(one) for one in self.problems],
            "warnings": list(self.warnings),
            "listeners": [dict(zip(map(str.lower, _LISTENER_COLUMNS), row, strict=True)) for row in self.listeners],
            "routes": [dict(zip(map(str.lower, _COLUMNS), row, strict=True)) for row in self.routes],
            "orders": [one.members for one in self.orders],
            "state": self.state,
            "configuration": self.configuration,
        }


class _Reactor:
    """The reactor, imported when an authenticator uses something of it. Most only keep it when they are built."""

    def __getattr__(self, name: str) -> Any:
        from twisted.internet import reactor

        return getattr(reactor, name)


def checked(path: Path, *, kinds: PluginKinds | None = None, files: bool = True) -> Checked:
    """Check the configuration in the file ``path``.

    ``kinds`` replaces the kinds that are installed. Without ``files``, the files that the configuration names need not exist.
    """
    # Finding plug-ins imports them, which costs time: only commands that read a configuration do it.
    from perimeter.auth.registry import installed_kinds

    try:
        found = inspected(path, installed_kinds() if kinds is None else kinds, _Reactor() if files else None)
    except ConfigError as error:
        return Checked(error.problems)
    except StartupError as error:
        return Checked((Problem(str(path), 0, "", "", str(error)),))
    config = found.config
    return Checked(
        (),
        found.warnings,
        tuple(_row(route, host, config) for host, route in in_order(config.routes)),
        _orders(config),
        tuple(map(_listener_row, config.listeners)),
        any(one.socket_path or one.proxy_protocol or _choosing(one) for one in config.listeners),
        _state(config),
        configuration_hash(config.sections),
    )


def _state(config: SiteConfig) -> str:
    settings = config.perimeter
    return f"Redis at {settings.redis_url.in_words}; this is node {settings.node_name}" if settings.redis_url else ""


def _orders(config: SiteConfig) -> tuple[Order, ...]:
    if not config.orders_certificates:
        return ()
    from perimeter.acme.orders import orders

    return tuple(orders(config))


def run_check(path: Path, *, kinds: PluginKinds | None = None, files: bool = True) -> tuple[int, str]:
    """`checked` as an exit status (1 if there is a problem) and a text."""
    found = checked(path, kinds=kinds, files=files)
    return int(bool(found.problems)), found.text


def _listener_row(listener: ListenerSettings) -> tuple[str, ...]:
    place = f"{listener.interface}, mode {listener.mode:04o}" if listener.socket_path else str(listener.address)
    clients = f"PROXY protocol from {_terms(listener.proxy_protocol)}" if listener.proxy_protocol else "all"
    if listener.client_ca is not None:
        clients += f"; certificate {listener.client_certificate}"
    return (listener.name, place, clients, _certificates(listener))


def _certificates(listener: ListenerSettings) -> str:
    if not listener.tls:
        return "no TLS"
    files = [path.name for path in (*listener.certificate, *([listener.keystore] if listener.keystore else []))]
    refuses = "; other names refused" if listener.unknown_name is UnknownName.REFUSE else ""
    made = f"ordered for {', '.join(listener.acme_names)}" if listener.acme_names else "self-signed"
    return (", ".join(files) or made) + refuses


def _choosing(listener: ListenerSettings) -> bool:
    """Whether the name that a client asks for matters."""
    return len(listener.certificate) > 1 or listener.unknown_name is UnknownName.REFUSE


def _row(route: RouteSettings, host: str, config: SiteConfig) -> tuple[str, ...]:
    auth = config.auth_in_words(route)
    return (host, route.requests, _target(route, config), auth, _rules(route), route.identity_in_words)


def _target(route: RouteSettings, config: SiteConfig) -> str:
    if route.upstream is None:
        return route.answer or str(route.static)
    upstream = next(one for one in config.upstreams if one.name == route.upstream)
    places = ", ".join(server.url for server in upstream.servers)
    text = f"{route.upstream} ({'; '.join((places, *upstream.dialling_in_words))})" + (
        f" as {route.rewrite}" if route.rewrite else ""
    )
    return text + (f"; {', '.join(route.compression)}" if route.compression else "")


def _rules(route: RouteSettings) -> str:
    parts = [
        ("allow", _terms(route.allow or ())),
        ("deny", _terms(route.deny)),
        ("read-only", _terms(route.read_only)),
        ("from", _terms(route.networks)),
        ("maintenance, open to", route.maintenance_in_words),
        ("cors", ", ".join(route.cors)),
        ("within", ", ".join(route.limits_in_words)),
    ]
    return "; ".join(f"{word} {terms}" for word, terms in parts if terms) or "-"


def _terms(values: Sequence[Expression] | Sequence[PeerNetwork]) -> str:
    return ", ".join(str(value) for value in values)

"""Whether clients can bypass the gateway and reach services directly.

On this machine the sockets show whether a service listens on an address that other machines can reach. The sockets of another
machine are not visible: there, one GET request without credentials shows whether the service answers all clients.
"""

from __future__ import annotations

import http.client
import pwd
import socket
import ssl
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final
from urllib.parse import quote

import attrs

from perimeter.config.site.config import SiteConfig
from perimeter.config.site.route import Auth
from perimeter.config.site.server import ServerScheme, ServerSettings
from perimeter.config.site.upstream import UpstreamSettings
from perimeter.doctor.finding import Finding, Grade, Name
from perimeter.doctor.sockets import Address, Listening, is_own, listening, own_addresses, reachable

SECONDS: Final = 3.0
"""Time for a request."""

_REFUSED = (401, 403, 407)
#: what a path may contain unescaped (RFC 3986, section 3.3)
_IN_PATHS = "/%:@!$&'()*+,;="


@attrs.frozen
class Service:
    """A server of an upstream that only users may reach, and a path on it that a route leads to.

    ``gateway`` has the addresses and ports of the gateway's own listeners, which are not reported. ``addresses`` are
    those of the server if the gateway looks up its name by itself, else ().
    """

    upstream: UpstreamSettings
    server: ServerSettings
    path: str
    gateway: frozenset[tuple[str, int]] = frozenset()
    addresses: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The section."""
        return f"[upstream {self.upstream.name}]"


def protected_services(config: SiteConfig, addresses: Mapping[str, tuple[str, ...]] = MappingProxyType({})) -> list[Service]:
    """The servers of upstreams for which a route asks for authentication or restricts networks. Other servers are public anyway.

    ``addresses`` has the addresses of names that the gateway looks up itself.
    """
    found = []
    gateway = frozenset((listener.interface, listener.port) for listener in config.listeners)
    for upstream in config.upstreams:
        routes = [route for route in config.routes if route.upstream == upstream.name]
        protected = [route for route in routes if route.auth is Auth.REQUIRED or route.networks or route.deny]
        if not protected:
            continue
        first = protected[0]
        fixed = first.rewrite if first.rewrite and "$" not in first.rewrite else ""
        path = fixed or first.path.place or "/"
        servers = [one for one in upstream.servers if one.host]
        found += [Service(upstream, one, path, gateway, addresses.get(one.host, ())) for one in servers]
    return found


def see(service: Service) -> list[Finding]:
    """The findings for one server. Blocks: looks up its name, and sends it one request."""
    try:
        addresses = _addresses(service)
    except OSError:
        return []  # another look reports it
    own = own_addresses()
    if not any(is_own(address, own) for address in addresses):
        return _remote(service)
    open_ones = [one for one in _sockets_of(service, addresses) if reachable(one, own)]
    return _local(service, open_ones) if open_ones else []


def _addresses(service: Service) -> list[Address]:
    """The addresses of the server. Raises OSError."""
    if service.addresses:
        return [ip_address(one) for one in service.addresses]
    looked_up = socket.getaddrinfo(service.server.host, service.server.port, type=socket.SOCK_STREAM)
    return [ip_address(str(one[4][0]).partition("%")[0]) for one in looked_up]


def _sockets_of(service: Service, addresses: Iterable[Address]) -> list[Listening]:
    """The sockets of a service: those that take a connection to it, and others with its port of the same system user."""
    sockets = [
        one for one in listening() if one.port == service.server.port and (str(one.address), one.port) not in service.gateway
    ]
    users = {one.uid for one in sockets if any(one.takes(address) for address in addresses)}
    return [one for one in sockets if one.uid in users]


def _local(service: Service, sockets: Iterable[Listening]) -> list[Finding]:
    places = ", ".join(dict.fromkeys(f"{one.text} (user {_user(one.uid)})" for one in sockets))
    port = service.server.port
    status = answer_without_credentials(service)
    message = f"the service of {service.server.url} listens on {places}, which other machines can reach without the gateway"
    remedy = f"let the service listen on 127.0.0.1; until then, close port {port} to other machines in the firewall"
    if status in _REFUSED:
        message += f"; it asks for credentials of its own (status {status})"
        return [Finding(Name.SERVICE_LISTENS, Grade.SOON, service.place, message, remedy)]
    if status:
        message += f"; it answers requests without credentials (status {status})"
    return [Finding(Name.SERVICE_OPEN, Grade.OPEN, service.place, message, remedy)]


def _remote(service: Service) -> list[Finding]:
    status = answer_without_credentials(service)
    if not status or status in _REFUSED or status >= 500:
        return []
    message = (
        f"{service.server.url} answers requests without credentials (status {status}): every machine that can connect to it can "
        "use the service without the gateway"
    )
    remedy = (
        f"let the firewall of {service.server.host} accept port {service.server.port} from this machine only, or let the service "
        "verify a credential of the gateway: identity = jwt in the route, or authorization with a secret"
    )
    return [Finding(Name.SERVICE_ANSWERS_ALL, Grade.SOON, service.place, message, remedy)]


def answer_without_credentials(service: Service) -> int:
    """The status of a GET request without credentials and identity; 0 if there was no answer. Blocks."""
    server = service.server
    host = service.addresses[0] if service.addresses else server.host
    connection: http.client.HTTPConnection
    if server.scheme is ServerScheme.HTTPS:
        # The certificate is not verified: the request contains no secret.
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, server.port, timeout=SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(host, server.port, timeout=SECONDS)
    # the deadline of the whole exchange, even if the service answers slowly
    end = threading.Timer(SECONDS, _cut, (connection,))
    end.start()
    try:
        headers = {"Host": server.authority, "Connection": "close", "User-Agent": "perimeter-doctor"}
        connection.request("GET", quote(service.path, safe=_IN_PATHS), headers=headers)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError):
        return 0
    finally:
        end.cancel()
        connection.close()


def _cut(connection: http.client.HTTPConnection) -> None:
    """Close a connection that another thread waits for."""
    if connection.sock is not None:
        with suppress(OSError):
            connection.sock.shutdown(socket.SHUT_RDWR)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)

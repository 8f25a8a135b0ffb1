"""Datatypes of networks, addresses and HTTP: networks, interfaces, host names, URLs, paths of URLs, header names, realms."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network, summarize_address_range
from pathlib import Path
from typing import ClassVar, Final

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype, closest
from perimeter.model import UNIX_PEER

Network = IPv4Network | IPv6Network

LONGEST_SOCKET: Final = 107
"""Bytes of the path of a unix socket: ``sun_path`` has 108, and ends in NUL (unix(7))."""

UNIX: Final = "unix:"
"""Before the path of a unix socket."""


@attrs.frozen
class UnixPeers:
    """All clients of unix sockets, as an item of a list of networks. No IP address is among them."""

    version: ClassVar[int] = 0

    def __contains__(self, address: object) -> bool:
        return False

    def __str__(self) -> str:
        return UNIX_PEER


UNIX_PEERS: Final = UnixPeers()

PeerNetwork = Network | UnixPeers


def in_networks(address: str, networks: Sequence[PeerNetwork]) -> bool:
    """Whether a canonical address lies in one of ``networks``. `UNIX_PEER` is only in `UNIX_PEERS`."""
    if address == UNIX_PEER:
        return UNIX_PEERS in networks
    parsed = ip_address(address)
    return any(parsed.version == network.version and parsed in network for network in networks)


_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_AUTHORITY = r"(\[[^\]/@]*\]|[^:/@\[\]?#]*)(?::([0-9]{1,5}))?"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,=:@/-]*")
# wildcards, groups, alternatives, anchors and quantifiers of patterns; parameters of other programs' paths; lists; quotes
_PATTERN = re.compile(r"[*?\[\]{}|^\\;\"<>\s]|\$(?=[/0-9]|$)|\([^()]*\)|,(?=\s*/|\s|$)|^'|'$|\.\+|(?<=/):(?=[A-Za-z])")
_FURTHER_SEGMENT = re.compile(r"/(?!\])")
_ANYTHING = re.compile(r"\.?\*+\$?")
_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:-[A-Za-z0-9]+)*")
_URL_PATH = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?")

# An identity header under one of these names would change the framing, the target or the meaning of the request.
_TAKEN_HEADERS = frozenset(
    (
        *("authorization", "connection", "content-length", "content-type", "cookie", "expect", "forwarded", "host", "keep-alive"),
        *("proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "via"),
        *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"),
    )
)


def _network(text: str, base: Path) -> Network:
    try:
        found = ip_network(text, strict=False)
    except ValueError:
        raise BadValue("expected a network such as 10.0.0.0/8 or fd00::/8", _meant_network(text)) from None
    if not int(found.network_address) and "/" not in text:
        raise BadValue("expected a network such as 10.0.0.0/8 or fd00::/8", f"{text}/0")
    if isinstance(found, IPv6Network) and found.network_address.ipv4_mapped is not None and found.prefixlen >= 96:
        # Clients' addresses are compared in their IPv4 form, so this network would never match (attack 10).
        mapped = IPv4Network((int(found.network_address.ipv4_mapped), found.prefixlen - 96))
        raise BadValue("expected the IPv4 form of an IPv4 network", str(mapped))
    if "/" in text and found.network_address != ip_address(text.partition("/")[0]):
        raise BadValue("expected a network without bits beyond its prefix", str(found))
    return found


def _peer_network(text: str, base: Path) -> PeerNetwork:
    if text == UNIX_PEER:
        return UNIX_PEERS
    if text == "unix" or text.startswith(UNIX):
        raise BadValue("expected a network, or unix: for all clients of unix sockets", UNIX_PEER)
    return _network(text, base)


def _meant_network(text: str) -> str:
    """The networks that a range, a wildcard or a word stands for, as far as there are few; "" otherwise."""
    low, dash, high = (part.strip() for part in text.partition("-"))
    octets = [octet for octet in text.split(".") if octet not in ("*", "")]
    try:
        if dash:
            high = high if "." in high or ":" in high else f"{low.rpartition('.')[0]}.{high}"
            first, last = ip_address(low), ip_address(high)
            assert type(first) is type(last)
            found = list(summarize_address_range(first, last))
            return ", ".join(map(str, found)) if len(found) <= 4 else ""
        if "*" in text and 1 <= len(octets) <= 3:
            return str(IPv4Network(f"{'.'.join(octets + ['0'] * (4 - len(octets)))}/{8 * len(octets)}"))
    except (ValueError, TypeError, AssertionError):
        return ""
    return {"localhost": "127.0.0.0/8, ::1", "all": "0.0.0.0/0, ::/0", "any": "0.0.0.0/0, ::/0", "*": "0.0.0.0/0, ::/0"}.get(
        text.lower(), ""
    )


def socket_path(path: str) -> str:
    """``path`` as that of a unix socket; raises `BadValue`."""
    if not path.startswith("/") or path.endswith("/") or not path.isprintable():
        raise BadValue("expected unix: and the absolute path of a socket")
    normal = os.path.normpath(path)
    if normal != path:
        raise BadValue("expected unix: and a path in normal form", f"{UNIX}{normal}")
    if len(os.fsencode(path)) > LONGEST_SOCKET:
        raise BadValue(f"expected a path of at most {LONGEST_SOCKET} bytes: no unix socket has a longer one")
    return path


def _interface(text: str, base: Path) -> str:
    if text.startswith(UNIX):
        return UNIX + socket_path(text.removeprefix(UNIX))
    try:
        return str(ip_address(text))
    except ValueError:
        bare = text.strip("[]")
        try:
            hint = str(ip_address(bare))
        except ValueError:
            hint = "127.0.0.1" if closest(text, ("localhost", "loopback")) else f"{UNIX}{text}" if text.startswith("/") else ""
        raise BadValue("expected the IP address of an interface, unix:/path, or nothing for all interfaces", hint) from None


def checked_host(text: str) -> str:
    """``text`` as a host name in lower case or an IP address (IPv6 in brackets); raises `BadValue`."""
    if text.startswith("[") and text.endswith("]"):
        try:
            return f"[{ip_address(text[1:-1])}]"
        except ValueError:
            raise BadValue("expected an IPv6 address between the brackets") from None
    name = text.lower().rstrip(".")
    if _HOST.fullmatch(name) and not (name.rpartition(".")[2].isdigit() and not _is_ip(name)):
        return name
    hint = ""
    if "*" in text:
        raise BadValue(
            "expected the name of one host: other wildcards are not known here (in the host of a route, * stands for any name, "
            "*.example.com for one label before example.com, and **.example.com for all below it)"
        )
    if _is_ip(text):
        hint = f"[{text}]"
    elif re.fullmatch(r"[^:]+:[0-9]+", text):
        hint = text.partition(":")[0]
    elif not text.isascii():
        try:
            hint = text.encode("idna").decode("ascii")
        except UnicodeError:
            hint = ""
    raise BadValue("expected a host name or address, without a port", hint)


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _host(text: str, base: Path) -> str:
    return checked_host(text)


def split_url(text: str, *schemes: str) -> tuple[str, str, int, str] | None:
    """``SCHEME://HOST:PORT…`` as scheme, host, port (0 if there is none) and the rest; None for another text.

    The host is not checked; an IPv6 address keeps its brackets. Raises `BadValue` for a port that does not exist.
    """
    match = re.fullmatch(rf"({'|'.join(schemes)})://{_AUTHORITY}(.*)", text, re.IGNORECASE | re.DOTALL)
    if match is None:
        return None
    if match[3] and not 1 <= int(match[3]) <= 65535:
        raise BadValue("expected a port from 1 to 65535")
    return match[1].lower(), match[2], int(match[3] or 0), match[4]


def _url(text: str, base: Path) -> str:
    parts = split_url(text, "https?")
    if parts is None or not parts[1] or not _URL_PATH.fullmatch(parts[3]):
        raise BadValue("expected a URL such as https://gw.example.com:9443/token")
    checked_host(parts[1])
    return text


def _before_pattern(text: str) -> str | None:
    """The path that covers what is meant as a pattern or as a list, and little else: "" if there is none.

    None if nothing is meant so. A wider path would be bad advice: with ``auth = none``, ``/`` for ``/public*`` opens everything.
    """
    bare = re.sub(r"^(?:\^|[~=]\*?\s*\^?|\^~\s*)", "", text)
    found = _PATTERN.search(bare)
    if found is None:
        return None if bare == text else bare.rstrip("/") or "/"
    before, pattern = bare[: found.start()], bare[found.start() :]
    if pattern == "$":
        return before.rstrip("/") or "/"
    parent, _, begun = before.rpartition("/")
    if not before.startswith("/") or begun not in ("", ".") or _FURTHER_SEGMENT.search(pattern):
        return ""
    return parent or ("/" if _ANYTHING.fullmatch(begun + pattern) else "")


def _path(text: str, base: Path) -> str:
    prefix = _before_pattern(text)
    if prefix is not None:
        raise BadValue(
            "expected one plain path, which includes all paths below it: patterns, wildcards and lists are not known", prefix
        )
    if not text.startswith("/"):
        raise BadValue("expected a path that begins with /", f"/{text}" if _PLAIN_PATH.fullmatch(text) else "")
    if not _PLAIN_PATH.fullmatch(text):
        raise BadValue("expected a plain path: letters, digits and ._~!$&'()+,=:@- between slashes, nothing %-encoded")
    normal = "/" + "/".join(part for part in text.split("/") if part not in ("", "."))
    if ".." in text.split("/"):
        raise BadValue("expected a path without .. segments")
    if normal != text:
        raise BadValue("expected a path in normal form, without empty or . segments or a slash at its end", normal)
    return text


def _header_name(text: str, base: Path) -> str:
    if not _HEADER_NAME.fullmatch(text):
        raise BadValue("expected a header name of letters, digits and single hyphens")
    if text.lower() in _TAKEN_HEADERS:
        raise BadValue("expected a header name that has no other meaning in HTTP")
    return text


def _realm(text: str, base: Path) -> str:
    # It stands in a quoted string of WWW-Authenticate (RFC 9110, section 11.5) and in a header of its own.
    if not text.isascii() or any(character in '"\\' or not character.isprintable() for character in text):
        raise BadValue("expected a realm of ASCII characters, without quotes, backslashes or control characters")
    return text


NETWORK: Datatype[Network] = Datatype("network", _network, IPv4Network("255.255.255.255/32"))
PEER_NETWORK: Datatype[PeerNetwork] = Datatype("network", _peer_network, UNIX_PEERS)
INTERFACE: Datatype[str] = Datatype("IP address \\| unix:PATH", _interface, "")
SERVER_NAME: Datatype[str] = Datatype("host name", _host, "")
URL: Datatype[str] = Datatype("URL", _url, "")
URL_PATH: Datatype[str] = Datatype("URL path", _path, "")
HEADER_NAME: Datatype[str] = Datatype("header name", _header_name, "")
REALM: Datatype[str] = Datatype("text", _realm, "")

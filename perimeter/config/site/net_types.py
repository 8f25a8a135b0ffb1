"""Datatypes that know HTTP and addresses: networks, hosts, servers, URLs, route paths, header names, rules, error pages."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path, PurePosixPath

from perimeter.config.language.datatypes import BadValue, Datatype, closest
from perimeter.config.site.values import ErrorPage, Network, Rule, ServerSettings

RULE_KINDS = ("role", "user", "realm", "method")

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_SERVER = re.compile(r"(https?)://(\[[^\]/@]*\]|[^:/@\[\]?#]*)(?::([0-9]{1,5}))?(.*)", re.IGNORECASE | re.DOTALL)
_LDAP_URI = re.compile(r"(ldaps?)://(\[[^\]/@]*\]|[^:/@\[\]?#]*)(?::([0-9]{1,5}))?/?", re.IGNORECASE)
_ROUTE_PATH = re.compile(r"[A-Za-z0-9._~!$&'()*+,=:@/-]*")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
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
        raise BadValue("expected a network such as 10.0.0.0/8 or fd00::/8") from None
    if isinstance(found, IPv6Network) and found.network_address.ipv4_mapped is not None and found.prefixlen >= 96:
        # Clients' addresses are compared in their IPv4 form, so this network would never match (attack 10).
        mapped = IPv4Network((int(found.network_address.ipv4_mapped), found.prefixlen - 96))
        raise BadValue("expected the IPv4 form of an IPv4 network", str(mapped))
    if "/" in text and found.network_address != ip_address(text.partition("/")[0]):
        raise BadValue("expected a network without bits beyond its prefix", str(found))
    return found


def _interface(text: str, base: Path) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        bare = text.strip("[]")
        try:
            hint = str(ip_address(bare))
        except ValueError:
            hint = "127.0.0.1" if closest(text, ("localhost", "loopback")) else ""
        raise BadValue("expected the IP address of an interface, or nothing for all of them", hint) from None


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


def _route_host(text: str, base: Path) -> str:
    return text if text == "*" else checked_host(text)


def _server_name(text: str, base: Path) -> str:
    return checked_host(text)


def _server(text: str, base: Path) -> ServerSettings:
    if text == "sample:":
        return ServerSettings("sample", "", 0)
    match = _SERVER.fullmatch(text)
    expected = "expected http://host:port, https://host:port or sample:"
    if match is None:
        bare = re.fullmatch(r"[A-Za-z0-9_.-]+:[0-9]{1,5}", text)
        raise BadValue(expected, f"http://{text}" if bare else closest(text, ("sample:",)))
    scheme, host, port, rest = match[1].lower(), match[2], match[3], match[4]
    if rest == "/" or (rest.startswith("/") and "@" not in rest):
        raise BadValue(f"{expected}, without a path (rewrite is an option of routes)", text[: -len(rest)])
    if rest or not host:
        raise BadValue(expected)
    number = int(port) if port else {"http": 80, "https": 443}[scheme]
    if not 1 <= number <= 65535:
        raise BadValue("expected a port from 1 to 65535")
    return ServerSettings(scheme, checked_host(host).strip("[]"), number)


def _url(text: str, base: Path) -> str:
    match = _SERVER.fullmatch(text)
    if match is None or not match[2] or not _URL_PATH.fullmatch(match[4]) or (match[3] and not 0 < int(match[3]) <= 65535):
        raise BadValue("expected a URL such as https://gw.example.com:9443/token")
    checked_host(match[2])
    return text


def _route_path(text: str, base: Path) -> str:
    if not text.startswith("/"):
        raise BadValue("expected a path that begins with /", f"/{text}" if _ROUTE_PATH.fullmatch(text) else "")
    if not _ROUTE_PATH.fullmatch(text):
        raise BadValue("expected a plain path: letters, digits and ._~!$&'()*+,=:@- between slashes, nothing %-encoded")
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


def _file_name(text: str, base: Path) -> str:
    if PurePosixPath(text).name != text or text == "..":
        raise BadValue("expected the name of a file, without a directory")
    return text


def _rule(text: str, base: Path) -> Rule:
    kind, colon, value = (part.strip() for part in text.partition(":"))
    if not colon or not value:
        hint = f"method:{text}" if text in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS") else ""
        raise BadValue("expected role:…, user:…, realm:… or method:…", hint)
    if kind not in RULE_KINDS:
        near = closest(kind, RULE_KINDS)
        raise BadValue("expected role:…, user:…, realm:… or method:…", f"{near}:{value}" if near else "")
    if kind == "method" and (not _TOKEN.fullmatch(value) or value != value.upper()):
        raise BadValue("expected a method in capitals", f"method:{value.upper()}" if _TOKEN.fullmatch(value) else "")
    return Rule(kind, value)


def _page(text: str, base: Path) -> ErrorPage:
    *words, page = text.split()
    if not words or not all(re.fullmatch("[45][0-9][0-9]", word) for word in words):
        raise BadValue("expected statuses from 400 to 599 and a path, such as 500 502 503 504 /50x.html")
    return ErrorPage(tuple(int(word) for word in words), _route_path(page, base))


def _ldap_uri(text: str, base: Path) -> ServerSettings:
    match = _LDAP_URI.fullmatch(text)
    if match is None or not match[2]:
        raise BadValue("expected ldap://host:port or ldaps://host:port")
    scheme = match[1].lower()
    number = int(match[3]) if match[3] else {"ldap": 389, "ldaps": 636}[scheme]
    if not 1 <= number <= 65535:
        raise BadValue("expected a port from 1 to 65535")
    return ServerSettings(scheme, checked_host(match[2]).strip("[]"), number)


LDAP_URI: Datatype[ServerSettings | None] = Datatype("LDAP URL", _ldap_uri, None)
NETWORK: Datatype[Network] = Datatype("network", _network, IPv4Network("255.255.255.255/32"))
INTERFACE: Datatype[str] = Datatype("IP address", _interface, "")
ROUTE_HOST: Datatype[str] = Datatype("host name", _route_host, "")
SERVER_NAME: Datatype[str] = Datatype("host name", _server_name, "")
SERVER: Datatype[ServerSettings] = Datatype("server", _server, ServerSettings("", "", 0))
URL: Datatype[str] = Datatype("URL", _url, "")
ROUTE_PATH: Datatype[str] = Datatype("URL path", _route_path, "")
HEADER_NAME: Datatype[str] = Datatype("header name", _header_name, "")
FILE_NAME: Datatype[str] = Datatype("file name", _file_name, "")
RULE: Datatype[Rule] = Datatype("rule", _rule, Rule("", ""))
PAGE: Datatype[ErrorPage] = Datatype("error page", _page, ErrorPage((), ""))

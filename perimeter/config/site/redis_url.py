"""The URL of the Redis server, or of the Sentinels that know it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype
from perimeter.config.language.net_types import checked_host

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_SCHEMES: Final = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_SERVER: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:/@\[\]\s]+)(?::([0-9]{1,5}))?")
_ENCODED: Final = re.compile(r"(?:[^%]|%[0-9a-fA-F]{2})*", re.DOTALL)
_SHAPE: Final = "expected redis://HOST:PORT/DATABASE or redis+sentinel://HOST:PORT,HOST:PORT/NAME/DATABASE"


@attrs.frozen
class RedisUrl:
    """Where the state of several machines is.

    ``servers`` are hosts and ports: of the Redis server, or of Sentinels if ``primary``, the name by which they know it, is not
    "". ``tls`` is for all connections, to Sentinels as well. ``username`` "" stands for Redis's user ``default``.
    """

    servers: tuple[tuple[str, int], ...]
    tls: bool = False
    primary: str = ""
    username: str = ""
    password: str = attrs.field(default="", repr=False)
    database: int = 0

    @property
    def in_words(self) -> str:
        """Where the state is, without the password."""
        places = ", ".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.servers)
        where = f"the primary {self.primary} that Sentinels know ({places})" if self.primary else places
        user = f"as user {self.username}" if self.username else "as the user default"
        database = f", database {self.database}" if self.database else ""
        return f"{where}{database}, {'with' if self.tls else 'without'} TLS, {user}"


def parse_redis_url(text: str) -> RedisUrl:
    """The value of ``text``. Raises `BadValue`, whose text never contains the user or the password."""
    scheme, found, rest = text.partition("://")
    if scheme not in _SCHEMES or not found:
        raise BadValue(_SHAPE, _meant(scheme) if found else "")
    if "?" in rest or "#" in rest:
        raise BadValue("expected a URL without ? and #, which are %3F and %23 in a password")
    authority, _, path = rest.partition("/")
    if "@" in path:
        raise BadValue("expected a user and a password in which / is %2F, @ is %40 and : is %3A")
    credentials, _, hosts = authority.rpartition("@")
    username, _, password = (_decoded(part) for part in credentials.partition(":"))
    sentinel = scheme.endswith("+sentinel")
    names = path.split("/") if path else []
    primary = names.pop(0) if sentinel and names else ""
    if sentinel and not _NAME.fullmatch(primary):
        raise BadValue("expected the name by which the Sentinels know the primary: redis+sentinel://HOST:PORT/NAME")
    database = names.pop(0) if names else "0"
    if names or not re.fullmatch(r"[0-9]{1,4}|", database):
        raise BadValue(_SHAPE)
    usual = _SENTINEL_PORT if sentinel else _PORT
    servers = tuple(_server(host, usual) for host in hosts.split(","))
    if len(servers) > 1 and not sentinel:
        raise BadValue("expected one server; several are Sentinels: redis+sentinel://HOST,HOST/NAME")
    if len(set(servers)) < len(servers):
        raise BadValue("expected each Sentinel once")
    return RedisUrl(servers, scheme.startswith("rediss"), primary, username, password, int(database or 0))


def _meant(scheme: str) -> str:
    """The scheme that another spelling stands for, or ""."""
    low = scheme.lower().replace("redis-sentinel", "redis+sentinel").replace("rediss-sentinel", "rediss+sentinel")
    low = {"valkey": "redis", "valkeys": "rediss", "sentinel": "redis+sentinel", "redis+tls": "rediss"}.get(low, low)
    return f"{low}://" if low in _SCHEMES else ""


def _decoded(text: str) -> str:
    if not _ENCODED.fullmatch(text):
        raise BadValue("expected % in a user or a password as %25")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise BadValue("expected a user and a password in UTF-8") from None


def _server(text: str, usual: int) -> tuple[str, int]:
    found = _SERVER.fullmatch(text)
    if found is None or (found[2] and not 1 <= int(found[2]) <= 65535):
        raise BadValue("expected HOST or HOST:PORT for each server, an IPv6 address in brackets")
    return checked_host(found[1]).strip("[]"), int(found[2] or usual)


def _convert(text: str, base: Path) -> RedisUrl | None:
    return parse_redis_url(text)


REDIS_URL: Final[Datatype[RedisUrl | None]] = Datatype("Redis URL", _convert, None, secret=True)

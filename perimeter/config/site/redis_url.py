"""The URL of the Redis server, or of the Sentinels that know it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import attrs

from perimeter.config.language.datatypes import BadValue, Datatype

_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_SCHEMES: Final = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
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
    """The value of ``text``. Raises `BadValue`, whose text never contains the password."""
    scheme, found, rest = text.partition("://")
    if scheme not in _SCHEMES or not found:
        raise BadValue(_SHAPE)
    authority, _, path = rest.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    username, _, password = credentials.partition(":") if at else ("", "", "")
    sentinel = scheme.endswith("+sentinel")
    names = path.split("/") if path else []
    primary = names.pop(0) if sentinel and names else ""
    if sentinel and not _NAME.fullmatch(primary):
        raise BadValue("expected the name by which the Sentinels know the primary: redis+sentinel://HOST:PORT/NAME")
    database = names.pop(0) if names else "0"
    if names or not re.fullmatch(r"[0-9]{1,4}", database) or "?" in text or "#" in text:
        raise BadValue(_SHAPE)
    usual = _SENTINEL_PORT if sentinel else _PORT
    servers = tuple(_server(host, usual) for host in hosts.split(","))
    if len(servers) > 1 and not sentinel:
        raise BadValue("expected one server; several are Sentinels: redis+sentinel://HOST,HOST/NAME")
    return RedisUrl(servers, scheme.startswith("rediss"), primary, unquote(username), unquote(password), int(database))


def _server(text: str, usual: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadValue(_SHAPE) from None
    if not host or port == 0 or parts.path or parts.username is not None:
        raise BadValue(_SHAPE)
    return host, usual if port is None else port


def _convert(text: str, base: Path) -> RedisUrl | None:
    return parse_redis_url(text)


REDIS_URL: Final[Datatype[RedisUrl | None]] = Datatype("Redis URL", _convert, None, secret=True)

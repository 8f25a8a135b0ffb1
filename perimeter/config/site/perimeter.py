"""``[perimeter]``: the gateway as a whole."""

from __future__ import annotations

import importlib.util
import os
from enum import StrEnum
from pathlib import Path
from typing import Final

import attrs

from perimeter.config.language.datatypes import (
    BOOLEAN,
    BadValue,
    Datatype,
    closest,
    duration,
    file_path,
    integer,
    list_of,
    one_of,
    optional,
)
from perimeter.config.language.net_types import PEER_NETWORK, REALM, URL, PeerNetwork
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings
from perimeter.config.site.cluster_secret import CLUSTER_SECRET
from perimeter.config.site.identity_headers import HEADER_PATTERN, KNOWN, known
from perimeter.config.site.node import NODE, own_name
from perimeter.config.site.redis_url import REDIS_URL, RedisUrl


class StateKind(StrEnum):
    """Where API tokens and revocations are stored."""

    SQLITE = "sqlite"
    MEMORY = "memory"
    REDIS = "redis"


class Stale(StrEnum):
    """What the gateway does with tokens while it does not know what the other machines have revoked."""

    REFUSE = "refuse"
    JWT = "jwt"


MAX_WORKERS: Final = 64
"""The most workers of a gateway: an upgrade needs two slots for each (`perimeter.workers.page`)."""


def _workers(text: str, base: Path) -> int:
    if text == "auto":
        return min(MAX_WORKERS, len(os.sched_getaffinity(0)))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:18]) <= MAX_WORKERS):
        raise BadValue(f"expected a number from 1 to {MAX_WORKERS}, or auto", closest(text, ("auto",)))
    return int(text)


SHORTEST_LIMIT: Final = 2.0
"""The least seconds of ``stale_limit``."""

WORKERS: Datatype[int] = Datatype("integer \\| auto", _workers, 1)


@attrs.frozen
class PerimeterSettings(Settings):
    """``[perimeter]``."""

    state_dir: Path = option(
        file_path(),
        "directory of the signing keys, the state database and the self-signed certificate; created with mode 0700",
        default="../var",
    )
    state: StateKind = option(
        one_of(StateKind),
        "where API tokens, sessions and revocations are stored: `sqlite` is a file in `state_dir`; `memory` loses them at a "
        "stop, and works with one worker only; `redis` is a Redis or Valkey server (`redis_url`), which several machines share",
        default="sqlite",
    )
    enabled: bool = option(
        BOOLEAN, "`no` turns authentication and authorization off for every route, and logs a warning", default="yes"
    )
    realm: str = option(REALM, "realm in the `WWW-Authenticate` header of 401 responses", default="perimeter")
    workers: int = option(
        WORKERS,
        "number of processes that serve requests, at most 64; `auto`: one for each processor that the gateway may use. With "
        "more than one, another process starts, watches and ends them",
        default="1",
    )
    pin: bool = option(
        BOOLEAN,
        "`yes` binds each of several workers to one processor; not useful if other programs use the processor",
        default="no",
    )
    announce: tuple[str, ...] = option(
        list_of(URL),
        "URLs in the `auth_uri` list of 401 responses; not set: the `/token` URL of each listener that issues tokens "
        "(only those with TLS, if there are any)",
        default="",
    )
    maintenance: bool = option(BOOLEAN, "`yes` answers every request on a route with 503 and a JSON body", default="no")
    drain_timeout: float = option(
        duration(zero=True),
        "at a stop: how long requests in flight may still take. What is not over then is answered with 503 or cut off",
        default="10s",
    )
    redis_url: RedisUrl | None = option(
        REDIS_URL,
        "with `state = redis`: URL of the server, `redis://` or `rediss://` (TLS) `USER:PASSWORD@HOST:PORT/DATABASE`, or of "
        "Sentinels, `redis+sentinel://` or `rediss+sentinel://` `USER:PASSWORD@HOST:PORT,HOST:PORT/NAME/DATABASE`",
        default="",
    )
    redis_ca: Path | None = option(
        optional(file_path("file")),
        "PEM file of the CAs that sign the certificates of Redis and Sentinel; not set: those of the system",
        default="",
    )
    redis_timeout: float = option(duration(), "how long one question to Redis may take", default="2s")
    cluster_secret: str = option(
        CLUSTER_SECRET,
        "with `state = redis`: file with a line of at least 32 random characters, the same one on all machines. The keys that "
        "protect what is in Redis are derived from it. Further lines are earlier secrets, which still open what they have sealed",
        default="",
    )
    node: str = option(
        NODE, "with `state = redis`: the name of this machine among the others; not set: its host name", default=""
    )
    stale_limit: float = option(
        duration(),
        "with `state = redis`: how long tokens and sessions are still good while nothing is heard of what other machines have "
        "revoked. After that they get 503. 2 seconds or more",
        default="60s",
    )
    stale: Stale = option(
        one_of(Stale),
        "with `state = redis`, after `stale_limit`: `refuse` answers all tokens and sessions with 503; `jwt` still takes access "
        "tokens that live for 15 minutes at most",
        default="refuse",
    )
    whole_up_to: int = option(
        integer(0, 10_000_000),
        "up to this many API tokens, and as many sessions, are all kept in memory; of more, those in use, and the others are "
        "looked up in the database. A change counts from the next start on",
        default="200000",
    )
    trusted_proxies: tuple[PeerNetwork, ...] = option(
        list_of(PEER_NETWORK),
        "networks of proxies (`unix:`: all clients of unix sockets) whose `X-Forwarded-*` headers, and whose forward-auth "
        "requests to `/authenticate`, are trusted; not set: none",
        default="",
    )
    request_ids: bool = option(
        BOOLEAN,
        "`yes` gives each request an id, in the `X-Request-ID` header of the request to the service and of the response, in "
        "both logs and on error pages. The gateway keeps the id of a trusted proxy (`trusted_proxies`), and otherwise makes a "
        "random one. `no`: no ids, and the header passes as any other header",
        default="yes",
    )
    identity_headers: tuple[str, ...] = option(
        list_of(HEADER_PATTERN, whole=known),
        "headers that a service could take for the identity of the user: dropped from requests and responses of "
        "every route, also with other characters in place of the hyphens; `NAME*`: all names that begin with `NAME`. A list "
        "replaces the default; `default` in a list means the default names; `none`: only the headers that routes and "
        "authenticators use",
        default=", ".join(KNOWN),
    )

    @property
    def node_name(self) -> str:
        """The name of this machine among those that share one state."""
        return self.node or own_name()

    @property
    def shares_state(self) -> bool:
        """Whether the machines of the site share one state."""
        return self.state is StateKind.REDIS

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        its = attrs.fields(PerimeterSettings)
        if self.state is StateKind.MEMORY and self.workers > 1 and not section.faulty(its.workers):
            section.problem(
                its.state,
                f"memory works with workers = 1 only, and here workers is {self.workers}: a token that one worker revokes would "
                "stay valid in the others",
            )
        if self.state is not StateKind.REDIS:
            return
        if self.redis_url is None and not section.faulty(its.redis_url):
            section.problem(its.state, "redis needs redis_url")
        if not self.cluster_secret and not section.faulty(its.cluster_secret):
            section.problem(its.state, "redis needs cluster_secret, the path of a file that is the same on all machines")
        if self.stale_limit < SHORTEST_LIMIT and not section.faulty(its.stale_limit):
            section.problem(its.stale_limit, f"expected {SHORTEST_LIMIT:g} seconds or more: a shorter pause is no fault")
        if importlib.util.find_spec("hiredis") is None:
            section.problem(its.state, "the library hiredis is not installed: pip install 'perimeter-gateway[redis]'")


KIND = SectionKind(
    "perimeter",
    PerimeterSettings,
    "Settings of the gateway as a whole.",
    "realm = example\nstate_dir = /var/lib/perimeter\ntrusted_proxies = 10.0.0.0/8, fd00::/8\n",
)

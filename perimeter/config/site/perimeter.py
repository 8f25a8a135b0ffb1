"""``[perimeter]``: the gateway as a whole."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Final

import attrs

from perimeter.config.language.datatypes import BOOLEAN, SECRET, BadValue, Datatype, closest, duration, file_path, list_of, one_of
from perimeter.config.language.net_types import PEER_NETWORK, REALM, URL, PeerNetwork
from perimeter.config.language.option import SectionKind, option
from perimeter.config.language.section import Section
from perimeter.config.language.settings import Settings
from perimeter.config.site.identity_headers import HEADER_PATTERN, KNOWN, known


class StateKind(StrEnum):
    """Where API tokens and revocations are stored."""

    SQLITE = "sqlite"
    MEMORY = "memory"


MAX_WORKERS: Final = 64
"""The most workers of a gateway: an upgrade needs two slots for each (`perimeter.workers.page`)."""


def _workers(text: str, base: Path) -> int:
    if text == "auto":
        return min(MAX_WORKERS, len(os.sched_getaffinity(0)))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:18]) <= MAX_WORKERS):
        raise BadValue(f"expected a number from 1 to {MAX_WORKERS}, or auto", closest(text, ("auto",)))
    return int(text)


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
        one_of(StateKind, later=("redis",)),
        "where API tokens and revocations are stored: `sqlite` is a file in `state_dir`; `memory` loses them at a stop, and "
        "works with one worker only",
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
    redis_url: str = option(SECRET, "URL of the Redis server, with `state = redis`", default="", available=False)
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

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        its = attrs.fields(PerimeterSettings)
        if self.state is StateKind.MEMORY and self.workers > 1 and not section.faulty(its.workers):
            section.problem(
                its.state,
                f"memory works with workers = 1 only, and here workers is {self.workers}: a token that one worker revokes would "
                "stay valid in the others",
            )


KIND = SectionKind(
    "perimeter",
    PerimeterSettings,
    "Settings of the gateway as a whole.",
    "realm = example\nstate_dir = /var/lib/perimeter\ntrusted_proxies = 10.0.0.0/8, fd00::/8\n",
)

"""The nodes of a cluster, in Redis: each writes its record there, and each can read all of them.

A node's record is under ``perimeter:node:NAME``, and the names are in the sorted set ``perimeter:nodes``, so that the list needs
no walk through all keys.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred

from perimeter.cluster.nodes import KEPT, MOST_NODES, Node, decoded, encoded
from perimeter.cluster.sealing import Sealing
from perimeter.config.site.node import NODE_NAME
from perimeter.errors import StateUnavailable
from perimeter.state.writer import finish

_NAMES: Final = "perimeter:nodes"
_AT_ONCE: Final = 200
"""Records that one command reads."""


class Client(Protocol):
    """The part of `perimeter.redis.client.RedisClient` that the registry needs."""

    def call(self, *arguments: bytes | str | int) -> Deferred[Any]: ...  # noqa: D102


@attrs.frozen
class Nodes:
    """All nodes by their names, and the names of ``unreadable`` records: their MAC is wrong, or no node has written them."""

    all: tuple[Node, ...] = ()
    unreadable: tuple[str, ...] = ()


class Registry:
    """The nodes, over ``client``. Each method raises `perimeter.errors.StateUnavailable` if Redis does not answer in time."""

    def __init__(self, client: Client, sealing: Sealing) -> None:
        self._client = client
        self._sealing = sealing

    async def ready(self) -> None:
        """Return when there is a connection to Redis."""
        await self._client.call("PING")

    async def write(self, node: Node) -> Node | None:
        """Write the record of this node, and drop those that are too old. Returns the record that was there before, if any."""
        key = key_of(node.name)
        value = self._sealing.seal(key, encoded(node))
        before, _, _, _ = await finish(
            self._client.call("SET", key, value, "PX", int(KEPT * 1000), "GET"),
            self._client.call("ZADD", _NAMES, int(node.written), node.name),
            self._client.call("ZREMRANGEBYSCORE", _NAMES, "-inf", int(node.written - KEPT)),
            self._client.call("ZREMRANGEBYRANK", _NAMES, 0, -MOST_NODES - 1),
        )
        return self._node(node.name, before)

    async def remove(self, name: str) -> None:
        """Remove the record of a node that stops."""
        await finish(self._client.call("DEL", key_of(name)), self._client.call("ZREM", _NAMES, name))

    async def read(self) -> Nodes:
        """All nodes."""
        members = await self._client.call("ZRANGE", _NAMES, 0, MOST_NODES - 1, "REV")
        names = sorted({text for text in map(_name, _listed(members)) if text})
        parts = [names[at : at + _AT_ONCE] for at in range(0, len(names), _AT_ONCE)]
        values = await finish(*(self._client.call("MGET", *map(key_of, part)) for part in parts))
        records = [(name, value) for name, value in zip(names, (one for part in values for one in _listed(part)), strict=False)]
        found = [(name, value, self._node(name, value)) for name, value in records]
        return Nodes(
            tuple(node for _, _, node in found if node is not None),
            tuple(name for name, value, node in found if node is None and value is not None),
        )

    def _node(self, name: str, value: object) -> Node | None:
        if not isinstance(value, bytes):
            return None
        try:
            node = decoded(self._sealing.open(key_of(name), value))
        except (StateUnavailable, ValueError):
            return None
        return node if node.name == name else None


def key_of(name: str) -> str:
    """The key of the record of a node."""
    return f"perimeter:node:{name}"


def _name(member: object) -> str:
    """The name of a member of the sorted set; "" if it is none."""
    text = member.decode("ascii", "replace") if isinstance(member, bytes) else ""
    return text if NODE_NAME.fullmatch(text) else ""


def _listed(reply: object) -> Iterable[object]:
    return reply if isinstance(reply, list) else ()

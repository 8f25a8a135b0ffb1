"""The target of ``static =`` routes: files of a directory.

`perimeter.targets.beneath` finds the file, `perimeter.targets.conditional` judges conditional and range requests. Here a plan is
made of both, in the offload pool together with the first read, and then sent: the next chunk is read when the client has taken
the last one.
"""

from __future__ import annotations

import io
import os
import secrets
from collections import deque
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path

import attrs
from twisted.python.failure import Failure
from zope.interface import implementer

from perimeter.errors import InternalError, MethodNotAllowed, NoRoute
from perimeter.gate.decision import Admitted
from perimeter.gate.target import ITarget
from perimeter.http.exchange import Exchange, refuse_on_error
from perimeter.http.roles import IResponder
from perimeter.model import EarlyEnd, HeaderBlock
from perimeter.offload import Offload
from perimeter.proxy.headers import HeaderRules, announced_prefix
from perimeter.targets.beneath import Directory, open_beneath, path_segments
from perimeter.targets.conditional import Validators, precondition_status, requested_ranges
from perimeter.targets.media_types import content_type
from perimeter.targets.ruled import ruled

__all__ = ["StaticTarget", "content_type"]

#: Bytes that are read at once. A file up to this size is answered with one job in the pool and one write.
CHUNK = 256 * 1024


@attrs.frozen
class _Wish:
    """What a client asks for, at ``now`` (epoch seconds). ``path`` is relative to the route, ``outer`` is the client's."""

    method: bytes
    path: bytes
    outer: bytes
    query: bytes
    headers: HeaderBlock
    now: int


@attrs.define
class _Plan:
    """An answer: its head, and the pieces of its body, each of them bytes or ``(start, stop)`` of the file."""

    status: int
    lines: bytes
    length: int | None = None
    pieces: deque[bytes | tuple[int, int]] = attrs.field(factory=deque)
    file: io.FileIO | None = None
    first: bytes = b""


def _plan(root: str, index: Sequence[bytes], wish: _Wish) -> _Plan:
    """Find and open the file, and read the beginning of the answer. Raises a `Refusal`."""
    date = b"Date: %b\r\n" % _http_date(wish.now)
    segments = path_segments(wish.path)
    ends_in_slash = wish.path.endswith(b"/")
    try:
        descriptor = open_beneath(root, segments)
    except Directory:
        if not ends_in_slash:
            # A browser would read a path with two slashes at its start as a host (attack 24).
            location = b"/" + wish.outer.lstrip(b"/") + b"/" + wish.query
            return _Plan(301, date + b"Location: %b\r\n" % location, 0)
        descriptor, name = _open_index(root, segments, index)
    else:
        name = segments[-1]
        if ends_in_slash:
            os.close(descriptor)
            raise NoRoute("a file, not a directory")
    file = io.FileIO(descriptor, "rb")
    try:
        plan = _plan_for_file(file.fileno(), name, wish, date)
        if plan.pieces:
            plan.first = _read(file.fileno(), plan.pieces)
    except BaseException:
        file.close()
        raise
    if plan.pieces:
        plan.file = file
    else:
        file.close()
    return plan


def _open_index(root: str, segments: Sequence[bytes], index: Sequence[bytes]) -> tuple[int, bytes]:
    for name in index:
        try:
            return open_beneath(root, [*segments, name]), name
        except (NoRoute, Directory):
            continue
    raise NoRoute("a directory without an index")


def _plan_for_file(descriptor: int, name: bytes, wish: _Wish, date: bytes) -> _Plan:
    status = os.fstat(descriptor)
    size = status.st_size
    # No answer may carry a date in the future (RFC 9110, section 8.8.2.1).
    modified = min(int(status.st_mtime), wish.now)
    etag = b'"%x-%x-%x"' % (status.st_mtime_ns, size, status.st_ino)
    validators = Validators(etag, modified)
    lines = date + b"ETag: %b\r\nLast-Modified: %b\r\nAccept-Ranges: bytes\r\n" % (etag, _http_date(modified))
    decided = precondition_status(wish.method, wish.headers, validators)
    if decided is not None:
        return _Plan(decided, lines, None if decided == 304 else 0)
    lines += b"X-Content-Type-Options: nosniff\r\n"
    media = content_type(name.decode("utf-8", "replace")).encode("ascii")
    ranges = requested_ranges(wish.method, wish.headers, validators, size, wish.now)
    if ranges is None:
        pieces = deque([(0, size)] if size and wish.method == b"GET" else ())
        return _Plan(200, lines + b"Content-Type: %b\r\n" % media, size, deque(pieces))
    if not ranges:
        return _Plan(416, lines + b"Content-Range: bytes */%d\r\n" % size, 0)
    if len(ranges) == 1:
        start, stop = ranges[0]
        lines += b"Content-Type: %b\r\nContent-Range: bytes %d-%d/%d\r\n" % (media, start, stop - 1, size)
        return _Plan(206, lines, stop - start, deque(ranges))
    return _multipart(lines, media, ranges, size)


def _multipart(lines: bytes, media: bytes, ranges: list[tuple[int, int]], size: int) -> _Plan:
    """Several ranges in one body (RFC 9110, section 14.6)."""
    boundary = secrets.token_hex(16).encode("ascii")
    pieces: deque[bytes | tuple[int, int]] = deque()
    length = 0
    opening = b"--%b\r\n" % boundary
    for start, stop in ranges:
        part = opening + b"Content-Type: %b\r\nContent-Range: bytes %d-%d/%d\r\n\r\n" % (media, start, stop - 1, size)
        pieces += (part, (start, stop))
        length += len(part) + stop - start
        opening = b"\r\n--%b\r\n" % boundary
    closing = b"\r\n--%b--\r\n" % boundary
    pieces.append(closing)
    return _Plan(206, lines + b"Content-Type: multipart/byteranges; boundary=%b\r\n" % boundary, length + len(closing), pieces)


def _read(descriptor: int, pieces: deque[bytes | tuple[int, int]]) -> bytes:
    """Take about `CHUNK` bytes off the front of ``pieces``. Empty if the file has become shorter."""
    chunk = b""
    while pieces and len(chunk) < CHUNK:
        piece = pieces[0]
        if isinstance(piece, bytes):
            chunk += piece
            pieces.popleft()
            continue
        start, stop = piece
        data = os.pread(descriptor, min(stop - start, CHUNK), start)
        if not data:
            return b""
        chunk += data
        if start + len(data) == stop:
            pieces.popleft()
        else:
            pieces[0] = (start + len(data), stop)
    return chunk


def _http_date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode("ascii")


@implementer(ITarget)
class StaticTarget:
    """The files below ``root``. ``index`` has the names of files that answer for a directory; there are no listings.

    The place of the route is not part of the file's path: ``/docs/a`` of a route ``/docs`` is ``root/a``. ``rules`` are those of
    the route about headers of responses, if it has any.
    """

    def __init__(self, name: str, root: Path, index: Sequence[str], offload: Offload, rules: HeaderRules | None = None) -> None:
        self.name = name
        self._rules = rules
        self._root = str(root)
        self._index = tuple(os.fsencode(item) for item in index)
        self._offload = offload

    def handle(self, exchange: Exchange) -> None:
        """Answer ``exchange`` with the file that its path names, or with a refusal."""
        head, decision = exchange.head, exchange.decision
        assert isinstance(decision, Admitted)
        if head.method not in (b"GET", b"HEAD"):
            exchange.refuse(MethodNotAllowed("files are served to GET and HEAD", allow=("GET", "HEAD")))
            return
        path, mark, query = decision.target.partition(b"?")
        inner = path[len(decision.route.place) :]
        outer = announced_prefix(head.headers, decision) + path if decision.relayed else path
        wish = _Wish(head.method, inner, outer, mark + query, head.headers, int(exchange.time))
        sending = _Sending(exchange, self._offload, self._rules)
        exchange.responder = sending
        self._offload.run(_plan, self._root, self._index, wish).addCallback(sending.begin).addErrback(sending.failed)


@implementer(IResponder)
class _Sending:
    """Sends one file to one client. The file is closed here, never while a job of the pool reads from it."""

    def __init__(self, exchange: Exchange, offload: Offload, rules: HeaderRules | None) -> None:
        self._exchange = exchange
        self._offload = offload
        self._rules = rules
        self._paused = False
        self._reading = True
        self._file: io.FileIO | None = None
        self._pieces: deque[bytes | tuple[int, int]] = deque()
        self._left = False

    def begin(self, plan: _Plan) -> None:
        """Send the head, and what has been read already."""
        self._file, self._pieces = plan.file, plan.pieces
        exchange = self._exchange
        exchange.start(plan.status, ruled(plan.lines, self._rules, exchange), plan.length, flush=False)
        if plan.file is None:
            # Without a file, all of the answer is in the plan.
            if plan.first:
                exchange.write(plan.first)
            exchange.finish()
        else:
            self._more(plan.first)

    def failed(self, reason: Failure) -> None:
        """The file could not be opened or read."""
        self._close()
        refuse_on_error(self._exchange, reason.value or InternalError("a file could not be served"))

    def _more(self, data: bytes) -> None:
        self._reading = False
        exchange = self._exchange
        if self._left or exchange.ended:
            self._close()
        elif not data:
            self._close()
            exchange.abort(EarlyEnd.FILE_TRUNCATED)
        else:
            exchange.write(data)
            if self._pieces:
                self._next()
            else:
                self._close()
                exchange.finish()

    def _next(self) -> None:
        file = self._file
        if self._exchange.ended and not self._reading:
            self._close()
        elif file is not None and self._pieces and not self._paused and not self._reading and not self._left:
            self._reading = True
            self._offload.proceed(_read, file.fileno(), self._pieces).addCallback(self._more).addErrback(self.failed)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def pause(self) -> None:
        """The client is behind: stop reading."""
        self._paused = True

    def resume(self) -> None:
        """Continue to read."""
        self._paused = False
        self._next()

    def client_gone(self) -> None:
        """Stop reading, and close the file as soon as no job reads from it."""
        self._left = True
        if not self._reading:
            self._close()

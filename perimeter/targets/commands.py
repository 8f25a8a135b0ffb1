"""The target in front of a service whose requests name a command in a JSON body (``audit_body``, ``read_only``).

ecFlow for one gets every command as a POST to the same path. The command of a request gets into the audit log; and users who may
only read may send only some commands. What decides about such a request is held back until it is whole, and must have one
reading: the service has another JSON parser than the gateway (attack 114).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from zope.interface import implementer

from perimeter import strict_json
from perimeter.errors import CommandRefused
from perimeter.gate.decision import Admitted
from perimeter.gate.target import ITarget
from perimeter.http.body_front import HeldBody, WatchedBody
from perimeter.http.exchange import Exchange, refuse_on_error
from perimeter.json_prefix import LONGEST, Pointer, members
from perimeter.model import HeaderBlock

MOST: Final = 8 * 1024
"""Bytes of a body that are looked at."""

UNSEEN: Final = "?"
"""Stands for a member of a body that was not seen: it may be in the part that is not looked at."""

#: C programs read a string to its first NUL: a name that begins like another one would be another one to them.
_NUL: Final = b"\\u0000"


@implementer(ITarget)
class CommandTarget:
    """Reads the command of each request at ``pointers``, and hands the request to ``inner``.

    Users who may only read (`Route.read_only`) may send ``commands``: each is the values of the first members, in order.
    """

    def __init__(self, inner: ITarget, pointers: Sequence[Pointer], commands: Sequence[Sequence[str]]) -> None:
        self._inner = inner
        self.name = inner.name
        self._pointers = tuple(pointers)
        self._commands = tuple(map(tuple, commands))

    def handle(self, exchange: Exchange) -> None:
        """Hand ``exchange`` on, or refuse it."""
        decision = exchange.decision
        assert isinstance(decision, Admitted)
        if exchange.has_body:
            exchange.command = UNSEEN
        if decision.route.reads_only(decision.principal, exchange.head.method, decision.address, exchange.connection):
            self._hold(exchange)
            return
        if exchange.has_body and is_json(exchange.head.headers):
            exchange.front = WatchedBody(MOST, partial(self._note, exchange))
        self._inner.handle(exchange)

    def _note(self, exchange: Exchange, data: bytes, whole: bool) -> None:
        """The command, for the audit log. A member that is named twice has all its values.

        A client that hides its command behind many blanks, or as another type, cannot make the request look like one without.
        """
        found = members(data, self._pointers)
        missing = [] if whole else [[UNSEEN]]
        values = [value for one in found for value in ([one] if one else missing)] if any(found) else missing
        exchange.command = ":".join(",".join(one) for one in values)

    # -- users who may only read

    def _hold(self, exchange: Exchange) -> None:
        headers = exchange.head.headers
        if not exchange.has_body:
            exchange.refuse(CommandRefused("the request names no command, because it has no body"))
        elif not is_json(headers):
            exchange.refuse(CommandRefused("the body is not plain application/json"))
        elif (headers.content_length or 0) > MOST:
            exchange.refuse(CommandRefused(_TOO_LONG))
        else:
            HeldBody(exchange, MOST, partial(self._decide, exchange)).begin()

    def _decide(self, exchange: Exchange, body: bytes | None) -> None:
        try:
            self._check(exchange, body)
            self._inner.handle(exchange)
        except Exception as error:
            refuse_on_error(exchange, error)

    def _check(self, exchange: Exchange, body: bytes | None) -> None:
        if body is None:
            raise CommandRefused(_TOO_LONG)
        try:
            if _NUL in body:
                raise ValueError("a NUL")
            value = strict_json.decode(body)
        except ValueError:
            raise CommandRefused("the body is not JSON with one reading") from None
        found = [_member(value, pointer) for pointer in self._pointers]
        exchange.command = ":".join(one[:LONGEST] for one in found if one is not None)
        if not any(all(one == part for one, part in zip(found, command, strict=False)) for command in self._commands):
            raise CommandRefused("the command is not one of read_only_commands")


_TOO_LONG: Final = f"the body is longer than {MOST // 1024} KiB"


def is_json(headers: HeaderBlock) -> bool:
    """Whether the body of a request is JSON that is not compressed."""
    types = headers.get_all(b"content-type")
    media = types[0].partition(b";")[0].strip(b" \t").lower() if len(types) == 1 else b""
    return (media == b"application/json" or media.endswith(b"+json")) and headers.get(b"content-encoding") is None


def _member(value: Any, pointer: Pointer) -> str | None:
    """The string or whole number at ``pointer``, as text; None if there is none."""
    for token in pointer:
        if isinstance(value, dict):
            value = value.get(token)
        elif isinstance(value, list) and token.isdecimal() and token.isascii() and int(token[:9]) < len(value):
            value = value[int(token[:9])]
        else:
            return None
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None

"""What placeholders stand for in an admitted request (`perimeter.config.language.placeholders`). Pure."""

from __future__ import annotations

from perimeter.config.language.placeholders import Placeholder, Template, Word
from perimeter.gate.decision import Admitted
from perimeter.gate.identity_lines import encode_value
from perimeter.http.exchange import Exchange
from perimeter.model import Principal


def value_of(exchange: Exchange, placeholder: Placeholder) -> str | None:
    """The value, as text; None if the request has none, such as the user of an anonymous client.

    Several roles are separated by commas, and percent signs and commas in a role are percent-encoded.
    """
    word, decision = placeholder.word, exchange.decision
    assert isinstance(decision, Admitted)
    if word is Word.ADDRESS:
        return decision.address
    if word is Word.REQUEST_ID:
        return exchange.request_id or None
    if word is Word.HOST:
        return exchange.head.host.decode("latin-1") or None
    if word is Word.SCHEME:
        return "https" if is_secure(exchange) else "http"
    principal = decision.principal
    return None if principal is None else _of_user(principal, placeholder)


def _of_user(principal: Principal, placeholder: Placeholder) -> str | None:
    word = placeholder.word
    if word is Word.USER:
        return principal.username
    if word is Word.REALM:
        return principal.realm
    if word is Word.ROLES:
        return b",".join(map(encode_value, principal.roles)).decode("ascii") or None
    return principal.attributes.get(placeholder.argument) or None


def is_secure(exchange: Exchange) -> bool:
    """Whether the client uses TLS: to the gateway, or to the trusted proxy in front of it."""
    decision = exchange.decision
    if isinstance(decision, Admitted) and decision.relayed:
        scheme = b",".join(exchange.head.headers.get_all(b"x-forwarded-proto")).lower()
        if scheme in (b"http", b"https"):
            return scheme == b"https"
    return bool(exchange.connection.tls)


def header_value(template: Template, exchange: Exchange) -> bytes | None:
    """``template``, filled for a header: a value can neither end the line nor look like two values. None if one is missing."""
    return _ascii(template.fill(lambda placeholder: _encoded(exchange, placeholder)))


def _encoded(exchange: Exchange, placeholder: Placeholder) -> str | None:
    value = value_of(exchange, placeholder)
    if value is None or placeholder.word is Word.ROLES:  # encoded one by one
        return value
    return encode_value(value).decode("ascii")


def _ascii(text: str | None) -> bytes | None:
    return None if text is None else text.encode("ascii")

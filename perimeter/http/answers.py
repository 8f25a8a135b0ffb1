"""From a refusal to the response that the client reads: one place, so that every error looks alike.

Bodies are JSON, or HTML for a client that prefers it (RFC 9110, section 12.5.1), or the operator's own page. Bearer errors follow
RFC 6750, section 3, in the shape that Reactor's clients parse: a missing token gets ``auth_uri`` and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import lru_cache

from perimeter.errors import (
    Challenges,
    CredentialsTooLarge,
    InsufficientScope,
    InvalidCredentialsRequest,
    InvalidToken,
    LoginNeeded,
    Maintenance,
    MethodNotAllowed,
    MissingCredentials,
    Page,
    RateExceeded,
    Refusal,
    RouteMaintenance,
    SignIn,
)
from perimeter.http.request_ids import PLACE, id_in
from perimeter.model import HeaderBlock

#: Bytes of Accept that are read, and remembered. A client that sends more expresses no preference: reading 32 KiB takes 8 ms.
_LONGEST_ACCEPT = 512
# As names of the module, because CPython 3.11 takes 0.1 µs to look up a member of an enum.
_BEARER, _BASIC, _BOTH, _FIRST_HAND = Challenges
#: What decides between a redirect to the login page and a 401 (`perimeter.gate.navigation`), for caches.
_TO_LOGIN = b"Location: %b\r\nCache-Control: no-store\r\nVary: Sec-Fetch-Mode, Sec-Fetch-Dest, Accept, Cookie\r\n"
_OF_PAGES = frozenset((b"origin", b"x-requested-with"))
_JSON = b"Content-Type: application/json;charset=UTF-8\r\nCache-Control: no-store\r\nPragma: no-cache\r\n"


class Answers:
    """Renders refusals.

    ``auth_uri`` lists where clients get tokens; ``error_page`` makes the built-in HTML page for a status, a phrase and what
    it offers to a person who can sign in; ``pages`` holds the operator's pages by status. ``challenges`` are scheme and realm
    of what 401 answers ask for beside the gateway's own tokens (`perimeter.auth.chain.chain.AuthenticatorChain.challenges`).
    If all of them are Basic, one challenge with the gateway's own realm stands for them. ``ids``: requests have ids, which error
    pages and bodies show. The pages have `PLACE` where the id belongs.
    """

    def __init__(
        self,
        realm: str,
        auth_uri: tuple[str, ...],
        error_page: Callable[[int, str, SignIn | None], Page],
        pages: Mapping[int, Page],
        clock: Callable[[], float],
        challenges: tuple[tuple[str, str], ...] = (),
        ids: bool = False,
    ) -> None:
        self._realm = quoted(realm)
        # The gateway's own Bearer comes first, in Reactor's form.
        lines = ((scheme, of) for scheme, of in challenges if (scheme, of) != ("bearer", realm) and scheme != "negotiate")
        others = [(scheme, _line(scheme, quoted(of))) for scheme, of in lines]
        every = b"".join(line for _, line in others)
        bearers = b"".join(line for scheme, line in others if scheme == "bearer")
        passwords = b"".join(line for scheme, line in others if scheme == "basic")
        own = _line("basic", self._realm)
        named = passwords if any(scheme == "bearer" for scheme, _ in challenges) else b""
        # last: browsers take the strongest challenge that they know, and others the first one
        tickets = b"WWW-Authenticate: Negotiate\r\n" if any(scheme == "negotiate" for scheme, _ in challenges) else b""
        asked = own if passwords or not tickets else b""
        #: what follows the gateway's own Bearer challenge, or stands in its place
        self._further = {
            _BEARER: bearers,
            _BASIC: named or own,
            _BOTH: (every if named else asked + bearers) + tickets,
            _FIRST_HAND: (every if named or bearers else asked) + tickets,
        }
        #: the same where a proxy asks: every realm by its name, in one header
        self._further_in_one = {
            **self._further,
            _BASIC: passwords or own,
            _BOTH: (every if passwords else asked + bearers) + tickets,
        }
        self._auth_uri = list(auth_uri)
        self._error_page = error_page
        self._pages = pages
        self._clock = clock
        self._ids = ids
        self._made: dict[tuple[type[Refusal], Challenges, bool, bool, bytes], tuple[bytes, bytes]] = {}
        self._date = (-1, b"")

    def date(self) -> bytes:
        """The Date header line for now (RFC 9110, section 6.6.1)."""
        second = int(self._clock())
        if self._date[0] != second:
            self._date = (second, b"Date: %b\r\n" % formatdate(second, usegmt=True).encode("ascii"))
        return self._date[1]

    def render(self, refusal: Refusal, headers: HeaderBlock, id_line: bytes = b"") -> tuple[int, bytes, bytes]:
        """Status, header lines and body of the answer to a refused request that has these ``headers``.

        ``id_line`` is the header line with its id (`perimeter.http.request_ids`).
        """
        login = refusal.login
        if login:  # not asked of every refusal, of which those without a credential come in floods
            if isinstance(refusal, LoginNeeded):
                return self._to_login(refusal)
            if not sent_by_page(headers):
                login = b""
        json_only = isinstance(refusal, Maintenance) and not isinstance(refusal, RouteMaintenance)
        html = prefers_html(headers) and not json_only
        page = refusal.page or (None if json_only else self._pages.get(refusal.status))
        if page is not None and not prefers_json(headers):
            lines, body = self._challenge(refusal) + page.lines, page.body
        elif html and refusal.sign_in is not None:
            made_page = self._error_page(refusal.status, refusal.phrase, refusal.sign_in)
            lines, body = self._challenge(refusal) + made_page.lines, made_page.body
        else:
            key = (type(refusal), refusal.stranger, refusal.one_line, html, login)
            made = self._made.get(key)
            if made is None:
                made = self._made[key] = self._make(refusal, html, login)
            lines, body = made
        if refusal.retry_after is not None:
            lines += b"Retry-After: %d\r\n" % refusal.retry_after
            if isinstance(refusal, RateExceeded):
                lines += refusal.lines
        if isinstance(refusal, MethodNotAllowed) and refusal.allow:
            lines += b"Allow: %b\r\n" % ", ".join(refusal.allow).encode("ascii")
        if refusal.status != 401 or html or page is not None:
            body = body.replace(PLACE, id_in(id_line))
        return refusal.status, self.date() + lines, body

    def _to_login(self, refusal: LoginNeeded) -> tuple[int, bytes, bytes]:
        if refusal.status != 401:
            return refusal.status, self.date() + _TO_LOGIN % refusal.location, b""
        lines, body = self._make(refusal, False, refusal.login)
        return refusal.status, self.date() + lines + b"X-Perimeter-Login: %b\r\n" % refusal.location, body

    def _make(self, refusal: Refusal, html: bool, login: bytes) -> tuple[bytes, bytes]:
        lines = self._challenge(refusal)
        if html:
            page = self._error_page(refusal.status, refusal.phrase, None)
            return lines + page.lines, page.body
        body = json.dumps(self._fields(refusal, login), separators=(",", ":")).encode("ascii")
        return lines + _JSON, body

    def _challenge(self, refusal: Refusal) -> bytes:
        """WWW-Authenticate, where the refusal calls for it (RFC 6750, section 3; RFC 7617, section 2)."""
        error = _bearer_error(refusal)
        if refusal.status != 401 and not error:
            return b""
        lines = b""
        challenges = refusal.stranger
        if challenges in (_BEARER, _BOTH):
            challenge = f'Bearer realm="{self._realm}"'
            if error:
                challenge += f', error="{error}", error_description="{quoted(refusal.phrase)}"'
            lines += f"WWW-Authenticate: {challenge}\r\n".encode()
        if refusal.status == 401:
            lines += (self._further_in_one if refusal.one_line else self._further)[challenges]
        # One line for all (RFC 9110, section 11.6.1): of several lines, nginx before 1.23 passes on the first.
        return lines.replace(b"\r\nWWW-Authenticate: ", b", ") if refusal.one_line else lines

    def _fields(self, refusal: Refusal, login: bytes) -> dict[str, object]:
        fields: dict[str, object] = {}
        if not isinstance(refusal, MissingCredentials):
            fields = {"error": _bearer_error(refusal) or refusal.reason, "error_description": refusal.phrase}
        if refusal.status == 401:
            fields["auth_uri"] = self._auth_uri
            if login:
                fields["login"] = login.decode("ascii")
        elif self._ids:
            # not in a 401: Reactor's clients read each member of it as a list of URLs, beside error and error_description
            fields["request_id"] = PLACE.decode("ascii")
        return fields


def _line(scheme: str, realm: str) -> bytes:
    """A challenge, its ``realm`` already quoted."""
    words = f'Bearer realm="{realm}"' if scheme == "bearer" else f'Basic realm="{realm}", charset="UTF-8"'
    return f"WWW-Authenticate: {words}\r\n".encode("ascii")


def _bearer_error(refusal: Refusal) -> str:
    """The error code of RFC 6750, section 3.1, or "" for a refusal that it does not know."""
    if isinstance(refusal, InvalidToken):
        return "invalid_token"
    if isinstance(refusal, InvalidCredentialsRequest) and not isinstance(refusal, CredentialsTooLarge):
        return "invalid_request"
    if isinstance(refusal, InsufficientScope):
        return "insufficient_scope"
    return ""


def quoted(text: str) -> str:
    """``text`` fit to stand in a quoted-string (RFC 9110, section 5.6.4), as ASCII."""
    visible = "".join(c if " " <= c <= "~" else "?" for c in text)
    return visible.replace("\\", "\\\\").replace('"', '\\"')


def sent_by_page(headers: HeaderBlock) -> bool:
    """Whether a page in a browser sent the request, which can lead its user to the sign-in page.

    Other clients get no more than ``auth_uri``: those of Reactor read each member of a 401 as a list of URLs.
    """
    return any(name.startswith(b"sec-fetch-") or name in _OF_PAGES for name, _ in headers.fields)


def accepts_html(headers: HeaderBlock) -> bool:
    """Whether Accept names ``text/html`` itself."""
    return _qualities(headers)[0] > 0


def prefers_html(headers: HeaderBlock) -> bool:
    """Whether Accept ranks HTML over JSON. A client that says nothing, or ``*/*``, gets JSON."""
    html, json_quality = _qualities(headers)
    return html > json_quality


def prefers_json(headers: HeaderBlock) -> bool:
    """Whether Accept asks for JSON by name, and does not rank HTML over it."""
    html, json_quality = _qualities(headers)
    return json_quality > 0 and json_quality >= html


def _qualities(headers: HeaderBlock) -> tuple[float, float]:
    """How much the client wants text/html and application/json by name: 0 to 1."""
    values = [value for name, value in headers.fields if name == b"accept"]
    accept = values[0] if len(values) == 1 else b",".join(values)
    return _known_qualities(accept) if len(accept) <= _LONGEST_ACCEPT else (0.0, 0.0)


@lru_cache(maxsize=256)
def _known_qualities(accept: bytes) -> tuple[float, float]:
    found = {"text/html": 0.0, "application/json": 0.0}
    for item in accept.decode("ascii", "replace").lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name in found:
            found[name] = _quality(parameters)
    return found["text/html"], found["application/json"]


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0

"""``/account/tokens`` below the prefix of the pages: a user makes and ends API tokens.

A new token is shown only in the response to the form that makes it. The form has a number that can be used once: if the
user reloads the page and the browser sends the form again, no second token is made.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlencode

from perimeter.errors import NoRoute, TooManyTokens
from perimeter.gate.return_path import LONGEST
from perimeter.recent import Recent
from perimeter.sessions.session import Session
from perimeter.tokens.api_token import ApiToken
from perimeter.tokens.book import TokenBook
from perimeter.web.endpoints.account import purposes
from perimeter.web.endpoints.account.account import described
from perimeter.web.endpoints.account.base import AccountEndpoint, AccountParts
from perimeter.web.endpoints.account.shown import as_shown
from perimeter.web.endpoints.endpoint import user_of
from perimeter.web.endpoints.page import text_lists
from perimeter.web.form import parse_form
from perimeter.web.html.words import in_words
from perimeter.web.request import exchange_of, respond
from perimeter.web.token_request import MEMBERS, Unfit, members_of, token_request

_DAY: Final = 86400
_LIFETIMES: Final = (_DAY, 7 * _DAY, 30 * _DAY, 90 * _DAY, 365 * _DAY)
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_MOST_REMEMBERED: Final = 10_000

Values = Mapping[str, list[str]]


class AccountTokens(AccountEndpoint):
    """``GET …/new`` is the form, ``POST …`` makes a token, ``POST …/ID/end`` ends one. To make one needs a fresh sign-in."""

    beneath = True

    def __init__(self, parts: AccountParts, book: TokenBook) -> None:
        super().__init__("/tokens", (b"GET", b"HEAD", b"POST"), parts)
        self._book = book
        #: ids of tokens that were asked for a short time ago, also of those that have ended since
        self._asked: Recent[str, bool] = Recent(_MOST_REMEMBERED)

    # -- the form

    def render_GET(self, request: Any) -> bytes:
        """The form, filled in with the query. Raises `NoRoute` for other paths."""
        match self.beneath_path(request):
            case []:
                return self.redirect(request, self.front)
            case ["new"]:
                pass
            case _:
                raise NoRoute("the account page does not have this path")
        values = _known(text_lists(parse_form(request.uri.partition(b"?")[2])))
        again = self._again(request, values)
        return self._form(request, values) if again is None else again

    def _again(self, request: Any, values: Values) -> bytes | None:
        """A response that asks for the password, if that is due. What was filled in comes back with the user."""
        back = f"{self.path}/new?{urlencode(values, doseq=True)}" if values else f"{self.path}/new"
        return self.stale(request, back if len(back) <= LONGEST else f"{self.path}/new")

    def _form(self, request: Any, values: Values, error: Unfit | None = None, status: int = 200) -> bytes:
        last = {name: given[-1] for name, given in values.items()}
        longest, usual = self._book.longest, int(self._book.usual)
        lifetimes = {usual, *(one for one in _LIFETIMES if not longest or one <= longest)}
        choices = [(str(one), in_words(one)) for one in sorted(lifetimes)] + ([] if longest else [("0", "no end")])
        methods = values.get("methods", [])
        return self.render_page(
            request,
            "account_token.html",
            status,
            token=self.token_for(request, purposes.TOKEN_CREATE),
            once=secrets.token_urlsafe(16),
            name=last.get("name", ""),
            lifetimes=choices,
            lifetime=last.get("expires_in", str(usual)),
            routes=self.parts.usable(user_of(request), exchange_of(request)),
            chosen=values.get("routes", []),
            methods=_METHODS,
            chosen_methods=methods,
            other_methods=" ".join(one for one in methods if one not in _METHODS),
            networks="\n".join(values.get("networks", [])),
            wrong="" if error is None else error.member,
            error="" if error is None else f"{error.needed[:1].upper()}{error.needed[1:]}.",
        )

    # -- what is sent

    def render_POST(self, request: Any) -> int:
        """Make a token, or end one."""
        return respond(request, self._post(request))

    async def _post(self, request: Any) -> bytes:
        match self.beneath_path(request):
            case []:
                return await self._make(request)
            case [which, "end"]:
                exchange_of(request).event = purposes.TOKEN_END
                self.form(request, purposes.TOKEN_END)
                await self._book.remove(user_of(request), which)
                return self.redirect(request, f"{self.front}?done=token")
            case _:
                raise NoRoute("the account page does not have this path")

    async def _make(self, request: Any) -> bytes:
        exchange_of(request).event = purposes.TOKEN_CREATE
        fields = self.form_lists(request, purposes.TOKEN_CREATE)
        values = _known(fields)
        id = _id_of(self.signed_in(request), fields.get("once", [""])[-1])
        user, book = user_of(request), self._book
        if id in self._asked or any(token.id == id for token in book.owned(user)):
            return self.render_page(request, "account_token_made.html", 409)
        again = self._again(request, values)
        if again is not None:
            return again
        self._asked.keep(id, True)
        try:
            asked = token_request(members_of(values), frozenset(self.parts.usable(user, exchange_of(request))))
            text, kept = await self._made(user, asked, id)
        except Unfit as error:
            self._asked.pop(id, None)
            exchange_of(request).reason = "invalid_request"
            return self._form(request, values, error, 400)
        except BaseException:
            self._asked.pop(id, None)
            raise
        return self._shown(request, text, kept)

    async def _made(self, user: Any, asked: Any, id: str) -> tuple[str, ApiToken]:
        try:
            return await self._book.make(user, asked.name, asked.lifetime, asked.restriction, id=id)
        except TooManyTokens as error:
            raise Unfit("", error.phrase) from None
        except ValueError as error:
            raise Unfit("expires_in", str(error)) from None

    def _shown(self, request: Any, text: str, kept: ApiToken) -> bytes:
        exchange = exchange_of(request)
        origins = sorted(self.pages.origins(exchange))
        own = [one for one in exchange.head.headers.get_all(b"origin") if one in origins] or origins
        user = user_of(request)
        shown = as_shown(text, own[0].decode("ascii", "replace"), user.attributes.get("email") or user.username)
        return self.render_page(request, "account_token_shown.html", shown=shown, made=described(kept))


def _known(fields: Values) -> dict[str, list[str]]:
    """What is asked of a token in a form or a query, without fields that are empty."""
    given = {name: [value for value in values if value.strip()] for name, values in fields.items() if name in MEMBERS}
    return {name: values for name, values in given.items() if values}


def _id_of(session: Session, once: str) -> str:
    """The id of the token that a form makes: each number of a form leads to one, and in each session to another."""
    return sha256(b"%b\0%b" % (session.digest, once.encode("utf-8"))).hexdigest()[:16]

"""``/start/NAME`` below the prefix of the pages: a sign-in at a provider begins.

It is a link on the sign-in page and not a form, because Chromium applies ``form-action`` to the redirect that follows a form. A
page of another site may open it as well: the user then signs in as themselves, or not at all.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, Final
from urllib.parse import quote

from perimeter.auth.chain.throttle import address_block
from perimeter.errors import ProviderMisconfigured, Refusal
from perimeter.gate.access import ANYBODY
from perimeter.gate.return_path import Again, safe_path
from perimeter.http.exchange import Exchange
from perimeter.oidc.flow import flow_secrets
from perimeter.providers.flows import BegunFlow, flow_digest
from perimeter.web.endpoints.arrival import Arrivals
from perimeter.web.endpoints.endpoint import reading
from perimeter.web.endpoints.page import PageEndpoint, Pages, query_fields
from perimeter.web.endpoints.providers.failures import refused
from perimeter.web.endpoints.providers.parts import Provider, ProviderParts, flow_cookies, flow_of
from perimeter.web.html.cookies import FLOWS, flow_cookie
from perimeter.web.request import exchange_of, respond

_MOVED: Final = "moved"
"""The parameter of a browser that was sent here by another host of the gateway."""

_LOCATION: Final = re.compile(r"https?://[\x21-\x7e]+")


class Start(PageEndpoint):
    """Sends the browser to ``provider``."""

    by_workers = True

    def __init__(self, pages: Pages, arrivals: Arrivals, parts: ProviderParts, provider: Provider) -> None:
        super().__init__(f"/start/{provider.name}", reading(ANYBODY), pages)
        self._arrivals = arrivals
        self._parts = parts
        self._provider = provider

    def render_GET(self, request: Any) -> int:
        """A redirect to the provider; a browser that is signed in already goes on, unless it is to sign in ``again``."""
        return respond(request, self._start(request))

    async def _start(self, request: Any) -> bytes:
        exchange = exchange_of(request)
        fields = query_fields(request)
        to, again = safe_path(fields.get("to", "")), _again(fields.get("again", ""))
        if not self.pages.is_secure(exchange):  # that page says why, and where people can sign in
            return self.redirect(request, f"{self.pages.prefix}/login?to={quote(to, safe='')}")
        session = self.session_of(request)
        try:
            if self._provider.origin.encode("ascii") not in self.pages.origins(exchange):
                return self._elsewhere(request, to, again, _MOVED in fields)
            if session is not None and not again:
                return self.redirect(request, to)
            hint = "" if session is None or again is not Again.SAME_USER else session.owner.username
            return await self._send(request, to, again is not None, hint)
        except Refusal as refusal:
            return refused(self, request, self._arrivals, self._provider, to, refusal)

    def _elsewhere(self, request: Any, to: str, again: Again | None, moved: bool) -> bytes:
        """To the same page on the host to which the provider sends the browser back: it has to have the cookie of the flow.

        Raises `ProviderMisconfigured` if the browser comes from such a redirect.
        """
        provider = self._provider
        if moved:
            raise ProviderMisconfigured(
                f"redirect_uri of provider {provider.name} is on {provider.origin}, and what browsers send to it arrives with "
                "another scheme or Host: see trusted_proxies"
            )
        return self.redirect(request, f"{provider.origin}{provider.start_path(self.pages.prefix, to, again)}&{_MOVED}=1")

    async def _send(self, request: Any, to: str, again: bool, hint: str) -> bytes:
        exchange, provider, parts = exchange_of(request), self._provider, self._parts
        name, replaced = self._place(exchange)
        value = secrets.token_urlsafe(32).encode("ascii")
        begun = BegunFlow(flow_digest(value), provider.name, to, _client(exchange), parts.reactor.seconds(), again)
        flow = flow_of(provider, begun, flow_secrets(value), hint)
        location = await provider.ask(parts.reactor, lambda: provider.authenticator.begin(flow))
        if not _LOCATION.fullmatch(location):
            raise ProviderMisconfigured(f"the sign-in page of provider {provider.name} has no URL of http or https")
        await parts.flows.begin(begun, replaced)
        request.responseHeaders.addRawHeader(b"Set-Cookie", flow_cookie(name, value))
        request.setResponseCode(302)
        request.setHeader(b"Location", location.encode("ascii"))
        request.setHeader(b"Cache-Control", b"no-store")
        request.setHeader(b"Referrer-Policy", b"no-referrer")
        return b""

    def _place(self, exchange: Exchange) -> tuple[bytes, bytes | None]:
        """The name of the cookie for a new flow, and the value that it replaces: a free one, else that of the oldest flow."""
        used = dict(flow_cookies(exchange))
        ages: dict[bytes, float] = {}
        for name in FLOWS:
            flow = self._parts.flows.known(used[name]) if name in used else None
            if flow is None:
                return name, None
            ages[name] = flow.created
        oldest = min(ages, key=lambda name: ages[name])
        return oldest, used[oldest]


def _again(text: str) -> Again | None:
    """What ``again`` in the URL asks for; any text but that of the same user asks for another one."""
    if not text:
        return None
    return Again.SAME_USER if text == Again.SAME_USER else Again.OTHER_USER


def _client(exchange: Exchange) -> str:
    """The block of addresses that the client can choose from."""
    decision = exchange.decision
    address = exchange.connection.address if decision is None else decision.address
    try:
        return address_block(address)
    except ValueError:
        return address

"""``/callback/NAME`` below the prefix of the pages: a browser comes back from a provider.

What it brings counts only together with the cookie that this browser got at the start: a code of an attacker, or a code in
another browser, gives no session (attacks O1, O2).
"""

from __future__ import annotations

import hmac
from typing import Any, Final

import attrs

from perimeter.errors import FlowGone, InternalError, Refusal, Rejected
from perimeter.gate.access import ANYBODY
from perimeter.model import Principal
from perimeter.oidc.flow import FlowSecrets, flow_secrets
from perimeter.plugin.redirect import SignedIn
from perimeter.providers.flows import LIFETIME, BegunFlow
from perimeter.web.endpoints.arrival import Arrival, Arrivals
from perimeter.web.endpoints.endpoint import reading
from perimeter.web.endpoints.go import FOREIGN
from perimeter.web.endpoints.login import authentication_request
from perimeter.web.endpoints.page import PageEndpoint, Pages, text_lists
from perimeter.web.endpoints.providers.failures import refused
from perimeter.web.endpoints.providers.parts import Provider, ProviderParts, flow_cookies, flow_of, is_manual
from perimeter.web.form import parse_form
from perimeter.web.html.cookies import manual_cookie, no_manual_cookie
from perimeter.web.request import exchange_of, respond

EVENT: Final = "provider_login"
"""The event in the audit log."""

_STATE: Final = "state"


@attrs.frozen
class _Own:
    """A flow of this browser: the value of its cookie, and its secrets."""

    cookie: bytes = attrs.field(repr=False)
    secrets: FlowSecrets = attrs.field(repr=False)


class Callback(PageEndpoint):
    """Ends a sign-in at ``provider``."""

    by_workers = True

    def __init__(self, pages: Pages, arrivals: Arrivals, parts: ProviderParts, provider: Provider) -> None:
        super().__init__(f"/callback/{provider.name}", reading(ANYBODY), pages)
        self._arrivals = arrivals
        self._parts = parts
        self._provider = provider

    def render_GET(self, request: Any) -> int:
        """The page that leads on with a new session, or a page that says why there is none."""
        return respond(request, self._come_back(request))

    async def _come_back(self, request: Any) -> bytes:
        exchange_of(request).event = EVENT
        to = "/"
        try:
            parameters = _parameters(request)
            own = self._own(request, parameters.get(_STATE, ""))
            begun = None if own is None else await self._parts.flows.find(own.cookie)
            if own is None or begun is None:
                return self._unknown(request, own)
            to = begun.to
            if await self._first_use(begun):
                body = await self._complete(request, parameters, begun, own.secrets)
            elif self.session_of(request) is not None:  # the page was opened a second time, or from the history
                body = self._arrivals.lead_on(self, request, to)
            else:
                raise FlowGone("the flow was used before")
            return self._from_here(request, body)
        except Refusal as refusal:
            return refused(self, request, self._arrivals, self._provider, to, refusal)

    def _from_here(self, request: Any, body: bytes) -> bytes:
        """The answer to a browser that comes from the provider: a page of this site instead of a redirect to one.

        After a redirect the browser would still send a request of another site: `/go` would not lead on by itself, and cookies
        with SameSite=Strict would be missing.
        """
        location = request.responseHeaders.getRawHeaders(b"location")
        if location is None or exchange_of(request).head.headers.get(b"sec-fetch-site") not in FOREIGN:
            return body
        request.responseHeaders.removeHeader(b"location")
        text = f"{self._provider.title} has sent you back to this site."
        return self.render_page(request, "onwards.html", text=text, location=location[-1].decode("ascii"), begins=False)

    def _own(self, request: Any, state: str) -> _Own | None:
        """The flow of this browser with this ``state``."""
        for _, cookie in flow_cookies(exchange_of(request)):
            own = _Own(cookie, flow_secrets(cookie))
            if hmac.compare_digest(own.secrets.state.encode("ascii"), state.encode("utf-8", "replace")):
                return own
        return None

    def _unknown(self, request: Any, own: _Own | None) -> bytes:
        """The answer to a browser whose flow is not known: it is signed in by now, or begins anew once, or is asked to.

        It begins anew only if it has the cookie of the flow, and the gateway has lost the rest.
        """
        if self.session_of(request) is not None:
            return self.redirect(request, "/")
        if own is None or is_manual(exchange_of(request)):
            raise FlowGone("no flow with this state is under way in this browser")
        request.responseHeaders.addRawHeader(b"Set-Cookie", manual_cookie())
        return self.redirect(request, self._provider.start_path(self.pages.prefix, "/"))

    async def _first_use(self, begun: BegunFlow) -> bool:
        """Whether this is the first use of the flow, in all workers."""
        self._parts.flows.used(begun)
        return await self._parts.claims.claim(b"flow\0" + begun.digest, begun.created + LIFETIME)

    async def _complete(self, request: Any, parameters: dict[str, str], begun: BegunFlow, secrets: FlowSecrets) -> bytes:
        parts, provider = self._parts, self._provider
        if begun.provider != provider.name:
            raise Rejected(f"a flow of provider {begun.provider} at the callback of {provider.name}")
        flow = flow_of(provider, begun, secrets)
        found = await provider.ask(parts.reactor, lambda: provider.authenticator.complete(parameters, flow))
        if found.principal.realm != provider.authenticator.realm or not (found.issuer and found.subject):
            raise InternalError(f"provider {provider.name} returned no principal of its realm, or no identity")
        try:
            principal = await self._admitted(request, found)
            now = parts.reactor.seconds()
            arrival = Arrival(
                principal,
                (),
                begun.to,
                provider=provider.name,
                signed_in=found,
                # as old as the sign-in at the provider, which may have been long ago
                earlier=((provider.method, min(found.at, now) if found.at else now),),
            )
            body = await self._arrivals.arrive(self, request, arrival)
        except Refusal as refusal:
            refusal.attempted_user = found.principal.username
            raise
        if is_manual(exchange_of(request)):
            request.responseHeaders.addRawHeader(b"Set-Cookie", no_manual_cookie())
        return body

    async def _admitted(self, request: Any, found: SignedIn) -> Principal:
        """The user, once their name is bound to their identity (attack O4)."""
        parts, principal = self._parts, found.principal
        asking = authentication_request(exchange_of(request))
        principal = await parts.vouched(self._provider.name, principal, asking)
        await parts.pins.bind(parts.claims, principal.realm, principal.username, found.issuer, found.subject)
        if found.lifetime:
            principal = attrs.evolve(principal, until=min(principal.until, parts.reactor.seconds() + found.lifetime))
        return principal


def _parameters(request: Any) -> dict[str, str]:
    """The parameters in the URL. Raises `Rejected` if one comes twice (RFC 6749, section 3.1), and `BadRequest`."""
    lists = text_lists(parse_form(request.uri.partition(b"?")[2]))
    if any(len(values) > 1 for values in lists.values()):
        raise Rejected("a parameter came twice")
    return {name: value for name, (value,) in lists.items()}

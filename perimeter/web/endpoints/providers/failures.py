"""The pages of a sign-in at a provider that has failed: one sentence and one next step. No page shows what a provider wrote."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import attrs

from perimeter.errors import (
    FlowGone,
    NameConflict,
    NotAllowedHere,
    Overloaded,
    ProviderDenied,
    ProviderMisconfigured,
    ProviderUnavailable,
    Refusal,
    Rejected,
    StateUnavailable,
    Unavailable,
)
from perimeter.gate.return_path import Again
from perimeter.web.endpoints.arrival import Arrivals
from perimeter.web.endpoints.page import PageEndpoint
from perimeter.web.endpoints.providers.parts import Provider
from perimeter.web.html.cookies import manual_cookie
from perimeter.web.request import exchange_of

_NOT_SIGNED_IN: Final = "You are not signed in"


@attrs.frozen
class _Step:
    """What the user can do next: the label of a link, and where it leads."""

    label: str
    link: str


@attrs.frozen
class _Explained:
    status: int
    outcome: str
    heading: str
    text: str
    step: _Step


def refused(page: PageEndpoint, request: Any, arrivals: Arrivals, provider: Provider, to: str, refusal: Refusal) -> bytes:
    """The page for ``refusal`` in a sign-in at ``provider`` that was to lead to ``to``. It is counted."""
    explained = _explained(page.pages.prefix, provider, to, refusal)
    exchange_of(request).explain(refusal, explained.status)
    if refusal.retry_after is not None:
        request.setHeader(b"Retry-After", b"%d" % refusal.retry_after)
    request.responseHeaders.addRawHeader(b"Set-Cookie", manual_cookie())
    arrivals.note(provider.method, explained.outcome)
    return page.render_page(
        request,
        "message.html",
        explained.status,
        heading=explained.heading,
        text=explained.text,
        link=explained.step.link,
        label=explained.step.label,
    )


def _explained(prefix: str, provider: Provider, to: str, refusal: Refusal) -> _Explained:
    title, name = provider.title, refusal.attempted_user
    again = _Step("Try again", provider.start_path(prefix, to))
    another = _Step("Use another account", provider.start_path(prefix, to, Again.OTHER_USER))
    back = _Step("Back to the sign-in page", f"{prefix}/login?again={Again.OTHER_USER}&to={quote(to, safe='')}")
    match refusal:
        case FlowGone():
            text = "This sign-in was used already, or begun in another browser or a long time ago."
            return _Explained(403, "expired", _NOT_SIGNED_IN, text, attrs.evolve(again, label="Sign in"))
        case ProviderDenied():
            return _Explained(403, "denied", _NOT_SIGNED_IN, f"{title} has not signed you in.", back)
        case NotAllowedHere():
            text = f"You have signed in at {title}{f' as {name}' if name else ''}. This account may not use this site."
            return _Explained(403, "refused", "You may not use this site", text, another)
        case NameConflict():
            who = f"The user name {name}" if name else "Your user name"
            text = f"{who} belongs to another account here. If it should be yours, ask the operator of this site."
            return _Explained(403, "conflict", _NOT_SIGNED_IN, text, another)
        case ProviderMisconfigured():
            text = f"{title} does not accept this site. Its operator has to look into it: the reason is in the log."
            return _Explained(502, "misconfigured", _NOT_SIGNED_IN, text, back)
        case Overloaded():
            text = "Too many people are signing in at this moment. Try again in a few seconds."
            return _Explained(503, "overloaded", _NOT_SIGNED_IN, text, again)
        case StateUnavailable():
            text = "You cannot sign in at the moment, because your session cannot be saved. Try again in a minute."
            return _Explained(503, "unavailable", _NOT_SIGNED_IN, text, again)
        case ProviderUnavailable():
            text = f"{title} does not answer at the moment. Try again in a few minutes."
            return _Explained(503, "unavailable", _NOT_SIGNED_IN, text, again)
        case Unavailable():
            text = "What you may do here cannot be found out at the moment. Try again in a few minutes."
            return _Explained(503, "unavailable", _NOT_SIGNED_IN, text, again)
        case Rejected():
            text = f"What {title} has sent back is not valid, so you are not signed in."
            return _Explained(403, "wrong", _NOT_SIGNED_IN, text, again)
        case _:
            return _Explained(refusal.status, "failed", _NOT_SIGNED_IN, f"{refusal.phrase}.", back)

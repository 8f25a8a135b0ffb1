"""The interfaces of a plug-in that signs people in elsewhere: at an OpenID provider, for example, or by SAML.

The gateway sends the browser to the URL that `IRedirectAuthenticator.begin` returns. The provider sends it back to
`Flow.redirect_uri`, and `IRedirectAuthenticator.complete` says who the user is. The gateway keeps the flow, the session, and what
the provider gave for later; no request of a session asks a provider.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import attrs
from zope.interface import Attribute, Interface

from perimeter.config.language.option import Option
from perimeter.config.language.section import Section
from perimeter.model import Principal, discard_explanation
from perimeter.plugin.authenticator import IAuthenticator
from perimeter.plugin.services import AuthServices

Bind = Callable[[str, str, str, str], Awaitable[object]]
"""Binds a user name to an identity for good: realm, user name, issuer, subject.

Raises `perimeter.errors.NameConflict` if the name belongs to another identity, and `Unavailable`.
"""


@attrs.frozen(slots=True)
class Flow:
    """One sign-in at a provider that is under way, from one browser.

    ``provider`` is the configured name. ``redirect_uri`` is where the provider sends the browser back to. ``state``, ``nonce``
    and ``verifier`` (43 characters of base64url each) are secrets of this flow, made of the browser's cookie: the state of RFC
    6749 (section 10.12), the nonce of OpenID Connect Core (section 3.1.2.1), and the code verifier of RFC 7636. ``again`` asks
    the provider to authenticate the user anew, also if they are signed in there. ``login_hint`` is the name that the user may
    enter. ``started`` is when it began (epoch seconds). ``explain`` takes a sentence about each claim and what became of it, for
    ``perimeter login --explain``; never a secret.
    """

    provider: str
    redirect_uri: str
    state: str = attrs.field(repr=False)
    nonce: str = attrs.field(repr=False)
    verifier: str = attrs.field(repr=False)
    started: float = 0.0
    again: bool = False
    login_hint: str = ""
    explain: Callable[[str], None] = attrs.field(default=discard_explanation, eq=False, repr=False)


@attrs.frozen(slots=True)
class SignedIn:
    """Who has signed in at a provider.

    ``principal`` has the realm and the name of the user here. Their identity is ``issuer`` and ``subject``, which the provider
    never gives to another user; the gateway binds the name to it. ``sid`` is the provider's own session, or "". ``factors`` is
    how many factors the provider has checked (1 or 2), at the time ``at`` (epoch seconds). ``secret`` is what the authenticator
    wants back in `IRenews.renew` and `IEndsElsewhere.sign_out_url`: the gateway keeps it sealed under the browser's cookie.
    ``renew_after`` is when `IRenews.renew` is due (epoch seconds); 0: never. ``lifetime`` bounds the session (seconds); 0: only
    ``[login]`` does.
    """

    principal: Principal
    issuer: str
    subject: str
    sid: str = ""
    factors: int = 1
    at: float = 0.0
    secret: bytes = attrs.field(default=b"", repr=False)
    renew_after: float = 0.0
    lifetime: float = 0.0


@attrs.frozen(slots=True)
class LoggedOut:
    """A user has signed out at a provider: ``sid`` of ``subject``, or all sessions of ``subject`` if ``sid`` is "".

    ``subject`` may be "" if ``sid`` is set. ``jti`` names the message: the gateway accepts it once until ``until`` (epoch
    seconds).
    """

    subject: str
    sid: str
    jti: str
    until: float


class IRedirectAuthenticator(Interface):
    """Signs people in elsewhere."""

    name: str = Attribute("The configured name, which is a part of the paths ``start/NAME`` and ``callback/NAME``.")
    realm: str = Attribute("The realm of its users.")
    title: str = Attribute("What the button on the sign-in page calls it.")

    def begin(flow: Flow) -> Awaitable[str]:
        """The URL that the browser is sent to. Raises `perimeter.errors.ProviderUnavailable` or `ProviderMisconfigured`."""

    def complete(parameters: Mapping[str, str], flow: Flow) -> Awaitable[SignedIn]:
        """The user, from the ``parameters`` that the browser brought back; none of them came twice.

        The gateway has checked the flow and its ``state``. Raises `perimeter.errors.ProviderDenied` (the user or the provider
        said no), `NotAllowedHere` (who they are is known, and they may not come in), `ProviderUnavailable` (could not decide:
        503), `ProviderMisconfigured` (an operator has to act), `Rejected` (what came back is not good).
        """


class IRenews(IRedirectAuthenticator):
    """What else it may provide: a look at the user while their session lasts."""

    def renew(secret: bytes, subject: str) -> Awaitable[SignedIn]:
        """The user as they are known now, with a new ``secret``; ``subject`` must be the same.

        Raises `perimeter.errors.Rejected` (the provider refuses ``secret``: the session ends), `NotAllowedHere` (the user may
        not come in any more: it ends), or `Unavailable` (it goes on for a while). After an answer that was lost, `Rejected` says
        nothing about the user, since the provider may have replaced ``secret``: the session goes on for a while, too.
        """


class IEndsElsewhere(IRedirectAuthenticator):
    """What else it may provide: a page of the provider that signs the user out there."""

    def sign_out_url(secret: bytes, return_to: str, state: str) -> Awaitable[str]:
        """Its URL; the provider sends the browser to ``return_to`` afterwards. "" if there is no such page. Never raises."""


class IBackChannelLogout(IRedirectAuthenticator):
    """What else it may provide: messages of the provider about users who have signed out there."""

    def logged_out(token: str) -> Awaitable[LoggedOut]:
        """What the message says. Raises `perimeter.errors.Rejected` for a bad one, and `Unavailable`."""


class IAcceptsTokens(IRedirectAuthenticator):
    """What else it may provide: the provider's own access tokens as credentials of its users."""

    def token_authenticator(services: AuthServices, bind: Bind) -> IAuthenticator | None:
        """The authenticator for them, which is asked with `perimeter.model.BearerCredentials`; None if the section wants none.

        It must ``bind`` the name of a user before it returns the user, as a sign-in does.
        """


class Trouble(StrEnum):
    """What is wrong with a provider, or with how the gateway uses it."""

    #: something useful that it does not offer
    LACKS = "lacks"
    #: something because of which sign-ins fail
    REFUSES = "refuses"
    #: its clock and that of this machine differ
    CLOCK = "clock"


@attrs.frozen(slots=True)
class Shortcoming:
    """``message`` and ``remedy`` are sentences for the operator."""

    trouble: Trouble
    message: str
    remedy: str


class IExamined(IRedirectAuthenticator):
    """What else it may provide: a look at what the provider offers, for ``perimeter doctor``."""

    def examine(ends_elsewhere: bool) -> Awaitable[Sequence[Shortcoming]]:
        """What is wrong. ``ends_elsewhere``: the site wants a sign-out to end the user's session at the provider, too.

        Raises `perimeter.errors.ProviderUnavailable` or `ProviderMisconfigured`.
        """


class IProviderFactory(Interface):
    """One kind of `IRedirectAuthenticator`, found by ``twisted.plugin``; third parties add theirs (with ``IPlugin``)."""

    kind: str = Attribute("The word in ``type = …`` of a ``[provider]`` section.")
    options: tuple[Option[Any], ...] = Attribute("The options of the kind's own.")

    def parse(section: Section) -> Any:
        """Frozen settings from a section, as `perimeter.plugin.authenticator.IAuthenticatorFactory.parse`."""

    def build(name: str, realm: str, settings: Any, services: AuthServices) -> IRedirectAuthenticator:
        """The authenticator. It asks the provider nothing yet. Raises `perimeter.errors.StartupError`."""

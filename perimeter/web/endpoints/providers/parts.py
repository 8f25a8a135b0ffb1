"""What the endpoints of providers share, and how they ask a provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from traceback import format_tb
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote, urlsplit

import attrs
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger

from perimeter.errors import ProviderUnavailable, Refusal
from perimeter.gate.return_path import Again
from perimeter.http.cookies import SESSION_LENGTH, own_value
from perimeter.http.exchange import Exchange
from perimeter.model import AuthenticationRequest, Principal
from perimeter.oidc.flow import FlowSecrets
from perimeter.plugin.redirect import Flow, IRedirectAuthenticator
from perimeter.providers.flows import BegunFlow, StoredFlows
from perimeter.providers.pins import StoredPins
from perimeter.state.once import Claims
from perimeter.web.html.cookies import FLOWS, MANUAL

_log = Logger()

T = TypeVar("T")

LONGEST: Final = 30.0
"""Seconds that a provider's answer may take in any case; a kind of provider has a shorter time of its own."""


@attrs.frozen(eq=False)
class Provider:
    """A configured provider. ``redirect_uri`` is the URL of its callback, at which the browser comes back."""

    authenticator: IRedirectAuthenticator
    redirect_uri: str

    @property
    def name(self) -> str:
        """The configured name."""
        return str(self.authenticator.name)

    @property
    def title(self) -> str:
        """What pages call it."""
        return str(self.authenticator.title)

    @property
    def method(self) -> str:
        """The method of its sign-ins, in the metrics and in `perimeter.sessions.session.Session.proved`."""
        return f"provider:{self.name}"

    @property
    def origin(self) -> str:
        """Scheme and host of the callback, as browsers write an origin."""
        parts = urlsplit(self.redirect_uri)
        return f"{parts.scheme}://{parts.netloc}".lower().removesuffix(":443")

    def start_path(self, prefix: str, to: str, again: Again | None = None) -> str:
        """Path and query at which a sign-in at this provider begins, which leads to ``to``."""
        return f"{prefix}/start/{self.name}?to={quote(to, safe='')}{f'&again={again}' if again else ''}"

    async def ask(self, reactor: Any, question: Callable[[], Awaitable[T]]) -> T:
        """The answer to ``question``. Raises `ProviderUnavailable` if there is none within `LONGEST`, or if the plug-in fails."""
        asking: Deferred[T] = Deferred.fromCoroutine(_awaited(question))
        asking.addTimeout(LONGEST, reactor)
        try:
            return await asking
        except (Refusal, CancelledError):  # cancelled: the client has left
            raise
        except TimeoutError:
            raise ProviderUnavailable(f"provider {self.name} took longer than {LONGEST:g} s") from None
        except Exception as error:
            # Only the place: the text of an unforeseen exception may contain a secret.
            where, kind = "".join(format_tb(error.__traceback__)), type(error).__qualname__
            _log.error("Provider {name} failed with {kind}\n{where}", name=self.name, kind=kind, where=where)
            raise ProviderUnavailable(f"provider {self.name} failed with {kind}") from None


async def _awaited(question: Callable[[], Awaitable[T]]) -> T:
    return await question()


class Vouching(Protocol):
    """`perimeter.auth.chain.vouching.vouched` for the chain in use."""

    def __call__(self, provider: str, principal: Principal, request: AuthenticationRequest) -> Awaitable[Principal]:
        """The user with what augmenters add."""


@attrs.frozen(eq=False)
class ProviderParts:
    """What the endpoints of all ``providers`` are made of. ``reactor`` is the clock."""

    providers: Sequence[Provider]
    vouched: Vouching
    flows: StoredFlows
    pins: StoredPins
    claims: Claims
    reactor: Any


def flow_of(provider: Provider, begun: BegunFlow, secrets: FlowSecrets, login_hint: str = "") -> Flow:
    """The flow as the provider's plug-in sees it."""
    return Flow(
        provider.name,
        provider.redirect_uri,
        secrets.state,
        secrets.nonce,
        secrets.verifier,
        started=begun.created,
        again=begun.again,
        login_hint=login_hint,
    )


def flow_cookies(exchange: Exchange) -> Iterator[tuple[bytes, bytes]]:
    """Name and value of each flow cookie that the browser has sent."""
    cookies = exchange.head.headers.get_all(b"cookie")
    for name in FLOWS:
        value = own_value(cookies, name, SESSION_LENGTH)
        if value is not None:
            yield name, value


def is_manual(exchange: Exchange) -> bool:
    """Whether the user begins the next sign-in, and not the gateway by itself."""
    return own_value(exchange.head.headers.get_all(b"cookie"), MANUAL, 1) is not None

"""Tries a sign-in at a provider of a configuration, for ``perimeter login --provider``."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from twisted.internet.task import deferLater

from perimeter.auth.registry import installed_kinds
from perimeter.cli.exits import Exit
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.provider import ProviderSettings
from perimeter.errors import NotAllowedHere, ProviderDenied, ProviderMisconfigured, Refusal, Rejected, StartupError
from perimeter.offload import Offload
from perimeter.oidc.flow import flow_secrets
from perimeter.plugin.redirect import Flow, IRedirectAuthenticator, SignedIn
from perimeter.plugin.services import AuthServices

COOKIE_BYTES = 32

MOST_PARAMETERS = 50


class NotTheAnswer(ValueError):
    """The pasted text is not the address that the browser was sent back to; the text says why, and quotes nothing of it."""


def parameters_of(pasted: str, redirect_uri: str, state: str) -> dict[str, str]:
    """The parameters of the address ``pasted``, which must be that of the sign-in with ``state``. Raises `NotTheAnswer`."""
    address = urlsplit(pasted.strip())
    if f"{address.scheme}://{address.netloc}{address.path}" != redirect_uri:
        raise NotTheAnswer(f"the address does not begin with {redirect_uri}")
    try:
        pairs = parse_qsl(address.query, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise NotTheAnswer("the address has too many parameters") from None
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise NotTheAnswer("a parameter of the address came twice")
    if not hmac.compare_digest(parameters.get("state", "").encode("utf-8", "replace"), state.encode("ascii")):
        raise NotTheAnswer("the address belongs to another sign-in than the one that this command has begun")
    return parameters


async def try_provider(
    reactor: Any,
    site: SiteConfig,
    settings: ProviderSettings,
    redirect_uri: str,
    ask: Callable[[str], str],
    say: Callable[[str], None],
    *,
    explain: bool,
) -> Exit:
    """Sign in at the provider. ``ask`` shows a URL, blocks, and returns the address at which the browser arrived.

    The result is the exit status of the command.
    """
    offload = Offload(reactor)
    offload.start()
    try:
        factory = installed_kinds().providers[settings.kind]
        provider = factory.build(settings.name, settings.realm, settings.settings, AuthServices(reactor, offload))
        return await _sign_in(reactor, provider, redirect_uri, ask, say, explain)
    except StartupError as error:
        say(str(error))
        return Exit.UNDECIDED
    finally:
        offload.stop()


async def _sign_in(
    reactor: Any,
    provider: IRedirectAuthenticator,
    redirect_uri: str,
    ask: Callable[[str], str],
    say: Callable[[str], None],
    explain: bool,
) -> Exit:
    own = flow_secrets(secrets.token_bytes(COOKIE_BYTES))
    steps: dict[str, Any] = {"explain": lambda step: say(f"    {step}")} if explain else {}
    flow = Flow(provider.name, redirect_uri, own.state, own.nonce, own.verifier, started=reactor.seconds(), **steps)
    try:
        pasted = ask(await provider.begin(flow))
        # `ask` has blocked: connections that the provider has closed meanwhile must be noticed before the next question
        await deferLater(reactor, 0)
        _tell(await provider.complete(parameters_of(pasted, redirect_uri, own.state), flow), say)
    except NotTheAnswer as error:
        say(f"login fails: {error}")
        return Exit.NO
    except Refusal as error:
        say(f"login fails: {_reason(error)}")
        return (
            Exit.NO if isinstance(error, Rejected | ProviderDenied | NotAllowedHere | ProviderMisconfigured) else Exit.UNDECIDED
        )
    return Exit.DONE


def _reason(error: Refusal) -> str:
    who = f"user {error.attempted_user!r}: " if error.attempted_user else ""
    return f"{who}{error.detail or error.phrase}"


def _tell(found: SignedIn, say: Callable[[str], None]) -> None:
    principal = found.principal
    say(f"user {principal.username!r} of realm {principal.realm}, roles: {', '.join(principal.roles) or 'none'}")
    for name, value in principal.attributes.items():
        say(f"attribute {name} = {value!r}")
    say(f"identity: {found.subject!r} of {found.issuer}; the first sign-in at the gateway binds the user name to it")
    say(f"factors that the provider has checked: {found.factors}")
    say("login succeeds")

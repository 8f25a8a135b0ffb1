"""Tries a user name and a password on the authenticators of a configuration, for ``perimeter login``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.cli.exits import Exit
from perimeter.config.site.config import SiteConfig
from perimeter.errors import Rejected, StartupError, Unavailable
from perimeter.model import AuthenticationRequest, BasicCredentials
from perimeter.offload import Offload
from perimeter.plugin.authenticator import Scheme
from perimeter.plugin.services import AuthServices
from perimeter.run.build.authentication import authenticators_of, prepared_authenticators


async def try_login(
    reactor: Any, site: SiteConfig, credentials: BasicCredentials, realms: frozenset[str], say: Callable[[str], None]
) -> Exit:
    """Build the chain, and ask it. The result is the exit status of the command."""
    offload = Offload(reactor)
    offload.start()
    timeouts = {one.name: one.timeout for one in site.authenticators if one.timeout is not None}
    try:
        authenticators = authenticators_of(site, prepared_authenticators(site, AuthServices(reactor, offload)))
        chain = AuthenticatorChain(authenticators, site.authentication.timeout, 0, reactor, timeouts=timeouts)
    except StartupError as error:
        offload.stop()
        say(str(error))
        return Exit.UNDECIDED
    chain.start()
    try:
        return await _walk(chain, credentials, AuthenticationRequest("", realms, explain=lambda step: say(f"    {step}")), say)
    finally:
        chain.stop()
        offload.stop()


async def _walk(
    chain: AuthenticatorChain, credentials: BasicCredentials, request: AuthenticationRequest, say: Callable[[str], None]
) -> Exit:
    if not credentials.username or not credentials.password:
        say("refused: an empty user name or password is shown to no authenticator (RFC 4513, section 5.1.2)")
        return Exit.NO
    concerned = chain.concerned(credentials, request)
    for one in chain.guarded:
        if one not in concerned:
            reason = "takes no passwords" if Scheme.BASIC not in one.schemes else "its realm is not asked for"
            say(f"{one.name}: not asked, {reason}")
            continue
        say(f"{one.name} (realm {one.realm}, at most {one.timeout:g} s):")
        try:
            principal = await one.ask(credentials, request)
        except Rejected as error:
            say(f"    refused: {error.detail or error.phrase}")
            say(f"login fails: {one.name} found the password wrong, so no other authenticator is asked")
            return Exit.NO
        except Unavailable as error:
            say(f"    could not decide: {error.detail or error.phrase}")
            say("login fails with 503: if one authenticator cannot be asked, the next ones are not asked either")
            return Exit.UNDECIDED
        if principal is not None:
            say(f"    user {principal.username!r} of realm {principal.realm}, roles: {', '.join(principal.roles) or 'none'}")
            for name, value in principal.attributes.items():
                say(f"    attribute {name} = {value!r}")
            if request.realms and one.realm not in request.realms:
                say("    --realm excludes this user: the next one is asked")
                continue
            say("login succeeds")
            return Exit.DONE
        say("    does not know the user: the next one is asked")
    say("login fails: no authenticator knows this user")
    return Exit.NO

"""``perimeter login``: try a name and a password on the authenticators of a configuration, and tell each step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perimeter.audit.escaping import escape_line
from perimeter.cli.site import config_option, explained, read_site
from perimeter.errors import Rejected, StartupError, Unavailable
from perimeter.model import AuthenticationRequest, BasicCredentials

if TYPE_CHECKING:
    from perimeter.auth.chain.chain import AuthenticatorChain
    from perimeter.config.site.config import SiteConfig

WRONG, UNSURE = 1, 2
"""Exit statuses: nobody vouches, and somebody could not tell."""


@click.command("login")
@config_option
@click.option("--user", required=True, metavar="NAME", help="Who logs in.")
@click.option("--realm", "realms", multiple=True, metavar="REALM", help="Ask for this realm only; may be given several times.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from the first line of standard input.")
def command(file: Path, user: str, realms: tuple[str, ...], from_stdin: bool) -> None:
    """Ask the authenticators in their order who NAME is, as the gateway would, and say what each of them does.

    Ends with 0 where the login succeeds, with 1 where it does not, and with 2 where an authenticator cannot be asked. Wrong
    passwords are not counted, and nothing that is printed holds the password.
    """
    with explained():
        site = read_site(file)
    password = sys.stdin.readline().rstrip("\r\n") if from_stdin else click.prompt("Password", hide_input=True, err=True)

    def say(line: str) -> None:
        if len(password) > 3 and password not in user:  # the last net: no step should hold it
            line = line.replace(password, "********")
        click.echo(escape_line(line))

    # Late, so that other commands need no reactor.
    from twisted.internet.defer import Deferred
    from twisted.internet.task import react

    def main(reactor: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(_try(reactor, site, BasicCredentials(user, password), frozenset(realms), say))

    react(main, ())


async def _try(
    reactor: Any, site: SiteConfig, credentials: BasicCredentials, realms: frozenset[str], say: Callable[[str], None]
) -> None:
    """Build the chain, ask it, and end the process with the status of the outcome."""
    from perimeter.auth.chain.chain import AuthenticatorChain
    from perimeter.offload import Offload
    from perimeter.plugin.services import AuthServices
    from perimeter.run.build.authentication import authenticators_of

    offload = Offload(reactor)
    offload.start()
    timeouts = {one.name: one.timeout for one in site.authenticators if one.timeout is not None}
    try:
        authenticators = authenticators_of(site, AuthServices(reactor, offload))
        chain = AuthenticatorChain(authenticators, site.authentication.timeout, 0, reactor, timeouts=timeouts)
    except StartupError as error:
        say(str(error))
        raise SystemExit(UNSURE) from None
    chain.start()
    try:
        status = await _walk(chain, credentials, AuthenticationRequest("", realms, explain=lambda step: say(f"    {step}")), say)
    finally:
        chain.stop()
        offload.stop()
    raise SystemExit(status)


async def _walk(
    chain: AuthenticatorChain, credentials: BasicCredentials, request: AuthenticationRequest, say: Callable[[str], None]
) -> int:
    if not credentials.username or not credentials.password:
        say("refused: an empty user name or password is shown to nobody (RFC 4513, section 5.1.2)")
        return WRONG
    for one in chain.asked:
        if not one.wants(credentials, request):
            reason = "takes no passwords" if "basic" not in one.schemes else "its realm is not asked for"
            say(f"{one.name}: not asked, {reason}")
            continue
        say(f"{one.name} (realm {one.realm}, at most {one.timeout:g} s):")
        try:
            principal = await one.ask(credentials, request)
        except Rejected as error:
            say(f"    refused: {error.detail or error.phrase}")
            say(f"login fails: {one.name} knows the password to be wrong, and nobody else is asked")
            return WRONG
        except Unavailable as error:
            say(f"    could not tell: {error.detail or error.phrase}")
            say("login fails with 503: what one authenticator cannot tell is not asked of the next")
            return UNSURE
        if principal is not None:
            say(f"    user {principal.username!r} of realm {principal.realm}, roles: {', '.join(principal.roles) or 'none'}")
            for name, value in principal.attributes.items():
                say(f"    attribute {name} = {value!r}")
            say("login succeeds")
            return 0
        say("    does not know the user: the next one is asked")
    say("login fails: nobody knows this user")
    return WRONG

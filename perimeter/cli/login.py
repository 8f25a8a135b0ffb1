"""``perimeter login``: try a user name and a password on the authenticators of a configuration, and print each step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perimeter.audit.escaping import escape_line
from perimeter.cli.site import config_option, explained, read_site, realms_exist
from perimeter.errors import Rejected, StartupError, Unavailable
from perimeter.model import AuthenticationRequest, BasicCredentials
from perimeter.plugin.authenticator import Scheme

if TYPE_CHECKING:
    from perimeter.auth.chain.chain import AuthenticatorChain
    from perimeter.config.site.config import SiteConfig

WRONG, UNSURE = 1, 2
"""Exit statuses: no authenticator accepts the login, and one of them cannot be asked."""


@click.command("login")
@config_option
@click.option("--user", required=True, metavar="NAME", help="The user name.")
@click.option(
    "--realm",
    "realms",
    multiple=True,
    metavar="REALM",
    help="Exclude users of other realms, as X-Auth-Realm does; may be given several times.",
)
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from the first line of standard input.")
def command(file: Path, user: str, realms: tuple[str, ...], from_stdin: bool) -> None:
    """Ask the authenticators in their order who NAME is, as the gateway would, and say what each of them does.

    Ends with 0 if the login succeeds, with 1 if it fails, and with 2 if an authenticator cannot be asked. Wrong passwords are not
    counted. The password is never printed.
    """
    with explained():
        site = read_site(file)
    realms_exist(site, realms)
    password = sys.stdin.readline().rstrip("\r\n") if from_stdin else click.prompt("Password", hide_input=True, err=True)

    def say(line: str) -> None:
        # No step holds the password. A search for it would only show where its letters are in these words.
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
    """Build the chain, ask it, and end the process with the exit status."""
    from perimeter.auth.chain.chain import AuthenticatorChain
    from perimeter.offload import Offload
    from perimeter.plugin.services import AuthServices
    from perimeter.run.build.authentication import authenticators_of, prepared_authenticators

    offload = Offload(reactor)
    offload.start()
    timeouts = {one.name: one.timeout for one in site.authenticators if one.timeout is not None}
    try:
        authenticators = authenticators_of(site, prepared_authenticators(site, AuthServices(reactor, offload)))
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
        say("refused: an empty user name or password is shown to no authenticator (RFC 4513, section 5.1.2)")
        return WRONG
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
            return WRONG
        except Unavailable as error:
            say(f"    could not decide: {error.detail or error.phrase}")
            say("login fails with 503: if one authenticator cannot be asked, the next ones are not asked either")
            return UNSURE
        if principal is not None:
            say(f"    user {principal.username!r} of realm {principal.realm}, roles: {', '.join(principal.roles) or 'none'}")
            for name, value in principal.attributes.items():
                say(f"    attribute {name} = {value!r}")
            if request.realms and one.realm not in request.realms:
                say("    --realm excludes this user: the next one is asked")
                continue
            say("login succeeds")
            return 0
        say("    does not know the user: the next one is asked")
    say("login fails: no authenticator knows this user")
    return WRONG

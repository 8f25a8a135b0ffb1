"""``perimeter login``: try a sign-in on the authenticators or at a provider of a configuration, and print each step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perimeter.cli.exits import Exit
from perimeter.cli.on_reactor import on_reactor
from perimeter.cli.site import config_option, explained, json_option, print_json, read_site, realms_exist

if TYPE_CHECKING:
    from perimeter.config.site.config import SiteConfig

_RESULTS = {Exit.DONE: "succeeds", Exit.NO: "fails", Exit.UNDECIDED: "undecided"}


@click.command("login")
@config_option
@click.option("--user", metavar="NAME", help="The user name.")
@click.option(
    "--realm",
    "realms",
    multiple=True,
    metavar="REALM",
    help="Exclude users of other realms, as X-Auth-Realm does; may be given several times.",
)
@click.option("--provider", metavar="NAME", help="Sign in at this [provider] instead, in a browser.")
@click.option("--explain", is_flag=True, help="With --provider: print the claims, and what became of them.")
@json_option
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from the first line of standard input.")
def command(
    file: Path,
    user: str | None,
    realms: tuple[str, ...],
    provider: str | None,
    explain: bool,
    as_json: bool,
    from_stdin: bool,
) -> None:
    """Verify NAME and a password with the authenticators in their order, as the gateway does, and print each step.

    Wrong passwords are not counted, no secret is printed, and no gateway has to run. The exit status is 0 if the login succeeds,
    1 if it fails, and 5 if an authenticator or the provider did not answer.

    With --provider, the command prints an address. Open it in a browser, sign in, and paste the address at which the browser
    arrives, which begins with the redirect URI of the provider. The page that the gateway shows there does not matter.
    """
    if (user is None) == (provider is None):
        raise click.UsageError("Use either --user NAME or --provider NAME.")
    if provider is not None and (realms or from_stdin):
        raise click.UsageError("--realm and --stdin are only for --user NAME.")
    if explain and provider is None:
        raise click.UsageError("--explain is only for --provider NAME.")
    with explained():
        site = read_site(file)
    steps: list[str] = []
    say = _printer(steps, as_json)
    status = (
        _at_provider(site, provider, explain, say)
        if provider is not None
        else _with_password(site, user or "", realms, from_stdin, say)
    )
    if as_json:
        print_json({"result": _RESULTS[status], "steps": steps})
    sys.exit(status)


def _printer(steps: list[str], as_json: bool) -> Callable[[str], None]:
    """Prints each step, or with ``as_json`` adds it to ``steps``."""
    from perimeter.audit.escaping import escape_line

    def say(line: str) -> None:
        # No step holds the password. A search for it would only show where its letters are in these words.
        if as_json:
            steps.append(line)
        else:
            click.echo(escape_line(line))

    return say


def _with_password(site: SiteConfig, user: str, realms: tuple[str, ...], from_stdin: bool, say: Callable[[str], None]) -> Exit:
    realms_exist(site, realms)
    password = sys.stdin.readline().rstrip("\r\n") if from_stdin else click.prompt("Password", hide_input=True, err=True)
    from perimeter.cli.trying import try_login
    from perimeter.model import BasicCredentials

    credentials = BasicCredentials(user, password)
    return on_reactor(lambda reactor: try_login(reactor, site, credentials, frozenset(realms), say), Exit.NO)


def _at_provider(site: SiteConfig, name: str, explain: bool, say: Callable[[str], None]) -> Exit:
    settings = next((one for one in site.providers if one.name == name), None)
    if settings is None:
        known = ", ".join(one.name for one in site.providers) or "none"
        raise click.BadParameter(f"there is no [provider {name}]; the providers are: {known}", param_hint="--provider")
    from perimeter.cli.trying_provider import try_provider
    from perimeter.config.site.provider_pages import callback_uri

    uri = callback_uri(site, settings)
    if not uri:
        raise click.UsageError(f"[provider {name}] also needs redirect_uri, or host of [login], to be used in a browser.")
    return on_reactor(lambda reactor: try_provider(reactor, site, settings, uri, _arrival, say, explain=explain), Exit.NO)


def _arrival(url: str) -> str:
    """Show ``url``, and return the address at which the browser arrived after the sign-in there."""
    click.echo(f"Open this address in a browser, and sign in:\n{url}", err=True)
    try:
        pasted: str = click.prompt("The address at which the browser arrives", err=True)
    except click.Abort:  # an exception would be shown with its traceback by the reactor
        return ""
    return pasted

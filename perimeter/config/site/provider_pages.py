"""What providers need of the gateway's own pages, and the URL to which a provider sends browsers back."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import attrs

from perimeter.config.language.datatypes import closest
from perimeter.config.language.section import Section
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.listener import Serve
from perimeter.config.site.login import LoginSettings
from perimeter.config.site.perimeter import StateKind
from perimeter.config.site.provider import ProviderSettings


def callback_path(config: SiteConfig, provider: ProviderSettings) -> str:
    """The path of the provider's callback."""
    return f"{config.login.path}/callback/{provider.name}"


def callback_uri(config: SiteConfig, provider: ProviderSettings) -> str:
    """The URL of the provider's callback; "" if no host is known. The Host of a request never decides on it (attack O1)."""
    if provider.redirect_uri:
        return provider.redirect_uri
    if not config.login.host:
        return ""
    ports = [one.port for one in config.listeners if one.serve is Serve.GATEWAY and one.tls and not one.socket_path]
    port = "" if not ports or 443 in ports else f":{ports[0]}"
    return f"https://{config.login.host}{port}{callback_path(config, provider)}"


def check(config: SiteConfig, providers: Sequence[Section], login: Section) -> None:
    """Report contradictions between ``[provider]`` and ``[login]``."""
    for provider, section in zip(config.providers, providers, strict=True):
        _callback(config, provider, section)
    automatic = attrs.fields(LoginSettings).automatic
    names = [provider.name for provider in config.providers]
    if config.login.automatic and config.login.automatic not in names:
        name = login.bare(automatic, config.login.automatic)
        login.problem(automatic, f"there is no [provider {name}]", closest(config.login.automatic, names))


def _callback(config: SiteConfig, provider: ProviderSettings, section: Section) -> None:
    option = attrs.fields(ProviderSettings).redirect_uri
    if section.faulty(option):
        return
    path = callback_path(config, provider)
    if not provider.redirect_uri:
        if config.signs_people_in and not config.login.host:
            section.problem(option, f"is needed where people sign in: https://HOST{path}, as it is registered at the provider")
        return
    parts = urlsplit(provider.redirect_uri)
    if parts.scheme != "https":
        section.problem(option, "expected https: a browser keeps the cookies of a sign-in for https only")
    elif config.login.host and parts.hostname != config.login.host.lower():
        section.problem(option, f"is not on the host of the sign-in page, {config.login.host}: see host of [login]")
    elif parts.path != path:
        section.problem(option, "is not the path of this provider's callback", f"https://{parts.netloc}{path}")


def warnings(config: SiteConfig) -> list[str]:
    """What an operator should know."""
    found = []
    unused = [provider.name for provider in config.providers if not getattr(provider.settings, "bearer", False)]
    if unused and not config.signs_people_in:
        names = ", ".join(unused)
        found.append(f"people cannot sign in at provider {names}: no route has browser_login = yes")
    if config.providers and config.perimeter.state is StateKind.MEMORY:
        found.append(
            "[perimeter] state = memory: after each start, a user name belongs to the first account of a provider that signs in "
            "with it"
        )
    return found + [
        f"[provider {one.name}]: with refresh = 0, a role that the provider takes away, and a user whom it disables, count until "
        "the session ends (lifetime of [login]): set refresh, or a shorter lifetime here"
        for one in config.providers
        if getattr(one.settings, "refresh", None) == 0 and not getattr(one.settings, "lifetime", 0)  # of a kind's own options
    ]

"""Asks the providers at which people sign in what they offer, on a reactor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from perimeter.auth.registry import installed_kinds
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.provider import Logout, ProviderSettings
from perimeter.doctor.finding import Finding, Grade, Name
from perimeter.errors import ProviderMisconfigured, Refusal, StartupError
from perimeter.plugin.authenticator import IProbe
from perimeter.plugin.redirect import IExamined, IRedirectAuthenticator, Shortcoming, Trouble
from perimeter.plugin.services import AuthServices

_NAMES = {
    Trouble.LACKS: (Name.PROVIDER_LACKS, Grade.ADVICE),
    Trouble.REFUSES: (Name.PROVIDER_REFUSES, Grade.FAILS),
    Trouble.CLOCK: (Name.CLOCK_DIFFERS, Grade.FAILS),
}


async def see(config: SiteConfig, services: AuthServices) -> list[Finding]:
    """Providers that do not answer, that the configuration does not fit, or that lack something."""
    kinds = installed_kinds()
    asked = []
    for settings in config.providers:
        try:
            built = kinds.providers[settings.kind].build(settings.name, settings.realm, settings.settings, services)
        except StartupError:
            continue  # a fault of the configuration, which another look reports
        asked.append(Deferred.fromCoroutine(_examined(settings, built)))
    answers = await DeferredList(asked, consumeErrors=True)
    return [finding for success, several in answers if success for finding in several]


async def _examined(settings: ProviderSettings, provider: IRedirectAuthenticator) -> list[Finding]:
    look: Any = provider
    try:
        if IExamined.providedBy(provider):
            return list(_findings(settings, await look.examine(settings.logout is Logout.PROVIDER)))
        if IProbe.providedBy(provider):
            await look.probe()
    except ProviderMisconfigured as error:
        remedy = "correct the section, or the client at the provider; perimeter login --provider tries a sign-in"
        return [Finding(Name.PROVIDER_REFUSES, Grade.FAILS, _place(settings), error.detail, remedy)]
    except Refusal as error:
        remedy = "start the provider, or let this machine connect to it; other ways to sign in work meanwhile"
        return [Finding(Name.PROVIDER_DOWN, Grade.FAILS, _place(settings), error.detail, remedy)]
    return []


def _findings(settings: ProviderSettings, found: Any) -> Iterator[Finding]:
    one: Shortcoming
    for one in found:
        name, grade = _NAMES[one.trouble]
        yield Finding(name, grade, _place(settings), one.message, one.remedy)


def _place(settings: ProviderSettings) -> str:
    return f"[provider {settings.name}]"

"""Builds one configured authenticator, augmenter or provider by the factory of its kind, and verifies what the factory has
made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.logger import Logger
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from perimeter.config.site.augmenter import AugmenterSettings
from perimeter.config.site.authenticator import AuthenticatorSettings
from perimeter.config.site.provider import ProviderSettings
from perimeter.errors import StartupError
from perimeter.plugin.augmenter import IAugmenter, IAugmenterFactory
from perimeter.plugin.authenticator import IAuthenticator, IAuthenticatorFactory
from perimeter.plugin.redirect import IProviderFactory, IRedirectAuthenticator
from perimeter.plugin.services import AuthServices

_log = Logger()


def build_authenticator(
    settings: AuthenticatorSettings, factories: Mapping[str, IAuthenticatorFactory], services: AuthServices
) -> IAuthenticator:
    """The authenticator of ``settings``. Blocks while it reads its files. Raises `StartupError`."""
    authenticator: IAuthenticator = _built("authenticator", IAuthenticator, settings, factories[settings.kind], services)
    return authenticator


def build_augmenter(settings: AugmenterSettings, factory: IAugmenterFactory, services: AuthServices) -> IAugmenter:
    """The augmenter of ``settings``. Raises `StartupError`."""
    augmenter: IAugmenter = _built("augmenter", IAugmenter, settings, factory, services)
    return augmenter


def build_provider(settings: ProviderSettings, factory: IProviderFactory, services: AuthServices) -> IRedirectAuthenticator:
    """The provider of ``settings``, which is asked nothing yet. Raises `StartupError`."""
    provider: IRedirectAuthenticator = _built("provider", IRedirectAuthenticator, settings, factory, services)
    return provider


def _built(
    word: str,
    interface: Any,
    settings: AuthenticatorSettings | AugmenterSettings | ProviderSettings,
    factory: IAuthenticatorFactory | IAugmenterFactory | IProviderFactory,
    services: AuthServices,
) -> Any:
    place = f"{settings.file}: [{word} {settings.name}] type = {settings.kind}"
    try:
        made = factory.build(settings.name, settings.realm, settings.settings, services)
    except StartupError:
        raise
    except Exception as error:
        _log.failure("{word} {name} cannot be built", word=word, name=settings.name)
        raise StartupError(f"{place} cannot be built: {type(error).__name__}") from error
    try:
        verifyObject(interface, made)
    except Invalid as error:
        raise StartupError(f"{place} cannot be used: {' '.join(str(error).split())}") from None
    return made

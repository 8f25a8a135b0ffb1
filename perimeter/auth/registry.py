"""The kinds of authenticator that are installed: the built-in ones and those of third parties, found by ``twisted.plugin``."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.plugin import getPlugins
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from perimeter.errors import StartupError
from perimeter.plugin.authenticator import IAuthenticatorFactory


def authenticator_factories(plugins: Iterable[object] | None = None) -> dict[str, IAuthenticatorFactory]:
    """The factory of each kind, by the word in ``type = …``. ``plugins`` stands in for what is installed.

    Raises `StartupError` for a plug-in that does not fulfil `IAuthenticatorFactory` and for two of one kind: which of them would
    let people in must not hang on the order of a directory.
    """
    found = getPlugins(IAuthenticatorFactory) if plugins is None else plugins
    factories: dict[str, IAuthenticatorFactory] = {}
    for plugin in found:
        factory = _verified(plugin)
        if factory.kind in factories:
            both = f"{_origin(factories[factory.kind])} and {_origin(plugin)}"
            raise StartupError(f"two authenticator plug-ins are of the kind {factory.kind!r}: {both}")
        factories[factory.kind] = factory
    return factories


def _verified(plugin: object) -> IAuthenticatorFactory:
    try:
        verifyObject(IAuthenticatorFactory, plugin)
    except Invalid as error:
        fault = " ".join(str(error).split())
        raise StartupError(f"the authenticator plug-in {_origin(plugin)} cannot be used: {fault}") from None
    assert IAuthenticatorFactory.providedBy(plugin)
    if not isinstance(plugin.kind, str) or not plugin.kind:
        raise StartupError(f"the authenticator plug-in {_origin(plugin)} cannot be used: its kind is no text")
    return plugin


def _origin(plugin: object) -> str:
    return f"{type(plugin).__module__}.{type(plugin).__qualname__}"

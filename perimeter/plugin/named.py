"""A factory of a plug-in that is imported only by a site that uses it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from twisted.plugin import IPlugin
from twisted.python.reflect import namedAny
from zope.interface import directlyProvides
from zope.interface.interface import InterfaceClass


class NamedFactory:
    """The factory of ``kind``, which is imported when a site uses the kind.

    ``maker`` is the full name of what returns the factory when it is called without arguments, such as its class. ``interface``
    is one of `IAuthenticatorFactory`, `IAugmenterFactory`, `ILoginModuleFactory` and `IProviderFactory`. This object claims it,
    because ``twisted.plugin`` searches by interfaces; what has the methods is `factory`.
    """

    def __init__(self, interface: InterfaceClass, kind: str, maker: str) -> None:
        self.kind = kind
        self.maker = maker
        directlyProvides(self, IPlugin, interface)

    @cached_property
    def factory(self) -> Any:
        """The factory, always the same. Raises whatever its module raises when it is imported."""
        return namedAny(self.maker)()

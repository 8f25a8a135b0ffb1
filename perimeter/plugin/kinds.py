"""The kinds of plug-in that a site.ini can name by ``type = …``."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from perimeter.plugin.augmenter import IAugmenterFactory
from perimeter.plugin.authenticator import IAuthenticatorFactory
from perimeter.plugin.redirect import IProviderFactory


@attrs.frozen
class PluginKinds:
    """The factory of each kind, by its word."""

    authenticators: Mapping[str, IAuthenticatorFactory]
    augmenters: Mapping[str, IAugmenterFactory]
    providers: Mapping[str, IProviderFactory] = attrs.field(factory=dict)

"""The kinds of provider that come with Perimeter, for ``twisted.plugin`` to find. Nothing else."""

from perimeter.plugin.named import NamedFactory
from perimeter.plugin.redirect import IProviderFactory

oidc = NamedFactory(IProviderFactory, "oidc", "perimeter.oidc.kind.OidcFactory")
oauth2 = NamedFactory(IProviderFactory, "oauth2", "perimeter.oidc.oauth2_kind.OAuth2Factory")

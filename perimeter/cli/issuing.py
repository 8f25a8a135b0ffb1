"""Access tokens that commands issue with the key of the gateway."""

from __future__ import annotations

import click

from perimeter.cli.site import WallClock, explained
from perimeter.config.site.config import SiteConfig
from perimeter.errors import InternalError, Unavailable
from perimeter.model import Principal
from perimeter.tokens.issuer import TokenIssuer
from perimeter.tokens.keyring import Keyring


def access_token(site: SiteConfig, principal: Principal, lifetime: float | None) -> str:
    """A token for ``principal``, for ``lifetime`` seconds or the lifetime of ``[token]``. Raises `click.ClickException`."""
    with explained():
        clock, shared = WallClock(), site.perimeter.shares_state
        issuer = TokenIssuer(Keyring.open(site.perimeter.state_dir, site.token, clock, shared=shared), site.token, clock)
        try:
            return issuer.issue(principal, site.token.lifetime if lifetime is None else lifetime).access_token
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--lifetime") from None
        except (InternalError, Unavailable) as error:
            raise click.ClickException(error.detail) from None

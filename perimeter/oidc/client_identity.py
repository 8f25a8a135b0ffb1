"""Options by which the gateway is a client of a provider, and authenticates there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from perimeter.auth.kinds.remote.settings import RemoteSettings
from perimeter.config.language.datatypes import SECRET, TEXT, one_of, optional
from perimeter.config.language.option import option
from perimeter.config.language.section import Section
from perimeter.oidc.client_method import ClientMethod

if TYPE_CHECKING:
    from perimeter.oidc.client_auth import ClientAuth
    from perimeter.tokens.jwk import Jwk


@attrs.frozen(kw_only=True, slots=False)
class ClientIdentity(RemoteSettings):
    """``client_auth`` is None if it follows from the secret or the key.

    Without slots, so that the settings of a kind may have another base class beside this one.
    """

    client_id: str = option(TEXT, "the gateway's client name at the provider")
    client_secret: str = option(SECRET, "secret of `client_id`", default="")
    client_key: str = option(
        SECRET, "private key of `client_id` instead of a secret: a JWK, or PEM without a password", default=""
    )
    client_auth: ClientMethod | None = option(
        optional(one_of(ClientMethod)),
        "how the gateway authenticates at the provider; not set: `basic` with a secret, `private_key_jwt` with a key, "
        "else `none`",
        default="",
    )

    def check(self, section: Section) -> None:
        """See `Settings.check`."""
        super().check(section)
        its = attrs.fields(ClientIdentity)
        needs = {
            ClientMethod.BASIC: its.client_secret,
            ClientMethod.POST: its.client_secret,
            ClientMethod.PRIVATE_KEY: its.client_key,
        }
        needed = needs.get(self.method)
        if section.given(its.client_secret) and section.given(its.client_key):
            section.problem(its.client_key, "set either client_secret or client_key, not both")
        elif needed is not None and not section.given(needed):
            section.problem(its.client_auth, f"{self.method} also needs {needed.name}")
        else:
            others = [one for one in (its.client_secret, its.client_key) if one != needed]
            section.refuse(others, f"has no effect with client_auth = {self.method}")
        self._check_key(section)

    def _check_key(self, section: Section) -> None:
        from perimeter.tokens.jwk import BadKey

        its = attrs.fields(ClientIdentity)
        if self.client_key and not section.faulty(its.client_key):
            try:
                self.key()
            except BadKey as error:
                section.problem(its.client_key, str(error))

    @property
    def method(self) -> ClientMethod:
        """How the gateway authenticates at the provider."""
        if self.client_auth is not None:
            return self.client_auth
        if self.client_key:
            return ClientMethod.PRIVATE_KEY
        return ClientMethod.BASIC if self.client_secret else ClientMethod.NONE

    def key(self) -> Jwk | None:
        """The private key, or None. Raises `perimeter.tokens.jwk.BadKey`."""
        from perimeter.oidc.client_auth import private_key

        return private_key(self.client_key) if self.client_key else None

    def authentication(self) -> ClientAuth:
        """How the gateway authenticates at the provider."""
        from perimeter.oidc.client_auth import client_auth

        return client_auth(self.method, self.client_id, self.client_secret, self.key())

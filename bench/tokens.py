"""Issues access tokens for the run's users with the gateway's own code."""

from __future__ import annotations

import time
from pathlib import Path

import attrs
from cryptography.hazmat.primitives import serialization

from bench.errors import BenchError
from bench.material import REALM, ROLES, USER
from perimeter.config.site.token import TokenSettings
from perimeter.model import Principal
from perimeter.tokens.issuer import TokenIssuer
from perimeter.tokens.keyring import Keyring


class _Clock:
    """The system clock."""

    def seconds(self) -> float:
        """Seconds since the epoch."""
        return time.time()


@attrs.frozen
class Mint:
    """A state directory with a signing key. Gateways that get a copy of it accept the tokens."""

    state: Path
    _keyring: Keyring
    _issuer: TokenIssuer
    _lifetime: float

    @classmethod
    def open(cls, state: Path) -> Mint:
        """Make a new key."""
        state.mkdir(mode=0o700)
        settings = TokenSettings()
        keyring = Keyring.open(state, settings, _Clock())
        return cls(state, keyring, TokenIssuer(keyring, settings, _Clock()), settings.lifetime)

    def token(self, user: str = USER) -> str:
        """A token for a user."""
        return self._issuer.issue(Principal(user, REALM, ROLES), self._lifetime).access_token

    def public_key(self) -> bytes:
        """The public key that verifies the tokens, as PEM. Raises `BenchError` if the gateway does not sign with a key pair."""
        key = self._keyring.verification_key(self._keyring.signing_key.kid)
        if key is None or isinstance(key.key, bytes):
            raise BenchError("the gateway does not sign with a key pair")
        encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return key.key.public_bytes(encoding, form)

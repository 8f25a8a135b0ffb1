"""A keyring, issuer and verifier on a fake clock, and forged tokens, for the tests of perimeter.tokens."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from jwt.algorithms import get_default_algorithms
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.config.site.token import TokenSettings
from perimeter.errors import ForeignToken, InvalidToken, UnknownKey
from perimeter.model import Principal
from perimeter.secrets_key import SecretsKey
from perimeter.tokens.check import TokenCheck
from perimeter.tokens.issuer import TokenIssuer
from perimeter.tokens.keyring import Keyring, SigningKey
from perimeter.tokens.verifier import TokenVerifier

CHECK = TokenCheck(SecretsKey(bytes(range(32))))
NOW = 1_800_000_000.25
SECRET = "a secret of more than thirty-two bytes"
ALICE = Principal(
    "alice", "local", ("admin", "dev"), "local", attributes={"mail": "a@example.com"}, scopes={"data": ("read", "write")}
)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token, unverified."""
    header, claims, _ = token.split(".")
    return json.loads(unb64(header)), json.loads(unb64(claims))


def sign(header: str | dict[str, Any], claims: str | dict[str, Any], algorithm: str, key: Any) -> str:
    """A token of any header and claims (objects, or text to go in as it is), correctly signed."""
    texts = [part if isinstance(part, str) else json.dumps(part) for part in (header, claims)]
    signed = ".".join(b64(text.encode()) for text in texts)
    signature = get_default_algorithms()[algorithm].sign(signed.encode(), key)
    return f"{signed}.{b64(signature)}"


class TokenCase(TestCase):
    """A gateway's tokens in a directory of its own."""

    settings = TokenSettings()

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.state_dir = Path(self.mktemp()).absolute() / "var"
        self.use(self.settings)

    def use(self, settings: TokenSettings) -> None:
        """Open the keyring with these settings, as a restart does."""
        self.settings = settings
        self.keyring = Keyring.open(self.state_dir, settings, self.clock)
        self.issuer = TokenIssuer(self.keyring, settings, self.clock)
        self.verifier = TokenVerifier(self.keyring, settings, self.clock)

    @property
    def key(self) -> SigningKey:
        return self.keyring.signing_key

    def token(self, lifetime: float = 3600.0) -> str:
        return self.issuer.issue(ALICE, lifetime).access_token

    def forge(self, header: dict[str, Any] | None = None, claims: dict[str, Any] | None = None, *, drop: str = "") -> str:
        """A token with our own signature on a changed header or changed claims: worse than any attacker can do."""
        old_header, old_claims = parts(self.token())
        changed = {**old_claims, **(claims or {})}
        changed.pop(drop, None)
        return sign({**old_header, **(header or {})}, changed, self.key.algorithm, self.key.key)

    def refused(self, token: str, detail: str) -> None:
        """The token is refused as invalid, never as expired, and for this reason."""
        error = self.assertRaises(InvalidToken, self.verifier.verify, token)
        self.assertIn(type(error), (InvalidToken, ForeignToken, UnknownKey))
        self.assertIn(detail, error.detail)

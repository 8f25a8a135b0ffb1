"""The keys that sign and verify tokens, and their rotation.

A key's life: published a while before it signs (so that every cached copy of the set contains it), signing for
``key_lifetime``, then verifying until the last token that it can have signed has expired. With HS256 the configured secret
signs, and keys in the file only go on verifying. `perimeter.tokens.key_file` stores them on disk.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
from jwt import PyJWTError
from jwt.algorithms import get_default_algorithms

from perimeter.config.site.token import MIN_SECRET, Algorithm, TokenSettings
from perimeter.errors import StartupError
from perimeter.tokens.format import EpochClock
from perimeter.tokens.jwk import PrivateKey, PublicKey, generate
from perimeter.tokens.key_file import KeyEntry, KeyFile, KeyState, Version

#: seconds that a retired key is kept after its last token has expired: another process may have used it a little longer
GRACE: Final = 60.0


@attrs.frozen
class SigningKey:
    """The key that signs tokens now."""

    kid: str
    algorithm: str
    key: PrivateKey | bytes = attrs.field(repr=False)


@attrs.frozen
class VerificationKey:
    """The key that verifies tokens of one ``kid``, with this algorithm and no other, until ``until`` (epoch seconds)."""

    kid: str
    algorithm: str
    key: PublicKey | bytes = attrs.field(repr=False)
    until: float = math.inf


@attrs.frozen
class _Ring:
    """One state of the keyring, replaced as a whole: a reader in another thread sees the old or the new one."""

    entries: tuple[KeyEntry, ...]
    signing: SigningKey | None
    verifying: dict[str, VerificationKey]


class Keyring:
    """The keys of one gateway; see `open` and `read`. Everything but opening and rotating is in memory."""

    def __init__(self, file: KeyFile, settings: TokenSettings, clock: EpochClock) -> None:
        self._file = file
        self._settings = settings
        self._clock = clock
        self._secret = _secret_key(settings) if settings.algorithm is Algorithm.HS256 else None
        self._ring = self._made_of(())
        self._version: Version | None = None

    @classmethod
    def open(cls, state_dir: Path, settings: TokenSettings, clock: EpochClock) -> Keyring:
        """The keyring of a state directory; it is made if there is none, and rotated if that is due.

        Blocks: for some hundred milliseconds where RSA keys are made. Raises `StartupError`.
        """
        keyring = cls(KeyFile(state_dir), settings, clock)
        keyring._file.prepare()
        with keyring._file.locked():
            keyring._settle(keyring._file.read() or ())
        return keyring

    @classmethod
    def read(cls, state_dir: Path, settings: TokenSettings, clock: EpochClock) -> Keyring:
        """The keyring as it is, without making or changing anything. Raises `StartupError`, also if there is none."""
        keyring = cls(KeyFile(state_dir), settings, clock)
        entries = keyring._file.read()
        if entries is None and keyring._secret is None:
            raise StartupError(f"{keyring._file.path}: there is no keyring yet")
        keyring._ring = keyring._made_of(entries or ())
        return keyring

    def refresh(self) -> bool:
        """As `rotate_if_due`, but does nothing if the file has not changed; this check takes 5 µs."""
        version = self._file.version()
        return version is not None and version != self._version and self.rotate_if_due()

    def rotate_if_due(self) -> bool:
        """Read the file again, which another process may have changed, and rotate if that is due.

        True where the keys changed: verdicts that were remembered must then be forgotten. Blocks, so it belongs on another
        thread. Raises `StartupError` and keeps the keys as they are where the file cannot be read or written.
        """
        with self._file.locked():
            return self._settle(self._reread())

    def rotate(self, *, discard: bool = False) -> None:
        """Rotate now. With ``discard`` all keys so far are dropped, and no token that they signed is valid any more.

        Blocks, and raises, as `rotate_if_due` does; a `StartupError` too with HS256, where there is nothing to rotate.
        """
        if self._secret is not None:
            raise StartupError("with algorithm = HS256 the secret of the configuration signs: change it there")
        with self._file.locked():
            self._settle(() if discard else self._reread(), force=True)

    def _reread(self) -> tuple[KeyEntry, ...]:
        entries = self._file.read()
        if entries is None and self._ring.entries:
            raise StartupError(f"{self._file.path}: is gone; the keys in memory stay in use until the next start")
        return entries or ()

    def _settle(self, entries: tuple[KeyEntry, ...], *, force: bool = False) -> bool:
        """Write the keys as they should be now, and use them. The caller holds the lock."""
        settled = settle(entries, self._settings, self._clock.seconds(), force=force)
        if settled != entries:
            self._file.write(settled)
        self._version = self._file.version()  # of what was read or written just now: no other process has had the lock
        changed = settled != self._ring.entries
        self._ring = self._made_of(settled)
        return changed

    def _made_of(self, entries: tuple[KeyEntry, ...]) -> _Ring:
        signing = self._secret
        verifying: dict[str, VerificationKey] = {}
        for entry in entries:
            jwk = entry.jwk
            if signing is None and entry.state is KeyState.SIGNING and jwk.private is not None:
                signing = SigningKey(jwk.kid, jwk.algorithm, jwk.private)
            verifying[jwk.kid] = VerificationKey(jwk.kid, jwk.algorithm, jwk.public, _end(entry, self._settings))
        secret = self._secret
        if secret is not None and isinstance(secret.key, bytes):
            verifying[secret.kid] = VerificationKey(secret.kid, secret.algorithm, secret.key)
        return _Ring(entries, signing, verifying)

    @property
    def entries(self) -> tuple[KeyEntry, ...]:
        """All keys of the file, for an operator; the secret of HS256 is not among them."""
        return self._ring.entries

    @property
    def signing_key(self) -> SigningKey:
        """The key that signs now. Raises `StartupError` if a keyring that was only read has none."""
        signing = self._ring.signing
        if signing is None:
            raise StartupError(f"{self._file.path}: there is no signing key yet")
        return signing

    def verification_key(self, kid: str) -> VerificationKey | None:
        """The key of that name, which may be the next one to sign; None if there is none or it has ended."""
        found = self._ring.verifying.get(kid)
        return found if found is not None and self._clock.seconds() < found.until else None

    def jwks(self) -> dict[str, Any]:
        """The public keys as a JWK set (RFC 7517, section 5). The caller owns it."""
        now = self._clock.seconds()
        return {"keys": [entry.jwk.members() for entry in self._ring.entries if now < _end(entry, self._settings)]}


def settle(entries: Sequence[KeyEntry], settings: TokenSettings, now: float, *, force: bool = False) -> tuple[KeyEntry, ...]:
    """The keys as they should be at ``now``: the one that signs, the next one, and the retired ones, newest first.

    A key is retired when it is older than ``key_lifetime``, when another algorithm was configured, or with ``force``.
    """
    by_state: dict[KeyState, KeyEntry] = {entry.state: entry for entry in entries if entry.state is not KeyState.RETIRED}
    retired = [entry for entry in entries if entry.state is KeyState.RETIRED and now < _end(entry, settings)]
    signing, following = by_state.get(KeyState.SIGNING), by_state.get(KeyState.NEXT)
    if following is not None and following.jwk.algorithm != settings.algorithm:
        following = None
    if signing is not None and (force or _is_due(signing, settings, now)):
        retired.insert(0, attrs.evolve(signing, retired=now, jwk=attrs.evolve(signing.jwk, private=None)))
        signing = None
    if settings.algorithm is Algorithm.HS256:
        return tuple(retired)
    if signing is None:
        signing = attrs.evolve(following or KeyEntry(generate(settings.algorithm), now), activated=now)
        following = None
    if following is None:
        following = KeyEntry(generate(settings.algorithm), now)
    return (signing, following, *retired)


def _is_due(signing: KeyEntry, settings: TokenSettings, now: float) -> bool:
    if signing.jwk.algorithm != settings.algorithm:
        return True
    return signing.activated is not None and now - signing.activated >= settings.key_lifetime


def _end(entry: KeyEntry, settings: TokenSettings) -> float:
    """The time at which the last token that the key can have signed expires."""
    if entry.retired is None:
        return math.inf
    return entry.retired + max(settings.lifetime, settings.extended_lifetime) + GRACE


def _secret_key(settings: TokenSettings) -> SigningKey:
    secret = (settings.secret or "").encode()
    if len(secret) < MIN_SECRET:
        raise StartupError(f"token secret: expected at least {MIN_SECRET} bytes for HS256, found {len(secret)}")
    try:
        key: bytes = get_default_algorithms()["HS256"].prepare_key(secret)
    except PyJWTError:
        # a public key for a secret is how algorithm confusion begins (CVE-2022-29217)
        raise StartupError("token secret: expected random text, found a key or certificate") from None
    # keyed, unlike RFC 7638's thumbprint, whose section 7 warns of hashing a secret into public view
    name = hmac.digest(key, b"perimeter: the name of this secret", hashlib.sha256)
    return SigningKey(base64.urlsafe_b64encode(name).rstrip(b"=").decode(), "HS256", key)

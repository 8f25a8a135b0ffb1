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
from pathlib import Path
from typing import Any

import attrs
from jwt import PyJWTError
from jwt.algorithms import get_default_algorithms

from perimeter.config.site.token import MIN_SECRET, Algorithm, TokenSettings
from perimeter.errors import StartupError, StateUnavailable
from perimeter.tokens.format import EpochClock
from perimeter.tokens.jwk import PrivateKey, PublicKey
from perimeter.tokens.key_file import KeyEntry, KeyFile, KeySet, KeyState, Version
from perimeter.tokens.rotation import agreed, due_together, end_of, settle


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

    keys: KeySet
    signing: SigningKey | None
    verifying: dict[str, VerificationKey]


class Keyring:
    """The keys of one gateway; see `open` and `read`. Everything but opening and rotating is in memory."""

    def __init__(self, file: KeyFile, settings: TokenSettings, clock: EpochClock, *, shared: bool = False) -> None:
        self._file = file
        self._shared = shared
        self._settings = settings
        self._clock = clock
        self._secret = _secret_key(settings) if settings.algorithm is Algorithm.HS256 else None
        self._ring = self._made_of(KeySet())
        self._version: Version | None = None

    @classmethod
    def open(cls, state_dir: Path, settings: TokenSettings, clock: EpochClock, *, shared: bool = False) -> Keyring:
        """The keyring of a state directory; it is made if there is none, and rotated if that is due.

        If it is ``shared`` with other machines, the file is a copy of the keys of all: it is neither made nor rotated here, but
        by `agreed`, `rotated` and `adopt`.

        Blocks: for some hundred milliseconds where RSA keys are made. Raises `StartupError`.
        """
        keyring = cls(KeyFile(state_dir), settings, clock, shared=shared)
        keyring._file.prepare()
        with keyring._file.locked():
            keyring._settle(keyring._file.read() or KeySet())
        return keyring

    @classmethod
    def read(cls, state_dir: Path, settings: TokenSettings, clock: EpochClock) -> Keyring:
        """The keyring as it is, without making or changing anything. Raises `StartupError`, also if there is none."""
        keyring = cls(KeyFile(state_dir), settings, clock)
        keys = keyring._file.read()
        if keys is None and keyring._secret is None:
            raise StartupError(f"{keyring._file.path}: there is no keyring yet")
        keyring._ring = keyring._made_of(keys or KeySet())
        return keyring

    def refresh(self) -> bool:
        """As `rotate_if_due`, but does nothing if the file has not changed; this check takes 5 µs."""
        version = self._file.version()
        return version is not None and version != self._version and self.rotate_if_due()

    def rotate_if_due(self) -> bool:
        """Read the file again, which another process may have changed, and rotate if that is due here.

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
            self._settle(KeySet() if discard else self._reread(), force=True)

    def _reread(self) -> KeySet:
        keys = self._file.read()
        if keys is None and self._ring.keys.entries:
            raise StartupError(f"{self._file.path}: is gone; the keys in memory stay in use until the next start")
        return keys or KeySet()

    def _settle(self, keys: KeySet, *, force: bool = False) -> bool:
        """Write the keys as they should be now, and use them. The caller holds the lock."""
        settled = keys.entries if self._shared else settle(keys.entries, self._settings, self._clock.seconds(), force=force)
        if settled != keys.entries:
            keys = KeySet(settled)
            self._file.write(keys)
        return self._use(keys)

    def _use(self, keys: KeySet) -> bool:
        """Use ``keys``, which are in the file. True if they are other ones than before. The caller holds the lock."""
        self._version = self._file.version()  # of what was read or written just now: no other process has had the lock
        changed = keys.entries != self._ring.keys.entries
        self._ring = self._made_of(keys)
        return changed

    # -- keys that several machines share: `perimeter.cluster.keys` asks for these, one after the other

    def agreed(self, theirs: KeySet | None) -> KeySet:
        """What the keys of all machines should be, if ``theirs`` are what they share so far (None: nothing yet).

        Blocks: for some hundred milliseconds where RSA keys are made. Raises `StartupError`. Nothing is in use or written yet.
        """
        with self._file.locked():
            ours = self._reread()
        now = self._clock.seconds()
        keys = agreed(ours, theirs, self._settings, now)
        settled = settle(keys.entries, self._settings, now) if keys.order == (0, 0) else keys.entries
        return KeySet(settled, 0, 1) if settled != keys.entries else keys

    def due_together(self) -> bool:
        """Whether one of the machines has to replace the keys. Blocks for no time."""
        return due_together(self._ring.keys.entries, self._settings, self._clock.seconds())

    def rotated(self, keys: KeySet, *, force: bool = False, discard: bool = False) -> KeySet:
        """The keys after ``keys``; the same ones if nothing is due. Blocks as `agreed`. Nothing is in use or written yet."""
        settings, now = self._settings, self._clock.seconds()
        if self._secret is not None and (force or discard):
            raise StartupError("with algorithm = HS256 the secret of the configuration signs: change it there")
        if not (force or discard or due_together(keys.entries, settings, now)):
            return keys
        entries = settle(() if discard else keys.entries, settings, now, force=force)
        return KeySet(entries, keys.epoch + discard, keys.number + 1)

    def adopt(self, keys: KeySet) -> bool:
        """Use ``keys``, which all machines can find from now on, and keep them in the file. True if they are other ones.

        Keys that another process has written meanwhile stay if they are later ones. Blocks. Raises `StartupError`.
        """
        with self._file.locked():
            ours = self._file.read() or KeySet()
            if keys.order > ours.order or (keys.order == ours.order and keys.entries != ours.entries):
                self._file.write(keys)
                return self._use(keys)
            return self._use(ours)

    def _made_of(self, keys: KeySet) -> _Ring:
        signing = self._secret
        verifying: dict[str, VerificationKey] = {}
        for entry in keys.entries:
            jwk = entry.jwk
            if signing is None and entry.state is KeyState.SIGNING and jwk.private is not None:
                signing = SigningKey(jwk.kid, jwk.algorithm, jwk.private)
            verifying[jwk.kid] = VerificationKey(jwk.kid, jwk.algorithm, jwk.public, end_of(entry, self._settings))
        secret = self._secret
        if secret is not None and isinstance(secret.key, bytes):
            verifying[secret.kid] = VerificationKey(secret.kid, secret.algorithm, secret.key)
        return _Ring(keys, signing, verifying)

    @property
    def entries(self) -> tuple[KeyEntry, ...]:
        """All keys of the file, for an operator; the secret of HS256 is not among them."""
        return self._ring.keys.entries

    @property
    def signs(self) -> bool:
        """Whether there is a key that signs. A machine that shares its keys may not have got any yet."""
        return self._ring.signing is not None

    @property
    def signing_key(self) -> SigningKey:
        """The key that signs now.

        Raises `StartupError` if a keyring that was only read has none, and `StateUnavailable` if it is not known yet which keys
        the machines share.
        """
        signing = self._ring.signing
        if signing is None and self._shared:
            raise StateUnavailable("the signing keys that the machines share are not known yet")
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
        return {"keys": [entry.jwk.members() for entry in self._ring.keys.entries if now < end_of(entry, self._settings)]}


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

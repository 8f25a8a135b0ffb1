"""What the operator may do with the signing keys of the running gateway."""

from __future__ import annotations

from typing import Any

from perimeter.errors import StartupError, Unavailable
from perimeter.tokens.followed_keys import FollowedKeys
from perimeter.tokens.keyring import Keyring


async def rotate_keys(keys: FollowedKeys, keyring: Keyring, *, discard: bool) -> dict[str, Any]:
    """Replace the signing key, with ``discard`` all keys. Returns the ``kid`` of the new one.

    Raises ValueError if that cannot be done.
    """
    try:
        await keys.rotate(discard=discard)
    except (Unavailable, StartupError) as error:
        raise ValueError(f"the signing keys are as they were: {error}") from None
    return {"kid": keyring.signing_key.kid}

"""What the operator may do with the signing keys of the running gateway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perimeter.errors import StartupError, Unavailable
from perimeter.run.build.assembly import Assembly


async def rotate_keys(assembly: Assembly, question: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the signing key, with ``discard`` all keys. Returns the ``kid`` of the new one.

    Raises ValueError if that cannot be done.
    """
    try:
        await assembly.keys.rotate(discard=question.get("discard") is True)
    except (Unavailable, StartupError) as error:
        raise ValueError(f"the signing keys are as they were: {error}") from None
    return {"kid": assembly.keyring.signing_key.kid}

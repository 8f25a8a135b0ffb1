"""What users and operators see of an API token."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isinf
from typing import TYPE_CHECKING, Any

from perimeter.model import Restriction

if TYPE_CHECKING:
    from perimeter.tokens.api_token import ApiToken


def utc_time(seconds: float) -> str | None:
    """RFC 3339, rounded down; None for "never"."""
    return None if isinf(seconds) else datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")


def described(token: ApiToken) -> dict[str, Any]:
    """The members of a token that may be shown."""
    restriction = token.restriction or Restriction()
    return {
        "version": 1,
        "id": token.id,
        "name": token.name,
        "created": utc_time(token.created),
        "expires": utc_time(token.expires),
        "routes": sorted(restriction.routes),
        "methods": sorted(restriction.methods),
        "networks": [str(network) for network in restriction.networks],
    }

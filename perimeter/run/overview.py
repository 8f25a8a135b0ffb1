"""Further parts of ``perimeter status``: requests so far, limits, certificates, and the last reload."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from perimeter.metrics.figures import CLASSES, Totals
from perimeter.net.contexts import ServerIdentity
from perimeter.web.endpoints.operator.gateway import Reload

_SECONDS_A_DAY: Final = 86400


def requests_so_far(totals: Totals) -> dict[str, Any]:
    """``requests`` by the class of their status, and the bytes of bodies ``received`` and ``sent``, since the start."""
    return {
        "requests": dict(zip(CLASSES, totals.requests, strict=True)),
        "received": totals.received,
        "sent": totals.sent,
    }


def limits_so_far(totals: Totals) -> dict[str, Any]:
    """``limited``: how many requests each limit of a route has refused since the start."""
    return {"limited": [{"route": route, "limit": limit, "refused": count} for (route, limit), count in totals.limited.items()]}


def certificates(identities: Mapping[str, Iterable[ServerIdentity]], now: float) -> list[dict[str, Any]]:
    """The certificates that listeners serve, with the ``days`` left (negative: expired). ``now`` is in epoch seconds."""
    return [
        {
            "listener": listener,
            "subject": identity.chain[0].subject.rfc4514_string(),
            "until": identity.chain[0].not_valid_after_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "days": int((identity.chain[0].not_valid_after_utc.timestamp() - now) // _SECONDS_A_DAY),
            "source": identity.source,
        }
        for listener, several in identities.items()
        for identity in several
    ]


def last_reload(reload: Reload) -> dict[str, Any] | None:
    """The time of the last reload, and the reason if it was refused, otherwise "". None if there was no reload."""
    if not reload.at:
        return None
    return {"at": datetime.fromtimestamp(reload.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "refused": reload.refused}

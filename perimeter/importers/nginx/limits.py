"""``limit_req`` and ``limit_conn`` of nginx as ``rate`` and ``in_flight`` of a route. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from perimeter.importers.nginx.tree import Directive

_RATE = re.compile(r"rate=([0-9]{1,6})r/([sm])")
_BURST = re.compile(r"burst=([0-9]{1,6})")
_KEYS = {
    "$binary_remote_addr": "address",
    "$remote_addr": "address",
    "$realip_remote_addr": "address",
    "$remote_user": "user",
}
"""Variables that a zone counts by, and who has a limit of their own then."""


@attrs.frozen
class Zones:
    """The zones of ``limit_req_zone`` and ``limit_conn_zone``, by their name: who counts, and for the first kind the rate."""

    rates: dict[str, tuple[str, str]]
    connections: dict[str, str]

    @classmethod
    def of(cls, directives: Iterable[Directive]) -> Zones:
        """Read them. Zones that count by something else are left out."""
        rates, connections = {}, {}
        for one in directives:
            zone, per = _named(one.args), _KEYS.get(one.args[0]) if one.args else None
            if zone is None or per is None:
                continue
            if one.name == "limit_conn_zone":
                connections[zone] = per
            elif one.name == "limit_req_zone":
                rate = next((found for word in one.args if (found := _RATE.fullmatch(word))), None)
                if rate is not None and int(rate[1]):
                    rates[zone] = per, f"{int(rate[1])}/{rate[2]}"
        return cls(rates, connections)

    def rate(self, limit: Directive) -> str | None:
        """The value of ``rate`` for a ``limit_req``; None if it cannot be translated."""
        zone = self.rates.get(_named(limit.args) or "")
        bursts = [int(found[1]) for word in limit.args if (found := _BURST.fullmatch(word))]
        if zone is None or any(word.startswith("burst=") for word in limit.args) != bool(bursts):
            return None
        per, rate = zone
        return f"{rate} per {per} burst {(bursts or [0])[0] + 1}"

    def in_flight(self, limit: Directive) -> str | None:
        """The value of ``in_flight`` for a ``limit_conn``; None if it cannot be translated."""
        if len(limit.args) != 2 or not re.fullmatch("[1-9][0-9]{0,5}", limit.args[1]):
            return None
        per = self.connections.get(limit.args[0])
        return None if per is None else f"{limit.args[1]} per {per}"


def _named(args: tuple[str, ...]) -> str | None:
    """The name in ``zone=NAME:SIZE`` or ``zone=NAME``."""
    return next((word[5:].partition(":")[0] for word in args if word.startswith("zone=")), None)

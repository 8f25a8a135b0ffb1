"""How the certificates from a CA are: for ``perimeter check``, ``perimeter status`` and ``perimeter doctor``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import attrs

from perimeter.acme.record import Record, read_record, record_file
from perimeter.config.site.acme import certificate_file
from perimeter.config.site.config import SiteConfig


@attrs.frozen
class Order:
    """The certificate of ``listeners`` for ``names``, in ``path``, with its ``record``. ``there``: the gateway has got one."""

    listeners: tuple[str, ...]
    names: tuple[str, ...]
    path: Path
    record: Record
    there: bool

    @property
    def fault(self) -> str:
        """Why the last order has failed, and when the next one is; "" if it has not."""
        record = self.record
        if not record.failures or not record.fault:
            return ""
        words = "it was not renewed" if self.there else "there is no certificate from the CA yet"
        return f"{words}: {record.fault}; the next try is at {moment(record.try_at)}"

    @property
    def text(self) -> str:
        """A line for the operator."""
        renewal = f"to be renewed at {moment(self.record.renew_at)}" if self.there and self.record.renew_at else "to be ordered"
        return f"certificate of {', '.join(self.names)} (listener {', '.join(self.listeners)}): {self.fault or renewal}"

    @property
    def members(self) -> dict[str, object]:
        """The same as members of a JSON object. ``renew`` is "" if it is to be ordered."""
        renew = iso(self.record.renew_at) if self.there and self.record.renew_at else ""
        return {"listeners": list(self.listeners), "names": list(self.names), "renew": renew, "fault": self.fault}


def orders(config: SiteConfig) -> Sequence[Order]:
    """Every certificate that the gateway gets by itself, in the order of the listeners. Blocks."""
    paths: dict[Path, list[str]] = {}
    names: dict[Path, tuple[str, ...]] = {}
    for listener in config.listeners:
        if listener.acme_names:
            path = certificate_file(config.perimeter.state_dir, listener.acme_names)
            paths.setdefault(path, []).append(listener.name)
            names.setdefault(path, listener.acme_names)
    return [Order(tuple(of), names[path], path, read_record(record_file(path)), path.exists()) for path, of in paths.items()]


def moment(seconds: float) -> str:
    """A time in epoch seconds for people."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"


def iso(seconds: float) -> str:
    """A time in epoch seconds for programs."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"

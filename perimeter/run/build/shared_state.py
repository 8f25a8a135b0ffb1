"""The state that several machines share. What it needs is imported only with ``state = redis``."""

from __future__ import annotations

from typing import Any

from perimeter.config.site.perimeter import PerimeterSettings
from perimeter.state.kinds import Kinds
from perimeter.state.state import State
from perimeter.state.store import IStateStore


def shared_state(reactor: Any, settings: PerimeterSettings, kinds: Kinds) -> tuple[State, IStateStore]:
    """See `perimeter.state.stores.Shared`."""
    from perimeter.cluster.opened import open_cluster

    return open_cluster(reactor, settings, kinds)

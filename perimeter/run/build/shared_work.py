"""What the machines of a site do together beside their state: signing keys, counts of wrong passwords, and leases.

Without ``state = redis`` there is none of it. What it needs is imported only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from perimeter.auth.chain.attempts import FORGOTTEN_AFTER, LONGEST_DELAY
from perimeter.auth.chain.nodes import Nodes
from perimeter.cluster.counts import SharedCounts
from perimeter.cluster.keys import SharedKeys
from perimeter.cluster.leases import Clocks, Leases
from perimeter.config.site.config import SiteConfig
from perimeter.run.build.runtime import Runtime
from perimeter.secrets_key import SecretsKey
from perimeter.state.state import State
from perimeter.tokens.followed_keys import FollowedKeys
from perimeter.tokens.key_news import KEY_NEWS
from perimeter.tokens.keyring import Keyring

if TYPE_CHECKING:
    from perimeter.cluster.engine import RedisEngine
    from perimeter.cluster.state import ClusterState

_COUNTS: Final = b"counts of wrong passwords"
_GUESSES: Final = b"guesses of passwords"

_KEPT: Final = FORGOTTEN_AFTER + LONGEST_DELAY
"""Seconds after the last failure in which a count may still matter."""


@attrs.frozen(eq=False)
class SharedWork:
    """What this machine does together with the others, over the engine of ``state``, under ``secrets``, the key of the site.

    The engine has another key until a reload is over that replaces the key.
    """

    state: ClusterState
    secrets: SecretsKey
    runtime: Runtime
    leases: Leases

    @property
    def engine(self) -> RedisEngine:
        """Where the machines meet."""
        return self.state.engine

    def share_keys(self, keys: FollowedKeys, keyring: Keyring) -> None:
        """Let ``keys``, of ``keyring``, be the same ones on all machines."""
        announce, place, offload = self.state.view(KEY_NEWS).announce, self.runtime.place, self.runtime.offload
        shared = SharedKeys(self.engine.client, self.secrets, self.leases, keyring, offload, announce)
        keys.share(shared, lambda: place is None or place.leads)

    def nodes(self) -> Nodes:
        """The other machines, for the throttle."""
        return Nodes(SharedCounts(self.engine.client, self.secrets.derive(_COUNTS), _KEPT), self.runtime.reactor)

    def guess_key(self) -> bytes:
        """The key of the digests of passwords: the same wrong password has the same digest on all machines."""
        return self.secrets.derive(_GUESSES)


def shared_work(config: SiteConfig, state: State, secrets: SecretsKey, runtime: Runtime) -> SharedWork | None:
    """What the machines do together; None on a machine that shares no state."""
    if not config.perimeter.shares_state:
        return None
    from perimeter.cluster.state import ClusterState

    assert isinstance(state, ClusterState)
    return SharedWork(state, secrets, runtime, Leases(state.engine.client, Clocks(runtime.reactor)))

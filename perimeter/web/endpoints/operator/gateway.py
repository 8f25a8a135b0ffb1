"""What the operator's page needs of the running gateway. `perimeter.run` provides it, which stands on a higher floor."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

import attrs

from perimeter.audit.logs import AuditLogs
from perimeter.auth.chain.chain import AuthenticatorChain
from perimeter.config.site.config import SiteConfig
from perimeter.gate.gate import Gate
from perimeter.metrics.figures import Figures
from perimeter.metrics.samples import Sampler
from perimeter.net.contexts import ServerIdentity
from perimeter.offload import Offload
from perimeter.proxy.pool import UpstreamPool
from perimeter.sessions.stored import StoredSessions
from perimeter.tokens.keyring import Keyring
from perimeter.tokens.revoking import Revoker
from perimeter.tokens.stored import StoredTokens


class Listening(Protocol):
    """A listener: its name, its port or the path of its unix socket, and how many connections it has."""

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def port(self) -> int: ...  # noqa: D102

    @property
    def path(self) -> str: ...  # noqa: D102

    @property
    def connections(self) -> int: ...  # noqa: D102


class Trouble(Protocol):
    """A problem. ``severity`` is 0 if all requests are refused, 1 if some requests fail, 2 if requests do not fail yet."""

    @property
    def severity(self) -> int: ...  # noqa: D102

    @property
    def subject(self) -> str: ...  # noqa: D102

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def message(self) -> str: ...  # noqa: D102


@attrs.frozen
class Reload:
    """The last reload: when (epoch seconds, 0 if there was none), and why it was refused, "" if it was not."""

    at: float = 0.0
    refused: str = ""


class InForce(Protocol):
    """The parts of the configuration in force that the page shows."""

    @property
    def config(self) -> SiteConfig: ...  # noqa: D102

    @property
    def gates(self) -> Mapping[str, Gate]: ...  # noqa: D102

    @property
    def audit(self) -> AuditLogs: ...  # noqa: D102

    @property
    def chain(self) -> AuthenticatorChain: ...  # noqa: D102

    @property
    def keyring(self) -> Keyring: ...  # noqa: D102

    @property
    def tokens(self) -> StoredTokens: ...  # noqa: D102

    @property
    def sessions(self) -> StoredSessions: ...  # noqa: D102

    @property
    def revoker(self) -> Revoker: ...  # noqa: D102

    @property
    def pools(self) -> Sequence[UpstreamPool]: ...  # noqa: D102

    def keys_changed(self) -> None:
        """Forget what was verified or signed with the earlier keys."""


class Gateway(Protocol):
    """The running gateway."""

    @property
    def assembly(self) -> InForce:
        """What is in force. Raises ValueError while the gateway stops."""

    @property
    def samples(self) -> Sampler: ...  # noqa: D102

    @property
    def offload(self) -> Offload: ...  # noqa: D102

    @property
    def last_reload(self) -> Reload: ...  # noqa: D102

    def seconds(self) -> float:
        """The time (epoch seconds)."""

    def listeners(self) -> Sequence[Listening]:
        """The listeners, with the connections of this process."""

    def identities(self) -> Mapping[str, tuple[ServerIdentity, ...]]:
        """The certificates that each listener with TLS serves."""

    def figures(self) -> Awaitable[Figures]:
        """The figures of all worker processes."""

    def attempts(self) -> Awaitable[Mapping[tuple[str, ...], int]]:
        """Questions to authenticators by name, type, realm and result, of all worker processes."""

    def troubles(self) -> Awaitable[Sequence[Trouble]]:
        """What is wrong, the worst first. Directories and services are asked, at most every few seconds for all who look."""

    def shared(self) -> Awaitable[Mapping[str, Any]]:
        """``redis`` and ``nodes``, as ``perimeter status`` has them; {} if this machine has its state for itself."""

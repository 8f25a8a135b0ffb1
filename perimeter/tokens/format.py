"""What a token of this gateway looks like: the words and limits that issuer and verifier share.

Two kinds, told apart by the header's ``typ`` and by ``aud``, and never interchangeable: access tokens, which clients hold and
the gateway accepts, and assertions, which upstreams get and the gateway never accepts.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from perimeter.config.site.token import Algorithm

#: ``typ`` of an access token (RFC 9068, section 2.1)
ACCESS_TYPE: Final = "at+jwt"

#: ``typ`` of what an upstream gets
ASSERTION_TYPE: Final = "perimeter-assertion+jwt"

#: ``aud`` of an assertion is this and the name of the upstream
UPSTREAM_AUDIENCE: Final = "upstream:"

#: octets of a whole token: longer ones are neither issued nor looked at
MAX_TOKEN: Final = 8 * 1024

#: characters of the first segment of a token
MAX_HEADER: Final = 1024

#: the algorithms that may be configured
ALGORITHMS: Final = tuple(algorithm.value for algorithm in Algorithm)

#: a ``kid`` of ours: base64url of a hash, so nothing that a file system or a query could take for more than a name
KID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class EpochClock(Protocol):
    """The one thing that is needed of a reactor here."""

    def seconds(self) -> float:
        """Seconds since the epoch."""

"""The format of this gateway's tokens: the words and limits that issuer and verifier share.

There are two kinds, which differ in ``typ`` of the JWT header and in ``aud``, and are never interchangeable: access
tokens, which clients hold and the gateway accepts, and assertions, which upstreams get and the gateway never accepts.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from perimeter.config.site.token import Algorithm

#: ``typ`` of an access token (RFC 9068, section 2.1)
ACCESS_TYPE: Final = "at+jwt"

#: ``typ`` of an assertion
ASSERTION_TYPE: Final = "perimeter-assertion+jwt"

#: ``aud`` of an assertion is this and the name of the upstream
UPSTREAM_AUDIENCE: Final = "upstream:"

#: bytes of the longest token that is issued or read
MAX_TOKEN: Final = 8 * 1024

#: characters of the longest header segment
MAX_HEADER: Final = 1024

#: the algorithms that may be configured
ALGORITHMS: Final = tuple(algorithm.value for algorithm in Algorithm)

#: a ``kid`` of this gateway: base64url of a hash, which no file system or query can take for anything but a name
KID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


class EpochClock(Protocol):
    """A clock that counts from the epoch, such as the reactor."""

    def seconds(self) -> float:
        """Seconds since the epoch."""

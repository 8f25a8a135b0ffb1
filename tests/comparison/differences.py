"""All differences between Perimeter and Auth-o-tron, each with its reason. The page of the manual is generated from them."""

from __future__ import annotations

import attrs

from tests.comparison.at_authenticate import ALWAYS, CREDENTIALS, PASSWORDS, REALMS, SERVICES, TOKENS
from tests.comparison.at_endpoints import ENDPOINTS, PATHS, STORE
from tests.comparison.judge import Difference

GROUPS: tuple[tuple[str, tuple[Difference, ...]], ...] = (
    ("Each answer of `/authenticate`", ALWAYS),
    ("Credentials and users", CREDENTIALS),
    ("Realms", REALMS),
    ("Services and directories", SERVICES),
    ("Tokens of other issuers", TOKENS),
    ("Paths and methods", PATHS),
    ("Endpoints", ENDPOINTS),
    ("API tokens", STORE),
    ("Options of the configuration", PASSWORDS),
)
"""The differences by subject."""

DIFFERENCES: tuple[Difference, ...] = tuple(one for _, group in GROUPS for one in group)


@attrs.frozen
class Read:
    """A difference that no request shows, found in Auth-o-tron's source."""

    title: str
    theirs: str
    ours: str
    why: str


READ = (
    Read(
        "the lifetime of API tokens",
        "unlimited",
        "an hour for tokens from `/token`, up to `api_lifetime` for others",
        "A forgotten token must not be valid for ever.",
    ),
    Read(
        "the order of providers",
        "all providers of a scheme, at the same time",
        "one after the other, in the configured order",
        "A query to all providers shows the password or token to each of them.",
    ),
    Read(
        "comparing passwords",
        "plain text, up to the first byte that differs",
        "with a hash; an unknown user takes the same time",
        "The response time reveals nothing, and the file contains no passwords.",
    ),
)

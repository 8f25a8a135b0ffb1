"""Where Perimeter answers otherwise than Auth-o-tron, each with its reason: the one list, which the manual is made from."""

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
"""By what they are about."""

DIFFERENCES: tuple[Difference, ...] = tuple(one for _, group in GROUPS for one in group)


@attrs.frozen
class Read:
    """A difference that no request shows: it was read in Auth-o-tron's source."""

    title: str
    theirs: str
    ours: str
    why: str


READ = (
    Read(
        "the life of API tokens",
        "none ever ends by itself",
        "an hour for those of `/token`, up to `api_lifetime` for others",
        "What is forgotten somewhere must not be good for ever.",
    ),
    Read(
        "who is asked",
        "all providers of a scheme, at the same time",
        "one after the other, as they are configured",
        "Asking all of them shows a password, or a token, to each.",
    ),
    Read(
        "comparing passwords",
        "plain text, up to the first octet that differs",
        "against a hash, and as long for a user who does not exist",
        "Time tells nothing, and the file has no password in it.",
    ),
)

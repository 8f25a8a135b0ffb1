"""What the state keeps of the user who owns a token or a session."""

from __future__ import annotations

import json

from perimeter.model import Principal


def encode_owner(owner: Principal) -> str:
    """Roles, authenticator, attributes and scopes of ``owner`` as JSON. Realm and user name are kept beside it."""
    return json.dumps(
        {
            "roles": list(owner.roles),
            "authenticator": owner.authenticator,
            "attributes": dict(owner.attributes),
            "scopes": {service: list(scopes) for service, scopes in owner.scopes.items()},
        }
    )


def decode_owner(realm: str, username: str, text: str) -> Principal:
    """The owner that `encode_owner` made ``text`` of. Raises ValueError, TypeError or KeyError."""
    known = json.loads(text)
    return Principal(
        username,
        realm,
        tuple(known["roles"]),
        known["authenticator"],
        known["attributes"],
        {service: tuple(scopes) for service, scopes in known["scopes"].items()},
    )

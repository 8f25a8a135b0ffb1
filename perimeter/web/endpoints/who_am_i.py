"""``/whoami``: what the gateway knows of the user, in the words of Auth-o-tron."""

from __future__ import annotations

from typing import Any

from perimeter.gate.access import ANY_USER
from perimeter.web.endpoints.endpoint import Endpoint, json_answer, reading, user_of


class WhoAmI(Endpoint):
    """The user's name, realm, roles, attributes and scopes, by any good credentials."""

    def __init__(self) -> None:
        super().__init__("/whoami", reading(ANY_USER))

    def render_GET(self, request: Any) -> bytes:
        """As JSON."""
        principal = user_of(request)
        known = {
            "version": 1,
            "username": principal.username,
            "realm": principal.realm,
            "roles": list(principal.roles),
            "attributes": dict(principal.attributes),
            "scopes": {service: list(scopes) for service, scopes in principal.scopes.items()},
        }
        return json_answer(request, known)

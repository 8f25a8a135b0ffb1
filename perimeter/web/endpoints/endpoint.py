"""The base of all built-in endpoints: their paths, the access that they require, and JSON answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.web.resource import Resource

from perimeter.errors import InvalidCredentialsRequest, MethodNotAllowed, NoRoute
from perimeter.gate.access import ANYBODY, Access
from perimeter.gate.policy import Policy
from perimeter.model import Principal
from perimeter.web.request import exchange_of


class Endpoint(Resource):
    """A built-in endpoint: a leaf of `twisted.web`, and where the gate finds it.

    ``path`` is where it stands; with ``beneath`` it answers for all paths below that too. ``access`` is what each method asks
    for; any other method is refused with 405, and asks for ``otherwise``. ``policy`` says which users may send any of them.
    Without ``demands_factors`` no user needs a second factor for it (`perimeter.gate.factors.FactorDemand`).
    ``name`` is that of its route in the audit log. An answer of a ``lasting`` endpoint, such as a stream of events, ends when its
    user is not admitted any more.
    """

    isLeaf = True
    path: str
    name: str
    access: Mapping[bytes, Access]
    beneath = False
    lasting = False
    otherwise = ANYBODY
    policy = Policy()
    demands_factors = True

    def __init__(self, path: str, access: Mapping[bytes, Access]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path = path
        self.name = path[1:]
        self.access = access

    def render(self, request: Any) -> Any:
        """Answer by ``render_GET`` or the like."""
        if request.method not in self.access:
            allow = tuple(sorted(method.decode("ascii") for method in self.access))
            raise MethodNotAllowed(f"{self.path} takes {', '.join(allow)}", allow=allow)
        return super().render(request)  # type: ignore[no-untyped-call]


class Nothing(Endpoint):
    """A path that leads nowhere: 404 for each method, to those who satisfy ``otherwise``. ``why`` is for the operator's log."""

    def __init__(
        self,
        path: str,
        name: str = "",
        *,
        beneath: bool = False,
        otherwise: Access = ANYBODY,
        why: str = "the gateway has no endpoint at this path",
    ) -> None:
        super().__init__(path, {})
        self.name = name or self.name
        self.beneath = beneath
        self.otherwise = otherwise
        self._why = why

    def render(self, request: Any) -> Any:
        """404."""
        raise NoRoute(self._why)


def reading(access: Access) -> dict[bytes, Access]:
    """GET and HEAD ask for ``access``."""
    return {b"GET": access, b"HEAD": access}


def user_of(request: Any) -> Principal:
    """The user whom the gate admitted. For an endpoint whose access is never anonymous."""
    decision = exchange_of(request).decision
    assert decision is not None
    assert decision.principal is not None
    return decision.principal


def compact(value: Mapping[str, Any]) -> bytes:
    """A JSON object without white space."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def json_answer(request: Any, value: Mapping[str, Any], status: int = 200) -> bytes:
    """``value`` as the body of a response that no cache keeps."""
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    never_store(request)
    return compact(value)


def invalid_request(request: Any, description: str) -> bytes:
    """A 400 whose body says what is wrong. ``description`` holds nothing that the client wrote."""
    exchange_of(request).explain(InvalidCredentialsRequest(description), 400)
    return json_answer(request, {"error": "invalid_request", "error_description": description}, 400)


def never_store(request: Any) -> None:
    """Let no cache keep the response, including caches of HTTP/1.0."""
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"Pragma", b"no-cache")

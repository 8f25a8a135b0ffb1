"""What a restricted API token may do, by route, method and network."""

from __future__ import annotations

from ipaddress import ip_network
from math import inf

from twisted.trial.unittest import TestCase

from perimeter.errors import Challenges, InsufficientScope
from perimeter.gate.access import ANY_USER, ANYBODY, FIRST_HAND, UNRESTRICTED, Access, Asks, Restricted, check_restriction
from perimeter.http.grammar import parse_block, parse_request
from perimeter.model import Grant, GrantKind, Restriction

ON_ROUTE = Access()
ADDRESS = "192.0.2.7"


class RestrictionTests(TestCase):
    def allowed(
        self,
        access: Access,
        *,
        routes: tuple[str, ...] = (),
        methods: tuple[str, ...] = (),
        networks: tuple[str, ...] = (),
        method: str = "GET",
        fields: str = "",
        address: str = ADDRESS,
        route: str = "app",
        target: bytes = b"/x",
    ) -> bool:
        restriction = Restriction(frozenset(routes), frozenset(methods), tuple(map(ip_network, networks)))
        head = parse_request(f"{method} /x HTTP/1.1".encode(), parse_block(f"Host: gw\r\n{fields}".encode(), 100))
        try:
            check_restriction(Grant("7", 0.0, inf, GrantKind.API_TOKEN, restriction), access, route, head, target, address)
        except InsufficientScope:
            return False
        return True

    def test_a_token_without_restrictions(self) -> None:
        head = parse_request(b"GET /x HTTP/1.1", parse_block(b"Host: gw\r\n", 100))
        check_restriction(Grant("7", 0.0, inf, GrantKind.API_TOKEN), UNRESTRICTED, "app", head, b"/x", ADDRESS)

    def test_routes(self) -> None:
        self.assertTrue(self.allowed(ON_ROUTE, routes=("app", "other")))
        self.assertFalse(self.allowed(ON_ROUTE, routes=("other",)))
        self.assertTrue(self.allowed(ON_ROUTE))

    def test_methods(self) -> None:
        for access in (ON_ROUTE, ANY_USER):
            self.assertTrue(self.allowed(access, methods=("GET", "HEAD")))
            self.assertFalse(self.allowed(access, methods=("GET",), method="POST"))
            self.assertFalse(self.allowed(access, methods=("GET",), method="get"))

    def test_a_header_that_names_another_method(self) -> None:
        for field in ("X-HTTP-Method-Override", "X-Http-Method", "X_Method_Override", "x.method.override"):
            self.assertFalse(self.allowed(ON_ROUTE, methods=("GET",), fields=f"{field}: DELETE\r\n"), field)
            self.assertTrue(self.allowed(ON_ROUTE, fields=f"{field}: DELETE\r\n"), field)
        self.assertTrue(self.allowed(ON_ROUTE, methods=("GET",), fields="X-Method: DELETE\r\n"))

    def test_networks_hold_everywhere(self) -> None:
        for access in (ON_ROUTE, ANY_USER, Access(own=lambda grant, target: True)):
            self.assertTrue(self.allowed(access, networks=("192.0.2.0/24", "2001:db8::/32")))
            self.assertFalse(self.allowed(access, networks=("198.51.100.0/24",)))
        self.assertFalse(self.allowed(ON_ROUTE, networks=("198.51.100.0/24",), routes=("app",)))

    def test_routes_are_no_names_of_endpoints(self) -> None:
        self.assertTrue(self.allowed(ANY_USER, routes=("other",)))

    def test_where_a_restricted_token_is_not_enough(self) -> None:
        self.assertFalse(self.allowed(UNRESTRICTED))
        self.assertFalse(self.allowed(UNRESTRICTED, methods=("GET",)))

    def test_a_token_may_always_end_itself(self) -> None:
        asked: list[tuple[str, bytes]] = []

        def own(grant: Grant, target: bytes) -> bool:
            asked.append((grant.id, target))
            return target == b"/token/7"

        access = Access(restricted=Restricted.NOTHING, own=own)
        limits = {"routes": ("other",), "methods": ("GET",), "method": "DELETE"}
        self.assertTrue(self.allowed(access, target=b"/token/7", **limits))  # type: ignore[arg-type]
        self.assertFalse(self.allowed(access, target=b"/token/8", **limits))  # type: ignore[arg-type]
        self.assertEqual(asked, [("7", b"/token/7"), ("7", b"/token/8")])

    def test_what_the_named_kinds_of_endpoint_ask(self) -> None:
        for access, expected in (
            (Access(), (Asks.REQUIRED, Restricted.ON_ROUTE, Challenges.BEARER)),
            (ANYBODY, (Asks.NONE, Restricted.ON_ROUTE, Challenges.BEARER)),
            (ANY_USER, (Asks.REQUIRED, Restricted.AT_ENDPOINT, Challenges.BOTH)),
            (UNRESTRICTED, (Asks.REQUIRED, Restricted.NOTHING, Challenges.BOTH)),
            (FIRST_HAND, (Asks.FIRST_HAND, Restricted.ON_ROUTE, Challenges.FIRST_HAND)),
        ):
            self.assertEqual((access.asks, access.restricted, access.stranger), expected)

"""Which requests a route gets, what it answers by itself, and the path that a service gets, against a running gateway."""

from __future__ import annotations

from typing import ClassVar

from tests.integration.harness import USERS, site
from tests.integration.stage import StageCase
from tests.integration.wire import basic

ROUTES = """\
[upstream service]
servers = <service>

[route root]
path = /
upstream = service

[route one]
path = exact:/one
upstream = service
auth = none
rewrite = /first

[route number]
path = regex:^/items/(\\d+)(/.*)?$
upstream = service
auth = none
rewrite = /v2/$1/item$2

[route read]
path = /items
methods = GET, HEAD
upstream = service
auth = none

[route beta]
path = /app
headers = X-Beta: regex:[0-9]+
upstream = service
auth = none
rewrite = /beta

[route search]
path = /app
query = mode=search
upstream = service
auth = none
rewrite = /search

[route old]
path = /old
redirect = 308 https://new.example.com/app%{rest}%{query}
auth = none

[route user]
path = regex:^/~([a-z]+)$
redirect = 302 /people?name=$1
auth = none

[route gone]
path = /gone
respond = 410 moved away
response_headers = set X-Moved yes
auth = none

[route label]
host = *.apps.test
path = /
respond = 200 one
auth = none

[route labels]
host = **.apps.test
path = /
respond = 200 many
auth = none
"""


class MatchingTests(StageCase):
    CONFIG = site(ROUTES)
    FILES: ClassVar = USERS

    def forwarded(self, target: str, *headers: str, method: str = "GET") -> str:
        """The request line that the service got."""
        before = len(self.service.requests)
        with self.connect(self.served, "http") as wire:
            self.assertEqual(wire.get(target, *headers, method=method).status, 200, target)
        (request,) = self.service.requests[before:]
        return request.line.removesuffix(" HTTP/1.1")

    def answered(self, target: str, *headers: str, method: str = "GET", host: str = "gateway.test") -> tuple[int, str, str]:
        """Status, Location and body of a response that does not come from the service."""
        before = len(self.service.requests)
        with self.connect(self.served, "http") as wire:
            response = wire.get(target, *headers, method=method, host=host)
        self.assertEqual(len(self.service.requests), before, target)
        return response.status, response.get("location") or "", response.body.decode()

    def test_paths(self) -> None:
        self.assertEqual(self.forwarded("/one?a=b"), "GET /first?a=b")
        self.assertEqual(self.answered("/one/")[0], 401)
        self.assertEqual(self.forwarded("/items/12/a%20b?x"), "GET /v2/12/item/a%20b?x")
        self.assertEqual(self.forwarded("/items/12", method="DELETE"), "DELETE /v2/12/item")
        self.assertEqual(self.forwarded("/items/x"), "GET /items/x")

    def test_conditions(self) -> None:
        self.assertEqual(self.answered("/items/x", method="POST")[0], 401)
        self.assertEqual(self.answered("/items/x", method="post")[0], 401)
        self.assertEqual(self.forwarded("/items/x", basic("alice", "secret"), method="POST"), "POST /items/x")
        self.assertEqual(self.forwarded("/app/x", "X-Beta: 12"), "GET /beta/x")
        self.assertEqual(self.forwarded("/app/x?mode=search", "X-Beta: no"), "GET /search/x?mode=search")
        self.assertEqual(self.answered("/app/x")[0], 401)

    def test_attack_125_requests_with_two_readings(self) -> None:
        for target, *headers in (
            ("/app/x?mode=search&mode=view",),
            ("/app/x?MODE=search",),
            ("/app/x?a=1;mode=search",),
            ("/app/x?%256dode=search",),
            ("/app/x", "X-Beta: 1", "X-Beta: 2"),
            ("/app/x", "X_Beta: 1"),
        ):
            self.assertEqual(self.answered(target, *headers)[0], 400, (target, headers))

    def test_attack_125_a_header_that_names_another_method(self) -> None:
        self.forwarded("/items/x", "X-HTTP-Method-Override: DELETE")
        self.assertIsNone(self.service.requests[-1].get("x-http-method-override"))

    def test_attack_1_every_reading_of_a_path_has_the_same_route(self) -> None:
        for target in ("/items/12;x", "/items/12;/a", "/one;x", "/x;/../items/12"):
            self.assertEqual(self.answered(target)[0], 400, target)

    def test_answers(self) -> None:
        self.assertEqual(self.answered("/old/a%20b?c=d"), (308, "https://new.example.com/app/a%20b?c=d", ""))
        self.assertEqual(self.answered("/~alice"), (302, "/people?name=alice", ""))
        self.assertEqual(self.answered("/gone/x", method="POST"), (410, "", "moved away"))
        with self.connect(self.served, "http") as wire:
            self.assertEqual(wire.get("/gone").get("x-moved"), "yes")
        self.assertEqual(self.answered("/x", host="a.apps.test"), (200, "", "one"))
        self.assertEqual(self.answered("/x", host="a.b.apps.test:80"), (200, "", "many"))
        self.assertEqual(self.answered("/x", host="apps.test")[0], 401)

    def test_attack_127_no_other_host(self) -> None:
        for target in ("/old//evil.example/", "/old/%2F/evil.example", "/old@evil.example"):
            status, location, _ = self.answered(target)
            self.assertTrue(status in (400, 401) or location.startswith("https://new.example.com/app/"), (target, location))

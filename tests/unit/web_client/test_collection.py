"""Lists in pages are complete, from one origin, and bounded."""

from __future__ import annotations

import json
from typing import Any

from perimeter.errors import Unavailable
from perimeter.web_client.client import RemoteClient
from perimeter.web_client.collection import MAX_ITEMS, MAX_PAGES, collect
from tests.integration.upstreams import Connection
from tests.unit.doubles.remote import RemoteCase, answering


class CollectionCase(RemoteCase):
    """``pages`` has the answer to each path: a JSON value, and the header lines."""

    def setUp(self) -> None:
        super().setUp()
        self.pages: dict[str, tuple[Any, str]] = {}
        self.upstream = self.server(self.serve)

    def serve(self, connection: Connection) -> None:
        while True:
            try:
                received = connection.request()
            except EOFError:
                return
            value, lines = self.pages[received.line.split()[1]]
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            connection.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{lines}\r\n".encode() + body)

    async def collected(self, path: str = "/1") -> list[Any]:
        client = RemoteClient("the service", self.services.web.trusting(None), 5, self.time)
        return await collect(client, self.upstream.url + path, "Bearer t")

    async def refused(self) -> str:
        try:
            found = await self.collected()
        except Unavailable as error:
            return error.detail
        raise AssertionError(found)


class ArrayTests(CollectionCase):
    async def test_one_page(self) -> None:
        self.pages["/1"] = ([1, 2], "")
        self.assertEqual(await self.collected(), [1, 2])
        self.assertEqual(self.upstream.requests[0].get("authorization"), "Bearer t")

    async def test_the_next_page_is_found_among_the_links(self) -> None:
        url = self.upstream.url
        for link in (
            f'<{url}/2>; rel="next", <{url}/9>; rel="last"',
            f'<{url}/9>; rel="prev", <{url}/2>; rel="next"',
            f"<{url}/2>; title=x; rel=next",
        ):
            self.pages = {"/1": ([1], f"Link: {link}\r\n"), "/2": ([2], f'Link: <{url}/1>; rel="prev"\r\n')}
            self.assertEqual(await self.collected(), [1, 2], link)

    async def test_other_relations_are_no_next_page(self) -> None:
        for link in ('<x>; rel="nextish"', '<x>; rel="last"', "x; rel=next", "<x>, rel=next"):
            self.pages["/1"] = ([1], f"Link: {link}\r\n")
            self.assertEqual(await self.collected(), [1], link)

    async def test_attack_163_the_token_goes_to_no_other_origin(self) -> None:
        port = self.upstream.port
        for url in (
            "http://localhost:1/2",
            f"http://127.0.0.1:{port}@localhost/2",
            f"http://u@127.0.0.1:{port}/2",
            f"https://127.0.0.1:{port}/2",
            "/2",
            "http://[x/2",
        ):
            self.pages["/1"] = ([1], f'Link: <{url}>; rel="next"\r\n')
            self.assertEqual(await self.refused(), "the service returned a next page of another origin", url)
        self.assertEqual({one.line for one in self.upstream.requests}, {"GET /1 HTTP/1.1"})

    async def test_attack_163_no_end(self) -> None:
        self.pages["/1"] = ([1], f'Link: <{self.upstream.url}/1>; rel="next"\r\n')
        self.assertEqual(await self.refused(), f"the service returned a list of more than {MAX_PAGES} pages")
        self.assertEqual(len(self.upstream.requests), MAX_PAGES)

    async def test_the_last_page_that_is_allowed(self) -> None:
        url = self.upstream.url
        self.pages = {f"/{n}": ([n], f'Link: <{url}/{n + 1}>; rel="next"\r\n') for n in range(1, MAX_PAGES)}
        self.pages[f"/{MAX_PAGES}"] = ([MAX_PAGES], "")
        self.assertEqual(await self.collected(), list(range(1, MAX_PAGES + 1)))

    async def test_too_many_items(self) -> None:
        self.pages["/1"] = ([1] * MAX_ITEMS, "")
        self.assertEqual(len(await self.collected()), MAX_ITEMS)
        self.pages["/1"] = ([1] * (MAX_ITEMS + 1), "")
        self.assertEqual(await self.refused(), f"the service returned a list of more than {MAX_ITEMS} items")


class ODataTests(CollectionCase):
    async def test_pages(self) -> None:
        self.pages = {
            "/1": ({"value": [1], "@odata.nextLink": f"{self.upstream.url}/2"}, ""),
            "/2": ({"value": [2]}, ""),
        }
        self.assertEqual(await self.collected(), [1, 2])

    async def test_no_list(self) -> None:
        for value in ({}, {"value": {}}, {"value": [], "@odata.nextLink": 1}, "text", None, 1):
            self.pages["/1"] = (value, "")
            self.assertEqual(await self.refused(), "the service returned no list", value)

    async def test_no_json(self) -> None:
        self.pages["/1"] = (b"<html>", "")
        self.assertIn("not JSON", await self.refused())

    async def test_another_status(self) -> None:
        self.upstream = self.server(answering(403, b"[]"))
        self.assertEqual(await self.refused(), "the service answered with status 403")

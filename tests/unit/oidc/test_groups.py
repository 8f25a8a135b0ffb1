"""Names of groups that a provider lists at an endpoint of its own."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.remote.names import Unfit
from perimeter.errors import ProviderMisconfigured, ProviderUnavailable
from perimeter.oidc.groups import graph_groups, group_names, listed, with_graph_groups
from perimeter.web_client.client import RemoteClient
from tests.unit.doubles.remote import RemoteCase, answering

FORMS = ("organization.login/slug", "login")


class NamesTests(TestCase):
    def test_the_first_form_of_which_an_item_has_all_members(self) -> None:
        items = [{"login": "acme"}, {"slug": "admins", "organization": {"login": "acme"}}, {"slug": "x", "login": "y"}, "plain"]
        self.assertEqual(group_names(items, FORMS), ["acme", "acme/admins", "y", "plain"])

    def test_nothing(self) -> None:
        self.assertEqual(group_names([], FORMS), [])

    def test_an_item_without_a_name_is_not_left_out(self) -> None:
        for item in ({}, {"login": ""}, {"login": 1}, {"login": None}, {"slug": "admins"}, None, 7, ["acme"]):
            error = self.assertRaises(Unfit, group_names, [{"login": "acme"}, item], FORMS)
            self.assertEqual(str(error), "a group has none of the members in group_name", item)

    def test_attack_162_no_group_pretends_to_be_one_of_another(self) -> None:
        items: list[dict[str, Any]] = [
            {"login": "acme/admins"},
            {"slug": "x/admins", "organization": {"login": "acme"}},
            {"slug": "admins", "organization": {"login": "acme/x"}},
        ]
        for item in items:
            error = self.assertRaises(Unfit, group_names, [item], FORMS)
            self.assertEqual(str(error), "a part of the name of a group contains /", item)


class GraphTests(TestCase):
    def test_groups_alone(self) -> None:
        items = [
            {"@odata.type": "#microsoft.graph.group", "id": "g1", "displayName": "Admins"},
            {"@odata.type": "#microsoft.graph.directoryRole", "id": "r1"},
            {"@odata.type": "#microsoft.graph.group", "id": "g2"},
        ]
        self.assertEqual(graph_groups(items), ["g1", "g2"])
        self.assertEqual(graph_groups([]), [])

    def test_what_is_not_understood_is_not_left_out(self) -> None:
        kind = "#microsoft.graph.group"
        for item in (
            {"id": "g"},
            {"@odata.type": kind},
            {"@odata.type": kind, "id": ""},
            {"@odata.type": 1, "id": "g"},
            "g",
            None,
        ):
            error = self.assertRaises(Unfit, graph_groups, [item])
            self.assertEqual(str(error), "a directory object of Graph has no type or no id", item)


class ListedTests(RemoteCase):
    async def asked(self, status: int, body: bytes) -> list[Any]:
        server = self.server(answering(status, body))
        found = await listed(
            RemoteClient("GitHub", self.services.web.trusting(None), 5, self.time), f"{server.url}/user/orgs", "t"
        )
        self.assertEqual(server.requests[0].get("authorization"), "Bearer t")
        return found

    async def test_the_list(self) -> None:
        self.assertEqual(await self.asked(200, b'[{"login": "acme"}]'), [{"login": "acme"}])

    async def test_attack_163_a_list_that_cannot_be_read_is_not_an_empty_one(self) -> None:
        for status, body in ((403, b"{}"), (404, b"[]"), (200, b"{}"), (200, b"x"), (500, b"[]")):
            with self.assertRaises(ProviderUnavailable, msg=str(status)):
                await self.asked(status, body)


class FromGraphTests(RemoteCase):
    """``asked`` counts the questions to Graph."""

    async def completed(self, claims: dict[str, Any], body: bytes = b"") -> dict[str, Any]:
        server = self.server(answering(200, body))
        client = RemoteClient("the provider corp", self.services.web.trusting(None), 5, self.time)
        try:
            return await with_graph_groups(claims, client, f"{server.url}/me", "t")
        finally:
            self.asked = len(server.requests)

    async def test_groups_that_the_token_has_left_out(self) -> None:
        body = b'{"value": [{"@odata.type": "#microsoft.graph.group", "id": "g1"}]}'
        for said in ({"_claim_names": {"groups": "src1"}}, {"hasgroups": True}, {"hasgroups": "true"}):
            self.assertEqual((await self.completed({"sub": "a", **said}, body))["groups"], ["g1"])
            self.assertEqual(self.asked, 1)

    async def test_groups_of_the_token_are_all_of_them(self) -> None:
        for claims in (
            {"groups": ["g"]},
            {"groups": [], "hasgroups": True},
            {},
            {"_claim_names": {"roles": "src1"}},
            {"hasgroups": False},
        ):
            self.assertEqual(await self.completed(claims), claims)
            self.assertEqual(self.asked, 0)

    async def test_what_cannot_be_understood(self) -> None:
        for claims, body in (({"_claim_names": 7}, b""), ({"hasgroups": True}, b'{"value": [{"id": "g1"}]}')):
            with self.assertRaises(ProviderMisconfigured):
                await self.completed(claims, body)

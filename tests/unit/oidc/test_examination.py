"""What a provider lacks, by its metadata."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from perimeter.errors import Unavailable
from perimeter.oidc.client_method import ClientMethod
from perimeter.oidc.examination import clock_difference, shortcomings
from perimeter.oidc.metadata import Metadata
from perimeter.plugin.redirect import IExamined, Trouble
from tests.unit.doubles.openid import OpenIdCase

ALL: dict[str, Any] = {
    "pkce": True,
    "back_channel": True,
    "end_session_endpoint": "https://sso/end",
    "auth_methods": ("client_secret_basic", "client_secret_post", "private_key_jwt", "none"),
}
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
THEN = 784111777.0


def lacking(method: ClientMethod = ClientMethod.BASIC, ends_elsewhere: bool = True, **members: Any) -> list[tuple[Trouble, str]]:
    metadata = Metadata("https://sso", "https://sso/auth", "https://sso/token", "https://sso/jwks", **{**ALL, **members})
    return [(one.trouble, f"{one.message}; {one.remedy}") for one in shortcomings(metadata, method, ends_elsewhere)]


class ShortcomingTests(TestCase):
    def test_a_provider_that_has_all(self) -> None:
        for method in ClientMethod:
            self.assertEqual(lacking(method), [])

    def test_what_is_missing(self) -> None:
        for members, word in (
            ({"pkce": False}, "PKCE"),
            ({"back_channel": False}, "back-channel logout"),
            ({"end_session_endpoint": ""}, "end_session_endpoint"),
        ):
            ((trouble, text),) = lacking(**members)
            self.assertEqual(trouble, Trouble.LACKS)
            self.assertIn(word, text)
        self.assertEqual(lacking(end_session_endpoint="", ends_elsewhere=False), [])

    def test_a_way_to_authenticate_that_the_provider_does_not_have(self) -> None:
        ways = ALL["auth_methods"]
        for method, way in zip(
            (ClientMethod.BASIC, ClientMethod.POST, ClientMethod.PRIVATE_KEY, ClientMethod.NONE), ways, strict=True
        ):
            ((trouble, text),) = lacking(method, auth_methods=tuple(one for one in ways if one != way))
            self.assertEqual(trouble, Trouble.REFUSES)
            self.assertIn(f"does not list {way}, which client_auth = {method} is", text)
            self.assertEqual(lacking(method, auth_methods=(way,)), [])


class ClockTests(TestCase):
    def test_differences(self) -> None:
        for difference in (-30.0, 0.0, 30.0):
            self.assertEqual(list(clock_difference(DATE, THEN + difference)), [])
        for difference, words in ((31.0, "31 s ahead of"), (-31.0, "31 s behind")):
            (found,) = clock_difference(DATE, THEN + difference)
            self.assertEqual(found.trouble, Trouble.CLOCK)
            self.assertIn(f"the clock of this machine is {words} that of the provider", found.message)

    def test_no_time(self) -> None:
        for date in ("", "yesterday", "Sun, 06 Nov 1994"):
            self.assertEqual(list(clock_difference(date, THEN)), [])


class ProviderTests(OpenIdCase):
    async def test_a_provider_is_asked_for_metadata_and_keys(self) -> None:
        provider = self.provider()
        self.assertTrue(IExamined.providedBy(provider))
        found = await provider.examine(True)
        self.assertEqual([one.trouble for one in found], [Trouble.LACKS] * 3)
        self.assertEqual([one.trouble for one in await provider.examine(False)], [Trouble.LACKS] * 2)
        self.assertEqual(len(self.asked("/.well-known/openid-configuration")), 2)
        self.assertEqual(len(self.asked("/keys")), 1)
        self.answers["/keys"] = (500, {})
        await self.refusal(lambda: Deferred.fromCoroutine(self.provider().examine(True)), Unavailable)

    async def test_the_time_of_the_provider(self) -> None:
        body = json.dumps(self.metadata).encode()
        head = b"HTTP/1.1 200 OK\r\nDate: %b\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (DATE.encode(), len(body))
        self.answers["/.well-known/openid-configuration"] = lambda connection: connection.send(head + body)
        found = await self.provider().examine(False)
        self.assertEqual(found[-1].trouble, Trouble.CLOCK)
        self.assertIn("ahead of", found[-1].message)

"""What a provider lacks, by its metadata."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from perimeter.oidc.client_method import ClientMethod
from perimeter.oidc.examination import clock_difference, shortcomings
from perimeter.oidc.metadata import Metadata
from perimeter.plugin.redirect import Trouble

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

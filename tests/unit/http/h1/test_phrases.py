"""The reason phrases of status lines."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

from twisted.trial.unittest import TestCase

from perimeter.errors import Refusal
from perimeter.http.h1.phrases import PHRASES

# RFC 9110 has renamed these; Python knows the new names from 3.13 on
RENAMED = {413: b"Content Too Large"}


def descendants(kind: type[Refusal]) -> Iterator[type[Refusal]]:
    """Every class of refusals below ``kind``."""
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


class PhraseTests(TestCase):
    def test_every_status_that_the_gateway_answers_with_has_one(self) -> None:
        refusals = set(descendants(Refusal))
        self.assertGreater(len(refusals), 30)
        self.assertEqual({refusal.status for refusal in refusals} - set(PHRASES), set())
        # of files, redirects, uploads and endpoints
        self.assertEqual({200, 201, 204, 206, 301, 302, 303, 304, 307, 308, 412, 416} - set(PHRASES), set())

    def test_they_are_those_of_the_standard(self) -> None:
        self.assertGreater(len(PHRASES), 25)
        for status, phrase in PHRASES.items():
            expected = RENAMED.get(status, HTTPStatus(status).phrase.encode())
            # 414 and 416 are spelled with more words in Python before 3.13
            self.assertIn(phrase, (expected, expected.replace(b"Request-", b"").replace(b"Requested ", b"")))

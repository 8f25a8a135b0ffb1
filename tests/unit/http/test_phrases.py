"""The reason phrases of status lines."""

from __future__ import annotations

from http import HTTPStatus

from twisted.trial.unittest import TestCase

from perimeter.http.h1.phrases import PHRASES

# RFC 9110 has renamed these; Python knows the new names from 3.13 on
RENAMED = {413: b"Content Too Large"}


class PhraseTests(TestCase):
    def test_they_are_those_of_the_standard(self) -> None:
        self.assertGreater(len(PHRASES), 25)
        for status, phrase in PHRASES.items():
            expected = RENAMED.get(status, HTTPStatus(status).phrase.encode())
            # 414 and 416 are spelled with more words in Python before 3.13
            self.assertIn(phrase, (expected, expected.replace(b"Request-", b"").replace(b"Requested ", b"")))

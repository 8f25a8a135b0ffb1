"""The set of kinds of state: no two of them can be confused."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import TestCase

from perimeter.state.kinds import Kinds
from perimeter.tokens.revocation import RevokedGrant
from perimeter.tokens.stored import TOKENS


class KindsTests(TestCase):
    def test_a_change_belongs_to_one_kind(self) -> None:
        kinds = Kinds((TOKENS,))
        self.assertEqual(kinds.all, (TOKENS,))
        self.assertIs(kinds.of(RevokedGrant("id", 1.0)), TOKENS)

    def test_two_kinds_with_the_same_name(self) -> None:
        with self.assertRaisesRegex(ValueError, "same name"):
            Kinds((TOKENS, attrs.evolve(TOKENS, codecs={})))

    def test_two_kinds_with_the_same_change_or_word(self) -> None:
        word, codec = next(iter(TOKENS.codecs.items()))
        for codecs in ({word: attrs.evolve(codec, change=TestCase)}, {"another": codec}):
            with self.assertRaisesRegex(ValueError, "have a change"):
                Kinds((TOKENS, attrs.evolve(TOKENS, name="other", codecs=codecs)))

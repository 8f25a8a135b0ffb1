"""The keys of clients in shared memory."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from perimeter.limits.keys import key_of

SECRET = b"s" * 32


class KeyTests(SynchronousTestCase):
    def test_the_same_text_has_the_same_key_in_each_process(self) -> None:
        self.assertEqual(key_of("rate a 192.0.2.1", SECRET), key_of("rate a 192.0.2.1", SECRET))

    def test_another_text_or_secret_has_another_key(self) -> None:
        found = {key_of("a", SECRET), key_of("b", SECRET), key_of("a", b"t" * 32), key_of("", SECRET), key_of("\udcff", SECRET)}
        self.assertEqual(len({key.mark for key in found}), 5)
        self.assertEqual(len({key.at for key in found}), 5)

    def test_both_numbers_have_64_bits_and_a_mark_is_not_0(self) -> None:
        keys = [key_of(str(number), SECRET) for number in range(200)]
        for numbers in ([key.at for key in keys], [key.mark for key in keys]):
            self.assertTrue(2**63 < max(numbers) < 2**64)
            self.assertTrue(0 < min(numbers) < 2**60)

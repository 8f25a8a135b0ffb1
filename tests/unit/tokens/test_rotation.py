"""When keys are replaced, and which keys several machines agree on."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.config.site.token import Algorithm, TokenSettings
from perimeter.errors import StartupError, StateUnavailable
from perimeter.tokens.jwk import BadKey, generate
from perimeter.tokens.key_file import KeyEntry, KeySet, KeyState, parse_keys, write_keys
from perimeter.tokens.keyring import Keyring
from perimeter.tokens.rotation import GRACE, PATIENCE, agreed, due_together, end_of, settle
from tests.unit.doubles.tokens_site import NOW

SETTINGS = TokenSettings()
HS256 = TokenSettings(algorithm=Algorithm.HS256, secret="s" * 64)
AFTER = SETTINGS.extended_lifetime + GRACE
"""Seconds for which a retired key still verifies."""


def made(state: KeyState = KeyState.SIGNING, at: float = NOW) -> KeyEntry:
    entry = KeyEntry(generate(Algorithm.ES256), at, None if state is KeyState.NEXT else at)
    return retired(entry, at) if state is KeyState.RETIRED else entry


def retired(entry: KeyEntry, at: float) -> KeyEntry:
    return attrs.evolve(entry, retired=at, jwk=attrs.evolve(entry.jwk, private=None))


class AgreedTests(TestCase):
    def setUp(self) -> None:
        self.signing, self.following = made(), made(KeyState.NEXT)
        self.keys = KeySet((self.signing, self.following), 1, 5)

    def agreed(self, ours: KeySet, theirs: KeySet | None, now: float = NOW) -> KeySet:
        return agreed(ours, theirs, SETTINGS, now)

    def test_the_first_machine(self) -> None:
        alone = KeySet(self.keys.entries)
        self.assertEqual(self.agreed(alone, None), KeySet(self.keys.entries, 0, 1))
        self.assertEqual(self.agreed(self.keys, None), self.keys, "what the engine has lost")
        self.assertEqual(self.agreed(KeySet(), None), KeySet())

    def test_the_later_keys_are_in_force(self) -> None:
        for order in ((1, 6), (2, 0), (2, 6)):
            later = KeySet(self.keys.entries, *order)
            self.assertEqual(self.agreed(self.keys, later), later)
            self.assertEqual(self.agreed(later, self.keys), later)
        self.assertEqual(self.agreed(KeySet(), self.keys), attrs.evolve(self.keys), "a new machine")

    def test_of_keys_of_the_same_number_those_of_the_engine_are_in_force(self) -> None:
        other = made(KeyState.NEXT)
        theirs = KeySet((self.signing, other), 1, 5)
        self.assertEqual(self.agreed(self.keys, theirs), theirs)

    def test_what_has_signed_goes_on_verifying(self) -> None:
        for ours, theirs in ((4, 5), (5, 4), (5, 5)):
            mine, old, ended = made(), made(KeyState.RETIRED), made(KeyState.RETIRED, NOW - AFTER)
            later, earlier = KeySet((self.signing,), 1, max(ours, theirs)), KeySet((mine, old, ended, self.following), 1, 4)
            if ours == theirs:
                earlier = attrs.evolve(earlier, number=5)
            found = self.agreed(*((later, earlier) if ours > theirs else (earlier, later)))
            expected = KeySet((self.signing, retired(mine, NOW), old), 1, 6)
            self.assertEqual(found, expected)
            self.assertIsNone(found.entries[1].jwk.private)

    def test_attack_193_what_was_discarded_does_not_go_on(self) -> None:
        mine = KeySet((made(), made(KeyState.RETIRED)), 1, 99)
        theirs = KeySet(self.keys.entries, 2, 1)
        self.assertEqual(self.agreed(mine, theirs), theirs)
        self.assertEqual(self.agreed(theirs, mine), theirs)


class DueTests(TestCase):
    def due(self, *entries: KeyEntry, now: float = NOW, settings: TokenSettings = SETTINGS) -> bool:
        return due_together(entries, settings, now)

    def test_no_key(self) -> None:
        self.assertTrue(self.due())
        self.assertTrue(self.due(made(KeyState.NEXT), made(KeyState.RETIRED)))
        self.assertFalse(self.due(settings=HS256))

    def test_its_life_is_over(self) -> None:
        signing = made()
        self.assertFalse(self.due(signing, now=NOW + SETTINGS.key_lifetime - 1))
        self.assertTrue(self.due(signing, now=NOW + SETTINGS.key_lifetime))

    def test_a_key_that_verifies_nothing_any_more(self) -> None:
        signing, old = made(), made(KeyState.RETIRED)
        self.assertEqual(end_of(old, SETTINGS), NOW + AFTER)
        self.assertFalse(self.due(signing, old, now=NOW + AFTER - 1))
        self.assertTrue(self.due(signing, old, now=NOW + AFTER))
        self.assertEqual(len(settle((signing, old), SETTINGS, NOW + AFTER)), 2)

    def test_another_algorithm_has_patience(self) -> None:
        signing = made()
        for settings in (TokenSettings(algorithm=Algorithm.EDDSA), HS256):
            self.assertFalse(self.due(signing, now=NOW + PATIENCE - 1, settings=settings))
            self.assertTrue(self.due(signing, now=NOW + PATIENCE, settings=settings))


class TextTests(TestCase):
    def test_there_and_back(self) -> None:
        entries = (made(), made(KeyState.NEXT), made(KeyState.RETIRED))
        for keys in (KeySet(), KeySet(entries), KeySet(entries, 0, 1), KeySet(entries, 7, 2**53 - 1)):
            document = write_keys(keys)
            self.assertEqual(parse_keys(json.loads(json.dumps(document))), keys)
            self.assertEqual("number" in document, keys.number > 0)

    def test_a_number_that_is_none(self) -> None:
        for member in ("epoch", "number"):
            for value in (-1, 2**53, True, "1", 1.0, None):
                self.assertRaises(BadKey, parse_keys, {"version": 1, "keys": [], member: value})


class SharedTests(TestCase):
    """The keyring of a machine that shares its keys."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.state_dir = Path(self.mktemp()).absolute()
        self.keyring = self.open()

    def open(self, settings: TokenSettings = SETTINGS, *, shared: bool = True) -> Keyring:
        return Keyring.open(self.state_dir, settings, self.clock, shared=shared)

    def file(self) -> KeySet | None:
        path = self.state_dir / "keyring.json"
        return parse_keys(json.loads(path.read_bytes())) if path.exists() else None

    def test_it_makes_no_keys_by_itself(self) -> None:
        self.assertFalse(self.keyring.rotate_if_due())
        self.assertFalse(self.keyring.refresh())
        self.assertIsNone(self.file())
        self.assertEqual(self.keyring.jwks(), {"keys": []})
        error = self.assertRaises(StateUnavailable, lambda: self.keyring.signing_key)
        self.assertIn("not known yet", error.detail)
        self.assertTrue(self.keyring.due_together())

    def test_it_does_not_rotate_by_itself(self) -> None:
        self.keyring.adopt(self.keyring.agreed(None))
        kid = self.keyring.signing_key.kid
        self.assertFalse(self.keyring.due_together())
        self.clock.advance(SETTINGS.key_lifetime)
        self.assertTrue(self.keyring.due_together())
        self.assertFalse(self.keyring.rotate_if_due())
        self.assertEqual(self.open().signing_key.kid, kid)

    def test_the_first_keys(self) -> None:
        keys = self.keyring.agreed(None)
        self.assertEqual((keys.order, [entry.state for entry in keys.entries]), ((0, 1), ["signing", "next"]))
        self.assertIsNone(self.file(), "not before they are on the engine")
        self.assertTrue(self.keyring.adopt(keys))
        self.assertEqual(self.file(), keys)
        self.assertFalse(self.keyring.adopt(keys))
        self.assertEqual(self.keyring.agreed(keys), keys)
        self.assertEqual(self.keyring.rotated(keys), keys, "nothing is due")

    def test_rotated(self) -> None:
        keys = self.keyring.agreed(None)
        self.keyring.adopt(keys)
        signing, following = keys.entries
        forced = self.keyring.rotated(keys, force=True)
        self.assertEqual((forced.order, len(forced.entries)), ((0, 2), 3))
        self.assertEqual(forced.entries[0].jwk, following.jwk)
        self.assertEqual(forced.entries[2], retired(signing, NOW))
        discarded = self.keyring.rotated(keys, force=True, discard=True)
        self.assertEqual((discarded.order, len(discarded.entries)), ((1, 2), 2))
        self.assertFalse({entry.jwk.kid for entry in keys.entries} & {entry.jwk.kid for entry in discarded.entries})
        self.clock.advance(SETTINGS.key_lifetime)
        self.assertEqual(self.keyring.rotated(keys).entries[0].jwk, following.jwk)
        self.assertEqual(self.keyring.entries, keys.entries, "nothing is in use yet")

    def test_adopt_keeps_what_is_later(self) -> None:
        keys = self.keyring.agreed(None)
        later = self.keyring.rotated(keys, force=True)
        self.assertTrue(self.keyring.adopt(later))
        self.assertFalse(self.keyring.adopt(keys))
        self.assertEqual(self.file(), later)
        other = attrs.evolve(later, entries=keys.entries)
        self.assertTrue(self.keyring.adopt(other), "of the same number: that of the engine")
        self.assertEqual(self.file(), other)

    def test_another_process_of_the_machine_reads_the_file(self) -> None:
        other = self.open()
        keys = self.keyring.agreed(None)
        self.keyring.adopt(keys)
        self.assertTrue(other.refresh())
        self.assertFalse(other.refresh())
        self.assertEqual(other.entries, keys.entries)
        self.assertFalse(other.adopt(keys))

    def test_a_machine_that_leaves_the_others_keeps_the_keys(self) -> None:
        keys = self.keyring.agreed(None)
        self.keyring.adopt(keys)
        alone = self.open(shared=False)
        self.assertEqual(alone.entries, keys.entries)
        alone.rotate()
        self.assertEqual((self.file() or keys).order, (0, 0))

    def test_with_a_secret_there_is_nothing_to_share(self) -> None:
        keyring = self.open(HS256)
        self.assertEqual(keyring.agreed(None), KeySet())
        self.assertFalse(keyring.due_together())
        for how in ({"force": True}, {"discard": True}):
            self.assertRaises(StartupError, keyring.rotated, KeySet(), **how)
        self.assertEqual(keyring.rotated(KeySet()), KeySet())
        self.assertEqual(keyring.signing_key.algorithm, "HS256")

    def test_a_file_that_is_gone(self) -> None:
        self.keyring.adopt(self.keyring.agreed(None))
        (self.state_dir / "keyring.json").unlink()
        self.assertRaises(StartupError, self.keyring.agreed, None)

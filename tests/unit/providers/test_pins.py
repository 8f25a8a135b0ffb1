"""User names that are bound to identities of providers."""

from __future__ import annotations

from perimeter.errors import NameConflict, Overloaded, Unavailable
from perimeter.providers import pins
from perimeter.providers.pins import CODECS, PINS, Pin, PinTable, ReleasedName, StoredPins, compared
from perimeter.state.once import ONCE
from tests.unit.doubles.sessions import START, SessionCase
from tests.unit.doubles.tables import TableCase

ISSUER = "https://sso.example"
CAROL = Pin("corp", "Carol", ISSUER, "7", START)


class StoredTests(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.pins: StoredPins = self.state.view(PINS)
        self.claims = self.state.view(ONCE)

    def bind(self, username: str = "Carol", subject: str = "7", issuer: str = ISSUER, realm: str = "corp") -> Pin:
        found: Pin = self.done(self.pins.bind(self.claims, realm, username, issuer, subject))
        return found

    def conflicts(self, username: str = "Carol", subject: str = "7", issuer: str = ISSUER) -> None:
        self.fails(NameConflict, self.pins.bind(self.claims, "corp", username, issuer, subject))

    def test_the_first_identity_has_the_name(self) -> None:
        self.assertEqual(self.bind(), CAROL)
        self.clock.advance(1)
        self.assertEqual(self.bind(), CAROL)
        self.assertEqual(self.bind("cAROL"), CAROL)
        self.conflicts(subject="8")
        self.conflicts(issuer="https://other.example")
        self.conflicts("\uff23arol", "8")
        self.assertEqual(self.bind(realm="other", subject="8").realm, "other")
        self.assertEqual([pin.realm for pin in self.pins.all()], ["corp", "other"])

    def test_a_name_of_another_process(self) -> None:
        self.store.others_write(CAROL)
        self.conflicts(subject="8")
        self.assertEqual(self.bind(), CAROL)

    def test_one_worker_at_a_time_binds_a_name(self) -> None:
        other = StoredPins(self.state)  # of a worker that has not read the log yet
        self.clock.advance(14.9)  # START is the beginning of an interval
        self.bind()
        for seconds in (0.0, 0.1, 14.9):
            self.clock.advance(seconds)
            error = self.fails(Unavailable, other.bind(self.claims, "corp", "carol", ISSUER, "8"))
            self.assertEqual(error.retry_after, 30)

    def test_a_released_name(self) -> None:
        self.bind()
        self.assertEqual(self.done(self.pins.release("corp", "CAROL")), CAROL)
        self.assertIsNone(self.done(self.pins.release("corp", "CAROL")))
        self.assertIsNone(self.pins.of("corp", "carol"))
        self.clock.advance(30)
        self.assertEqual(self.bind(subject="8").subject, "8")

    def test_a_name_of_another_process_is_released(self) -> None:
        self.store.others_write(CAROL)
        self.assertEqual(self.done(self.pins.release("corp", "carol")), CAROL)

    def test_a_name_is_bound_once_that_is_written(self) -> None:
        self.store.fails = True
        self.fails(Unavailable, self.pins.bind(self.claims, "corp", "carol", ISSUER, "7"))
        self.assertIsNone(self.pins.of("corp", "carol"))

    def test_names_are_bounded(self) -> None:
        self.patch(pins, "MOST_PINS", 1)
        self.bind()
        self.fails(Overloaded, self.pins.bind(self.claims, "corp", "dave", ISSUER, "9"))
        self.assertEqual(self.bind(), CAROL)

    def test_names_are_loaded_and_stay(self) -> None:
        self.pins.replace(self.pins.index([CAROL, Pin("corp", "carol", ISSUER, "8", START)]))
        self.pins.forget(START * 2)
        self.assertEqual(self.pins.all(), [CAROL])

    def test_names_are_compared(self) -> None:
        self.assertEqual(compared("\uff33TRASSE\u00df"), "strassess")
        self.assertNotEqual(compared("carol"), compared("car0l"))


class TableTests(TableCase):
    TABLE = PinTable

    def test_the_first_identity_has_the_name(self) -> None:
        self.write(CAROL, Pin("corp", "CAROL", ISSUER, "8", START + 1), Pin("corp", "dave", ISSUER, "9", START))
        self.assertEqual(self.held(), [CAROL, Pin("corp", "dave", ISSUER, "9", START)])
        self.write(ReleasedName("corp", "carol"), ReleasedName("corp", "of nobody"))
        self.table.forget(self.database.execute, START * 2)
        self.assertEqual(self.held(), [Pin("corp", "dave", ISSUER, "9", START)])

    def test_the_log(self) -> None:
        for word, change in (("provider_name", CAROL), ("provider_name_released", ReleasedName("corp", "carol"))):
            codec = CODECS[word]
            self.assertEqual(codec.decode(codec.encode(change)), change)
        self.assertTrue(CAROL.adds)
        self.assertFalse(ReleasedName("corp", "carol").adds)

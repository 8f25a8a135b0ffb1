"""A note about what an operator did waits for their next look, whichever worker that reaches."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.run.operated import NOTE_TIMEOUT, notes_of
from perimeter.web.endpoints.operator.notes import MOST, Note, Notes
from perimeter.workers.channel import Handler
from perimeter.workers.page import SharedPage
from perimeter.workers.place import Place
from tests.unit.workers.channels import connected

NOTE = (True, "The session 1 of bob has ended.")
NONE = (True, "")


class NotesTests(TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.page = SharedPage.create()
        self.addCleanup(self.page.close)
        self.asked: list[Any] = []
        self.replies: Any = []
        handlers: dict[str, Handler] = {}
        _, own, self.pump = connected({"gather": self.gather}, handlers, self.clock)
        self.handlers = handlers
        self.notes = notes_of(Place(0, self.page, own, handlers))

    def gather(self, asked: Any) -> Any:
        self.asked.append((asked["name"], asked["timeout"], asked["arguments"]))
        return self.replies

    def take(self, session: str, expected: bool = True) -> Deferred[Note]:
        taken = Deferred.fromCoroutine(self.notes.take(session, expected))
        self.pump()
        return taken

    def test_a_note_is_taken_once(self) -> None:
        self.notes.keep("s", NOTE)
        self.assertEqual(self.successResultOf(self.take("other", False)), NONE)
        self.assertEqual(self.successResultOf(self.take("s", False)), NOTE)
        self.assertEqual(self.successResultOf(self.take("s", False)), NONE)
        self.assertEqual(self.asked, [])

    def test_the_note_of_another_worker(self) -> None:
        self.replies = [{"slot": 1, "value": None}, {"slot": 2, "late": True}, {"slot": 3, "value": [False, "Not done."]}]
        self.assertEqual(self.successResultOf(self.take("s")), (False, "Not done."))
        self.assertEqual(self.asked, [("note", NOTE_TIMEOUT, {"session": "s"})])

    def test_an_own_note_needs_no_question(self) -> None:
        self.notes.keep("s", NOTE)
        self.assertEqual(self.successResultOf(self.take("s")), NOTE)
        self.assertEqual(self.asked, [])

    def test_no_note_anywhere(self) -> None:
        self.replies = [{"slot": 1, "value": None}]
        self.assertEqual(self.successResultOf(self.take("s")), NONE)

    def test_a_manager_that_does_not_answer(self) -> None:
        taken = Deferred.fromCoroutine(self.notes.take("s", True))
        self.clock.advance(NOTE_TIMEOUT + 1.0)
        self.assertEqual(self.successResultOf(taken), NONE)

    def test_another_worker_takes_it(self) -> None:
        self.notes.keep("s", NOTE)
        self.assertEqual(self.handlers["note"]({"session": "s"}), NOTE)
        self.assertIsNone(self.handlers["note"]({"session": "s"}))

    def test_a_single_process_has_no_others(self) -> None:
        self.assertTrue(self.notes.shared)
        self.assertFalse(notes_of(None).shared)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(notes_of(None).take("s", True))), NONE)

    def test_notes_are_bounded(self) -> None:
        notes = Notes()
        for number in range(MOST + 1):
            notes.keep(str(number), NOTE)
        self.assertEqual([notes.pop(str(number)) for number in (0, 1, MOST)], [None, NOTE, NOTE])

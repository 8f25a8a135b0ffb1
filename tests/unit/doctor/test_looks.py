"""Looks run side by side: one that hangs or fails hides no other."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from twisted.trial.unittest import TestCase

from perimeter.cli.doctor import exit_status
from perimeter.doctor import looks as module
from perimeter.doctor.finding import Finding, Grade, Name
from perimeter.doctor.looks import MOST, Look, SideBySide


def finding(number: int = 0, grade: Grade = Grade.SOON) -> Finding:
    return Finding(Name.DISK_FULL, grade, f"/{number}", "it is full", "make room")


class SideBySideTests(TestCase):
    def test_in_their_order_and_at_the_same_time(self) -> None:
        both = threading.Barrier(2, timeout=10)

        def see(number: int) -> Iterable[Finding]:
            both.wait()  # would break if one waited for the other
            return [finding(number)]

        seen = SideBySide([Look("a", "", lambda: see(1)), Look("b", "", lambda: see(2))]).finish()
        self.assertEqual([one.findings for one in seen], [(finding(1),), (finding(2),)])
        self.assertEqual([one.look.name for one in seen], ["a", "b"])

    def test_a_look_that_hangs_is_late_and_hides_no_other(self) -> None:
        released = threading.Event()
        self.addCleanup(released.set)

        def hang() -> list[Finding]:
            released.wait(60)
            return [finding(1)]

        began = time.monotonic()
        seen = SideBySide([Look("disk", "/nfs", hang), Look("b", "", lambda: [finding(2)])], 0.2).finish()
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(seen[1].findings, (finding(2),))
        (late,) = seen[0].findings
        self.assertEqual((late.name, late.grade, late.subject), (Name.LOOK_LATE, Grade.FAILS, "disk of /nfs"))
        self.assertEqual(late.message, "the look did not end within 0.2 s")

    def test_a_look_that_fails_says_so_without_the_text_of_the_exception(self) -> None:
        def fail() -> list[Finding]:
            raise PermissionError("a secret")

        (seen,) = SideBySide([Look("files", "", fail)]).finish()
        (failed,) = seen.findings
        self.assertEqual((failed.name, failed.subject), (Name.LOOK_FAILED, "files"))
        self.assertEqual(failed.message, "the look failed with PermissionError")

    def test_what_was_found_before_a_failure_stays(self) -> None:
        def see() -> Iterable[Finding]:
            yield finding(1)
            raise OSError

        (seen,) = SideBySide([Look("files", "", see)]).finish()
        self.assertEqual(seen.findings[0], finding(1))
        self.assertEqual([one.name for one in seen.findings], [Name.DISK_FULL, Name.LOOK_FAILED])

    def test_no_more_threads_than_allowed_work_at_once(self) -> None:
        self.patch(module, "AT_ONCE", 2)
        lock, running, most = threading.Lock(), [0], [0]

        def see() -> list[Finding]:
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            time.sleep(0.01)
            with lock:
                running[0] -= 1
            return []

        SideBySide([Look(str(number), "", see) for number in range(8)]).finish()
        self.assertEqual(most, [2])

    def test_the_worst_findings_of_many(self) -> None:
        def see(count: int) -> list[Finding]:
            return [*(finding(number) for number in range(count - 1)), finding(count, Grade.OPEN)]

        (all_of_them,) = SideBySide([Look("x", "", lambda: see(MOST))]).finish()
        self.assertEqual(len(all_of_them.findings), MOST)
        (few,) = SideBySide([Look("x", "", lambda: see(MOST + 5))]).finish()
        self.assertEqual(len(few.findings), MOST)
        self.assertEqual(few.findings[0].grade, Grade.OPEN)
        self.assertEqual(few.findings[-1].message, "there are 6 more findings of this look")


class ExitStatusTests(TestCase):
    def test_by_the_worst_finding(self) -> None:
        self.assertEqual(exit_status([]), 0)
        expected = {Grade.ADVICE: 0, Grade.SOON: 3, Grade.FAILS: 1, Grade.DOWN: 1, Grade.OPEN: 1}
        for grade, status in expected.items():
            self.assertEqual(exit_status([finding(1, Grade.ADVICE), finding(2, grade)]), status, grade)
        self.assertEqual(set(expected), set(Grade))

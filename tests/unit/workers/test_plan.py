"""The text of site.ini, which the manager only passes on."""

from __future__ import annotations

import os

from twisted.trial.unittest import TestCase

from perimeter.workers.plan import content, sealed


class TextTests(TestCase):
    def test_no_process_can_change_the_text(self) -> None:
        descriptor = sealed(b"text")
        self.addCleanup(os.close, descriptor)
        self.assertEqual(content(descriptor), b"text")
        self.assertRaises(PermissionError, os.pwrite, descriptor, b"T", 0)
        self.assertRaises(PermissionError, os.ftruncate, descriptor, 0)
        again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
        self.addCleanup(os.close, again)
        self.assertRaises(PermissionError, os.write, again, b"T")

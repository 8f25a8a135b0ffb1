"""The limit of file descriptors, and what is said when none is free."""

from __future__ import annotations

import os
import resource
import sqlite3
from errno import EACCES, EMFILE, ENFILE

from twisted.trial.unittest import SynchronousTestCase

from perimeter import descriptors
from perimeter.descriptors import clients_share, descriptor_limit, system_reason


class DescriptorTests(SynchronousTestCase):
    def limited(self, soft: int) -> None:
        self.patch(resource, "getrlimit", lambda kind: (soft, resource.RLIM_INFINITY))

    def test_the_limit_is_the_soft_one(self) -> None:
        self.limited(1024)
        self.assertEqual(descriptor_limit(), 1024)
        self.limited(resource.RLIM_INFINITY)
        self.assertIsNone(descriptor_limit())

    def test_attack_58_clients_get_half(self) -> None:
        for soft, wanted, share in ((1024, 20000, 512), (1024, 512, 512), (1025, 513, 512), (1024, 511, 511), (1, 20, 1)):
            self.limited(soft)
            self.assertEqual(clients_share(wanted), share, (soft, wanted))
        self.limited(resource.RLIM_INFINITY)
        self.assertEqual(clients_share(20000), 20000)

    def test_a_lack_of_descriptors_is_named(self) -> None:
        self.limited(64)
        self.assertEqual(
            system_reason(OSError(EMFILE, "Too many open files")),
            "no file descriptor is free: the limit is 64; raise it (LimitNOFILE= of the service, ulimit -n)",
        )
        self.assertEqual(system_reason(OSError(ENFILE, "x")), "no file descriptor is free in the whole system (fs.file-max)")

    def test_a_lack_that_sqlite_hides_is_named(self) -> None:
        error = sqlite3.OperationalError("unable to open database file")
        self.assertEqual(system_reason(error), "unable to open database file")

        def exhausted(*arguments: object) -> int:
            raise OSError(EMFILE, "Too many open files")

        self.patch(descriptors.os, "open", exhausted)
        self.assertIn("no file descriptor is free", system_reason(error))

    def test_other_reasons(self) -> None:
        def forbidden(*arguments: object) -> int:
            raise OSError(EACCES, "Permission denied")

        self.assertEqual(system_reason(OSError(EACCES, os.strerror(EACCES))), "Permission denied")
        self.assertEqual(system_reason(OSError("in words")), "in words")
        self.assertEqual(system_reason(OSError()), "OSError")
        self.patch(descriptors.os, "open", forbidden)
        self.assertEqual(system_reason(ValueError("bad")), "bad")

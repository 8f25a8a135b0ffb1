"""The clock, the descriptors and the interpreter."""

from __future__ import annotations

import os
import resource
import sys
import time

from perimeter.doctor import machine
from perimeter.doctor.finding import Grade, Name
from perimeter.interpreter import built_with_pgo
from tests.unit.doctor.examined import SITE, ExaminedCase


class MachineTests(ExaminedCase):
    def test_how_python_was_built(self) -> None:
        for variables, distribution, expected in (
            ({"CONFIG_ARGS": "'--enable-optimizations' '--with-lto'"}, False, True),
            ({"PY_CORE_CFLAGS": "-O3 -fprofile-use -fprofile-correction"}, False, True),
            ({"CONFIG_ARGS": "'--enable-shared'", "PY_CFLAGS_NODIST": None}, False, False),
            ({}, False, False),
            ({"CONFIG_ARGS": "'--enable-shared'"}, True, True),
        ):
            self.assertEqual(built_with_pgo(variables, distribution), expected, variables)
        self.assertIsInstance(built_with_pgo(), bool)

    def test_the_interpreter(self) -> None:
        self.patch(machine, "built_with_pgo", lambda: True)
        self.assertEqual(machine.interpreter(), [])
        self.patch(machine, "built_with_pgo", lambda: False)
        (finding,) = machine.interpreter()
        self.assertEqual((finding.name, finding.grade), (Name.INTERPRETER_SLOW, Grade.ADVICE))
        self.assertIn(sys.executable, finding.message)

    def test_the_clock(self) -> None:
        subject = self.subject()
        self.assertEqual(list(machine.clock(subject, kernel=True)), [])
        (finding,) = machine.clock(subject, kernel=False)
        self.assertEqual((finding.name, finding.grade), (Name.CLOCK_FREE, Grade.SOON))
        self.assertIn(machine.synchronised(), (True, False, None))

    def test_the_clock_with_kerberos(self) -> None:
        (finding,) = machine.clock(self.subject(), kernel=False)
        self.assertNotIn("Kerberos", finding.message)
        (finding,) = machine.clock(self.subject(self.with_tickets()), kernel=False)
        self.assertTrue(finding.message.endswith(", and all Kerberos tickets when it differs by five minutes"), finding.message)

    def test_files_from_the_future(self) -> None:
        subject = self.subject()
        path = self.file("state/state.db", "x")
        now = time.time()
        os.utime(path, (now + 30, now + 30))
        self.assertEqual(list(machine.clock(subject, kernel=True)), [])
        os.utime(path, (now + 3600, now + 3600))
        (finding,) = machine.clock(subject, kernel=True)
        self.assertEqual((finding.name, finding.grade), (Name.CLOCK_BEHIND, Grade.FAILS))
        self.assertIn("state.db was written 3", finding.message)

    def test_descriptors(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
        subject = self.subject(SITE.replace("[listener", "[limits]\nconnections = 200\n\n[listener"))
        self.assertEqual(machine.descriptors(subject), [])
        subject = self.subject(SITE.replace("[listener", "[limits]\nconnections = 201\n\n[listener"))
        (finding,) = machine.descriptors(subject)
        self.assertIn("this shell, and what it starts, may have 400", finding.message)
        self.assertIn("LimitNOFILE=402", finding.remedy)
        subject = self.subject(
            SITE.replace("[listener", "[limits]\nconnections = 201\n\n[listener"), running={"pid": os.getpid()}
        )
        (finding,) = machine.descriptors(subject)
        self.assertIn("the running gateway may have 400", finding.message)

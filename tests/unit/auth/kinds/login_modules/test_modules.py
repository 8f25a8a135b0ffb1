"""Login modules as an authenticator: their configuration, and the modules that are part of Perimeter."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.plugin import IPlugin
from twisted.trial import unittest
from zope.interface import implementer
from zope.interface.verify import verifyObject

from perimeter.auth.kinds.login_modules import command, pam
from perimeter.auth.kinds.login_modules.authenticator import LoginModulesAuthenticator, LoginModulesFactory
from perimeter.auth.kinds.login_modules.command import ENVIRONMENT, CommandFactory, judged, run
from perimeter.auth.registry import login_module_factories
from perimeter.config.language.datatypes import SECRET, TEXT
from perimeter.config.language.option import Option
from perimeter.config.language.references import References
from perimeter.config.language.scanner import scan
from perimeter.config.language.section import Section
from perimeter.errors import Problem, Rejected, StartupError, Unavailable
from perimeter.model import AuthenticationRequest, BasicCredentials, BearerCredentials, Principal
from perimeter.offload import Offload
from perimeter.plugin.authenticator import IAuthenticatorFactory, IRunningAuthenticator
from perimeter.plugin.login_module import ILoginModule, ILoginModuleFactory, LoginAttempt, UnknownUser
from perimeter.plugin.services import AuthServices
from perimeter.plugin.verified_login import Known, VerifiedLogin
from tests.unit.doubles.auth import REQUEST, ImmediateThreads, ThreadClock, offload_with

ALICE = BasicCredentials("alice", "wonderland-42")


@implementer(ILoginModule)
class Echoing:
    """Accepts every user whose password is its option ``password``."""

    def __init__(self, password: str) -> None:
        self.password = password

    def begin(self, attempt: LoginAttempt) -> VerifiedLogin:
        return VerifiedLogin(attempt, self.verify)

    async def verify(self, attempt: LoginAttempt) -> Known:
        if attempt.credentials.password != self.password:
            raise Rejected("wrong")
        return Known(attempt.credentials.username.lower(), ("echoed",), {"from": attempt.request.address})


_PASSWORD = Option("password", SECRET, "of all users", required=True)


@implementer(IPlugin, ILoginModuleFactory)
class EchoingKind:
    kind = "echoing"
    options = (_PASSWORD,)

    def parse(self, options: Section) -> str:
        return options.value(_PASSWORD)

    def build(self, name: str, realm: str, settings: str, services: AuthServices) -> Echoing:
        return Echoing(settings)


class ModulesCase(unittest.TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        self.clock = ThreadClock()
        self.threads = ImmediateThreads()
        self.services = AuthServices(self.clock, offload_with(self.threads, self.clock))
        self.problems: list[Problem] = []

    def section(self, text: str) -> Section:
        (scanned,), _ = scan(f"[authenticator stack]\ntype = login-modules\n{text}")
        section = Section(scanned, "site.ini", self.directory, References({}, self.directory), self.problems)
        section.value(Option("type", TEXT, ""))
        return section

    def build(self, text: str) -> LoginModulesAuthenticator:
        factory = LoginModulesFactory(lambda: {**login_module_factories(), "echoing": EchoingKind()})
        section = self.section(text)
        settings = factory.parse(section)
        section.finish()
        self.assertEqual([str(problem) for problem in self.problems], [])
        return factory.build("stack", "corp", settings, self.services)

    def faults(self, text: str) -> str:
        factory = LoginModulesFactory(lambda: {**login_module_factories(), "echoing": EchoingKind()})
        section = self.section(text)
        factory.parse(section)
        section.finish()
        return "\n".join(map(str, self.problems))

    def ask(
        self, authenticator: LoginModulesAuthenticator, username: str = "alice", password: str = "wonderland-42"
    ) -> Deferred[Any]:
        return ensureDeferred(authenticator.authenticate(BasicCredentials(username, password), REQUEST))


class ConfigurationTests(ModulesCase):
    def test_options_are_handed_on_without_their_prefix(self) -> None:
        (self.directory / "users.realm").write_text("bob: hunter2,ops\n")
        stack = self.build("modules = realmfile sufficient, echoing required\noption.path = users.realm\noption.password = tea")
        verifyObject(IRunningAuthenticator, stack)
        found = self.successResultOf(self.ask(stack, "ALICE", "tea"))
        self.assertEqual(found, Principal("alice", "corp", ("echoed",), "stack"))
        self.assertEqual(found.attributes, {"from": "192.0.2.1"})
        self.assertEqual(self.successResultOf(self.ask(stack, "bob", "hunter2")).roles, ("ops",))
        self.failureResultOf(self.ask(stack, "bob", "wrong"), Rejected)

    def test_faults_are_reported_with_their_lines(self) -> None:
        self.assertIn("modules: there is no login module 'pan', did you mean pam?", self.faults("modules = pan required"))
        self.assertIn("did you mean pam required?", self.faults("modules = pam requird"))
        self.assertIn("did you mean pam required?", self.faults("modules = pam"))
        self.assertIn("option.password: is required", self.faults("modules = echoing required"))
        told = self.faults("modules = echoing required\noption.password = x\noption.pasword = y")
        self.assertIn("site.ini:5: [authenticator stack] option.pasword: unknown option, did you mean option.password?", told)
        self.assertIn("option.path: there is no file", self.faults("modules = realmfile required\noption.path = none"))

    def test_other_credentials_are_none_of_its_business(self) -> None:
        stack = self.build("modules = echoing required\noption.password = tea")
        self.assertIsNone(self.successResultOf(ensureDeferred(stack.authenticate(BearerCredentials("x"), REQUEST))))

    def test_unknown_users_are_for_the_next_authenticator(self) -> None:
        (self.directory / "users.realm").write_text("bob: hunter2,ops\n")
        stack = self.build("modules = realmfile required\noption.path = users.realm")
        self.assertIsNone(self.successResultOf(self.ask(stack)))

    def test_attack_39_a_change_is_passed_on(self) -> None:
        path = self.directory / "users.realm"
        path.write_text("bob: hunter2,ops\n")
        stack = self.build("modules = realmfile required\noption.path = users.realm")
        changes: list[None] = []
        stack.start(lambda: changes.append(None))
        path.write_text("bob: hunter2\n")
        self.clock.advance(1)
        self.assertEqual(len(changes), 1)
        self.assertEqual(self.successResultOf(self.ask(stack, "bob", "hunter2")).roles, ())
        stack.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_attack_30_names_are_compared_as_the_modules_do(self) -> None:
        stack = self.build("modules = echoing required\noption.password = tea")
        self.assertEqual(stack.canonical_name("CORP\\Alice"), "alice")

    def test_the_kinds_that_come_with_perimeter(self) -> None:
        kinds = login_module_factories()
        self.assertLessEqual({"command", "ldap", "pam", "realmfile"}, set(kinds))
        verifyObject(IAuthenticatorFactory, LoginModulesFactory())
        with self.assertRaises(StartupError):
            login_module_factories([EchoingKind(), EchoingKind()])
        with self.assertRaises(StartupError):
            login_module_factories([object()])


class PamTests(ModulesCase):
    def asked(self, code: int) -> Deferred[Any]:
        self.patch(pam, "_verify", lambda service, username, password: code)
        module = pam.PamModule("perimeter", self.services.blocking)
        return ensureDeferred(module.begin(LoginAttempt(ALICE, REQUEST)).login())

    def test_codes(self) -> None:
        self.assertIs(self.successResultOf(self.asked(0)), True)
        self.failureResultOf(self.asked(10), UnknownUser)
        for code in (6, 7, 8, 11, 12, 13, 27):
            self.assertIs(self.failureResultOf(self.asked(code), Rejected).type, Rejected)
        for code in (1, 3, 4, 5, 9, 14, 19, 26, 99):
            self.failureResultOf(self.asked(code), Unavailable)

    def test_attack_41_a_service_that_is_not_there_stops_the_start(self) -> None:
        with self.assertRaisesRegex(StartupError, "no PAM service perimeter-is-not-there"):
            self.build("modules = pam required\noption.service = perimeter-is-not-there")

    def test_the_service_that_is_there_is_asked(self) -> None:
        asked: list[tuple[str, str, str]] = []

        def verify(service: str, username: str, password: str) -> int:
            asked.append((service, username, password))
            return 0

        self.patch(pam, "_verify", verify)
        self.patch(pam, "_DIRECTORIES", (self.directory / "none", self.directory))
        (self.directory / "login").write_text("auth required pam_permit.so\n")
        stack = self.build("modules = pam required\noption.service = login")
        self.assertEqual(self.successResultOf(self.ask(stack)).username, "alice")
        self.assertEqual(asked, [("login", "alice", "wonderland-42")])

    def test_a_service_is_a_name_not_a_path(self) -> None:
        self.assertIn("option.service: expected the name of a file", self.faults("modules = pam required\noption.service = ../x"))


ANSWERING = """\
#!{python}
import json, os, sys
question = json.load(sys.stdin)
assert question["version"] == 1
if question["password"] != "wonderland-42":
    print(json.dumps({{"result": "reject"}}))
else:
    print(json.dumps({{"result": "accept", "username": question["username"].upper(), "roles": sys.argv[1:],
                       "attributes": {{"address": question["address"], "environment": " ".join(sorted(os.environ)),
                                       "realm": question["realm"]}}}}))
"""


class CommandTests(ModulesCase):
    def program(self, text: str, name: str = "program") -> str:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def shell(self, text: str) -> tuple[str, ...]:
        return ("/bin/sh", "-c", text)

    def test_a_question_and_an_answer(self) -> None:
        self.program(ANSWERING.format(python=sys.executable))
        self.patch(os, "environ", {**os.environ, "PERIMETER_SECRET": "x"})
        stack = self.build("modules = command required\noption.command = program\noption.arguments = a, b c")
        found = self.successResultOf(self.ask(stack))
        self.assertEqual((found.username, found.roles), ("ALICE", ("a", "b c")))
        self.assertEqual((found.attributes["address"], found.attributes["realm"]), ("192.0.2.1", "corp"))
        self.assertLessEqual(set(found.attributes["environment"].split()), {*ENVIRONMENT, "LC_CTYPE"})
        self.failureResultOf(self.ask(stack, password="wrong"), Rejected)

    def test_answers(self) -> None:
        self.assertEqual(judged(b'{"result": "accept"}', "alice", "x"), Known("alice"))
        self.assertIsNone(judged(b'{"result": "ignore"}', "alice", "x"))
        with self.assertRaises(UnknownUser):
            judged(b'{"result": "unknown"}', "alice", "x")
        for answer in (
            b"",
            b"yes",
            b"[]",
            b"true",
            b"{}",
            b'{"result": true}',
            b'{"result": "accepted"}',
            b'{"result": "accept", "username": ""}',
            b'{"result": "accept", "username": null}',
            b'{"result": "accept", "username": "a\\nb"}',
            b'{"result": "accept", "roles": "admin"}',
            b'{"result": "accept", "roles": [1]}',
            b'{"result": "accept", "roles": ["a\\u0000"]}',
            b'{"result": "accept", "attributes": []}',
            b'{"result": "accept", "attributes": {"x": 1}}',
            b"[" * 100_000,
        ):
            with self.assertRaises(Unavailable, msg=answer[:60]):
                judged(answer, "alice", "x")

    def test_attack_41_whatever_goes_wrong_is_could_not_tell(self) -> None:
        good = 'echo \'{"result": "accept"}\''
        for text in (f"{good}; exit 1", "kill -9 $$", "exit 0"):
            with self.assertRaises(Unavailable, msg=text):
                judged(run(self.shell(text), b"{}\n", 10), "alice", "x")
        with self.assertRaises(Unavailable):
            run((str(self.directory / "none"),), b"", 10)
        self.assertEqual(judged(run(self.shell(good), b"{}\n" * 100_000, 10), "alice", "x"), Known("alice"))

    def test_attack_23_an_answer_of_64_kib_is_the_longest(self) -> None:
        self.assertEqual(len(run(("/usr/bin/head", "-c", "65536", "/dev/zero"), b"", 10)), 65536)
        with self.assertRaisesRegex(Unavailable, "more than 65536 bytes"):
            run(("/usr/bin/head", "-c", "65537", "/dev/zero"), b"", 10)

    def test_attack_23_an_endless_answer(self) -> None:
        with self.assertRaisesRegex(Unavailable, "more than"):
            run(self.shell("exec cat /dev/zero"), b"", 10)

    def test_its_whole_group_is_killed_at_the_deadline(self) -> None:
        marker = self.directory / "pids"
        text = f"sleep 1000 & echo $! >{marker}; echo $$ >>{marker}; cat >/dev/null; sleep 1000"
        began = time.monotonic()
        with self.assertRaisesRegex(Unavailable, "longer than"):
            run(self.shell(text), b"{}\n", 0.5)
        self.assertLess(time.monotonic() - began, 10)
        self.assertTrue(all(_gone(int(pid)) for pid in marker.read_text().split()))

    def test_what_it_leaves_behind_is_killed_too(self) -> None:
        marker = self.directory / "pids"
        text = f"sleep 1000 >/dev/null & echo $! >{marker}; echo '{{}}'"
        self.assertEqual(run(self.shell(text), b"", 10), b"{}\n")
        self.assertTrue(all(_gone(int(pid)) for pid in marker.read_text().split()))

    def test_the_question_is_json_of_one_line(self) -> None:
        self.program("#!/bin/sh\ncat\n")
        asked: list[bytes] = []

        def answer(command: tuple[str, ...], question: bytes, deadline: float) -> bytes:
            asked.append(question)
            return b'{"result": "accept"}'

        self.patch(sys.modules[run.__module__], "run", answer)
        stack = self.build("modules = command required\noption.command = program")
        self.successResultOf(self.ask(stack, "\u00e9", 'a"\\b'))
        self.assertEqual(asked[0].count(b"\n"), 1)
        self.assertEqual((json.loads(asked[0])["username"], json.loads(asked[0])["password"]), ("\u00e9", 'a"\\b'))

    def test_a_program_that_cannot_be_run_stops_the_start(self) -> None:
        (self.directory / "program").write_text("x")
        with self.assertRaisesRegex(StartupError, "not executable"):
            self.build("modules = command required\noption.command = program")
        verifyObject(ILoginModuleFactory, CommandFactory())


class ShutdownTests(unittest.TestCase):
    def test_no_program_outlives_the_gateway(self) -> None:
        triggers: list[Any] = []

        class Reactor:
            def addSystemEventTrigger(self, phase: str, event: str, function: Any) -> None:
                triggers.append((phase, event, function))

        reactor = Reactor()
        for _ in range(2):
            command._groups.watch(reactor)
        ((phase, event, end),) = triggers
        self.assertEqual((phase, event), ("after", "shutdown"))
        ended: list[BaseException] = []

        def ask() -> None:
            try:
                run(("/bin/sleep", "60"), b"", 50)
            except Unavailable as error:
                ended.append(error)

        thread = threading.Thread(target=ask)
        began = time.monotonic()
        thread.start()
        while not command._groups._running and time.monotonic() < began + 10:
            time.sleep(0.01)
        self.assertEqual(len(command._groups._running), 1)
        end()
        thread.join(10)
        self.assertFalse(thread.is_alive())
        self.assertLess(time.monotonic(), began + 20)
        self.assertEqual(command._groups._running, set())


class BlockingTests(unittest.TestCase):
    def test_what_blocks_waits_in_a_line_of_its_own(self) -> None:
        clock = ThreadClock()
        offload, blocking = offload_with(ImmediateThreads(), clock), Offload(clock, 1, 0, ImmediateThreads())
        self.assertIs(AuthServices(clock, offload).blocking, offload)
        self.assertIs(AuthServices(clock, offload, blocking).blocking, blocking)
        self.assertEqual(AuthenticationRequest("192.0.2.1"), REQUEST)


def _gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
    return False

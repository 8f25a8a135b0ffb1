"""The walk through a stack of login modules, compared with the table of JAAS, and its two phases."""

from __future__ import annotations

from itertools import product
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import capturedLogs
from twisted.trial import unittest
from zope.interface import implementer

from perimeter.auth.kinds.login_modules.stack import Flag, StackedModule, log_in, spend
from perimeter.errors import Rejected, Unavailable
from perimeter.model import AuthenticationRequest, BasicCredentials
from perimeter.plugin.authenticator import IDecoyLogin
from perimeter.plugin.login_module import ILogin, ILoginModule, LoginAttempt, UnknownUser
from perimeter.plugin.verified_login import Known, VerifiedLogin
from tests.unit.doubles.auth import REQUEST

REQUIRED, REQUISITE, SUFFICIENT, OPTIONAL = Flag.REQUIRED, Flag.REQUISITE, Flag.SUFFICIENT, Flag.OPTIONAL
ALICE = BasicCredentials("alice", "wonderland-42")

# The table in the documentation of javax.security.auth.login.Configuration: four modules, the result of each, and the outcome.
# "*" stands for a module that is not reached.
JAVA_FLAGS = (REQUIRED, SUFFICIENT, REQUISITE, OPTIONAL)
JAVA_TABLE = (
    ("pass", "pass", "*", "*", True),
    ("pass", "fail", "pass", "pass", True),
    ("pass", "fail", "pass", "fail", True),
    ("pass", "fail", "fail", "*", False),
    ("fail", "pass", "*", "*", False),
    ("fail", "fail", "pass", "pass", False),
    ("fail", "fail", "pass", "fail", False),
    ("fail", "fail", "fail", "*", False),
)


@implementer(ILoginModule)
class Scripted:
    """Returns or raises ``login``, then ``commit``. ``calls`` are the calls that it got."""

    def __init__(self, login: Any, commit: Any = None) -> None:
        self.answers = {"login": login, "commit": login is True if commit is None else commit, "abort": True}
        self.calls: list[str] = []

    def begin(self, attempt: LoginAttempt) -> ILogin:
        return _Part(self)


@implementer(IDecoyLogin)
class Decoying(Scripted):
    """A module that can spend the time of a refusal."""

    async def decoy(self, request: AuthenticationRequest) -> None:
        self.calls.append("decoy")


@implementer(ILogin)
class _Part:
    def __init__(self, module: Scripted) -> None:
        self.module = module

    async def _answer(self, phase: str) -> bool:
        self.module.calls.append(phase)
        answer = self.module.answers[phase]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Deferred):
            return bool(await answer)
        return answer  # type: ignore[no-any-return]

    async def login(self) -> bool:
        return await self._answer("login")

    async def commit(self) -> bool:
        return await self._answer("commit")

    async def abort(self) -> bool:
        return await self._answer("abort")


def said(word: str) -> Any:
    return {
        "pass": True,
        "fail": Rejected("no"),
        "ignore": False,
        "*": True,
        "unsure": Unavailable("?"),
        "unknown": UnknownUser(),
    }[word]


def reference(flags: tuple[Flag, ...], words: tuple[str, ...]) -> tuple[bool, int]:
    """The outcome and the number of reached modules, by the rules in the text of the documentation."""
    needed_failed = any_passed = False
    reached = 0
    for flag, word in zip(flags, words, strict=True):
        reached += 1
        if word == "pass":
            any_passed = True
            if flag is SUFFICIENT:
                break
        elif word != "ignore" and flag in (REQUIRED, REQUISITE):
            needed_failed = True
            if flag is REQUISITE:
                break
    return any_passed and not needed_failed, reached


class StackCase(unittest.TestCase):
    def log_in(self, *stack: tuple[Flag, Any]) -> Deferred[None]:
        self.attempt = LoginAttempt(ALICE, REQUEST)
        modules = [module if ILoginModule.providedBy(module) else Scripted(module) for _, module in stack]
        self.modules = modules
        entries = [StackedModule(f"m{n}", flag, module) for n, ((flag, _), module) in enumerate(zip(stack, modules, strict=True))]
        return ensureDeferred(log_in(entries, self.attempt))

    def calls(self) -> list[list[str]]:
        return [module.calls for module in self.modules]


class WalkTests(StackCase):
    def test_the_table_of_jaas(self) -> None:
        for *words, good in JAVA_TABLE:
            done = self.log_in(*zip(JAVA_FLAGS, map(said, words), strict=True))  # type: ignore[arg-type]
            if good:
                self.successResultOf(done)
            else:
                self.failureResultOf(done, Rejected)
            for word, calls in zip(words, self.calls(), strict=True):  # type: ignore[arg-type]
                self.assertEqual(bool(calls), word != "*", (words, calls))

    def test_every_stack_of_up_to_three_modules(self) -> None:
        count = 0
        for size in (1, 2, 3):
            for flags in product(Flag, repeat=size):
                for words in product(("pass", "fail", "ignore"), repeat=size):
                    good, reached = reference(flags, words)
                    done = self.log_in(*zip(flags, map(said, words), strict=True))
                    if good:
                        self.successResultOf(done)
                    else:
                        self.failureResultOf(done, Rejected)
                    self.assertEqual([bool(calls) for calls in self.calls()].count(True), reached, (flags, words))
                    last = "commit" if good else "abort"
                    for calls in self.calls()[:reached]:
                        self.assertEqual(calls, ["login", last], (flags, words))
                    count += 1
        self.assertEqual(count, 12 + 144 + 1728)

    @given(
        st.lists(st.tuples(st.sampled_from(Flag), st.sampled_from(("pass", "fail", "ignore", "unsure", "unknown"))), max_size=5)
    )
    def test_attack_41_only_success_admits_a_user(self, stack: list[tuple[Flag, str]]) -> None:
        good, _ = reference(tuple(flag for flag, _ in stack), tuple(word for _, word in stack))
        done = self.log_in(*((flag, said(word)) for flag, word in stack))
        if good:
            self.successResultOf(done)
        else:
            self.failureResultOf(done, Rejected, Unavailable)


class ReasonTests(StackCase):
    """Which of several failures is reported."""

    def told(self, *stack: tuple[Flag, str]) -> type[BaseException]:
        done = self.log_in(*((flag, said(word)) for flag, word in stack))
        return self.failureResultOf(done, Rejected, Unavailable).type  # type: ignore[no-any-return]

    def test_a_needed_module_that_says_no_decides(self) -> None:
        self.assertIs(self.told((REQUIRED, "fail"), (OPTIONAL, "unsure")), Rejected)
        self.assertIs(self.told((SUFFICIENT, "unsure"), (REQUIRED, "fail")), Rejected)
        self.assertIs(self.told((REQUIRED, "unsure"), (REQUIRED, "fail")), Rejected)

    def test_could_not_tell_is_never_wrong(self) -> None:
        self.assertIs(self.told((REQUIRED, "unsure"), (OPTIONAL, "pass")), Unavailable)
        self.assertIs(self.told((SUFFICIENT, "unsure"), (SUFFICIENT, "fail")), Unavailable)
        self.assertIs(self.told((SUFFICIENT, "fail"), (OPTIONAL, "unsure")), Unavailable)

    def test_a_name_that_no_module_knows_is_for_the_next_authenticator(self) -> None:
        for stack in ([(REQUIRED, "unknown")], [(SUFFICIENT, "unknown"), (SUFFICIENT, "ignore")], [(OPTIONAL, "ignore")], []):
            self.assertIs(self.told(*stack), UnknownUser)
        self.assertIs(self.told((REQUIRED, "unknown"), (OPTIONAL, "fail")), Rejected)
        self.assertIs(self.told((REQUIRED, "unknown"), (OPTIONAL, "pass")), UnknownUser)


class PhaseTests(StackCase):
    def test_a_commit_that_fails_fails_the_login(self) -> None:
        done = self.log_in((REQUIRED, True), (REQUIRED, Scripted(True, Unavailable("gone"))), (REQUIRED, True))
        self.failureResultOf(done, Unavailable)
        self.assertEqual(self.calls(), [["login", "commit", "abort"]] * 3)

    def test_an_optional_commit_that_fails_does_not(self) -> None:
        self.successResultOf(self.log_in((REQUIRED, True), (OPTIONAL, Scripted(True, Rejected()))))

    def test_modules_that_do_not_commit_admit_no_user(self) -> None:
        self.failureResultOf(self.log_in((REQUIRED, Scripted(True, False))), Unavailable)

    def test_a_fault_of_a_module_is_could_not_tell_and_reports_no_secret(self) -> None:
        with capturedLogs() as events:
            self.failureResultOf(self.log_in((REQUIRED, ValueError("wonderland-42"))), Unavailable)
            self.successResultOf(self.log_in((REQUIRED, True), (OPTIONAL, ValueError("wonderland-42"))))
        self.assertEqual(len(events), 2)
        self.assertNotIn("wonderland-42", str(events))

    def test_attack_41_only_true_is_success(self) -> None:
        for value in (1, "yes", object()):
            self.failureResultOf(self.log_in((SUFFICIENT, Scripted(value, value))), UnknownUser)

    def test_attack_52_modules_that_need_not_be_asked_cost_the_same(self) -> None:
        for first in ((SUFFICIENT, True), (REQUISITE, Rejected())):
            rest = Decoying(True), Decoying(ValueError("odd")), Scripted(True)
            done = self.log_in(first, *((OPTIONAL, module) for module in rest))
            done.addErrback(lambda failure: failure.trap(Rejected))
            self.assertEqual([module.calls for module in rest], [["decoy"], ["decoy"], []])

    def test_attack_52_what_a_decoy_of_a_module_raises_changes_nothing(self) -> None:
        asked: list[str] = []

        @implementer(IDecoyLogin)
        class Raising(Scripted):
            async def decoy(self, request: AuthenticationRequest) -> None:
                asked.append("decoy")
                error = self.answers["login"]
                if isinstance(error, BaseException):
                    raise error

        def spent(*errors: Any) -> Deferred[None]:
            return ensureDeferred(spend([StackedModule("m", OPTIONAL, Raising(error)) for error in errors], REQUEST))

        with capturedLogs() as events:
            self.successResultOf(spent(Rejected("wonderland-42"), Unavailable(), ValueError("wonderland-42"), True))
        self.assertEqual(len(asked), 4)
        self.assertEqual([event["kind"] for event in events], ["ValueError"])
        self.assertNotIn("wonderland-42", str(events))
        self.failureResultOf(spent(CancelledError(), True), CancelledError)
        self.assertEqual(len(asked), 5)

    def test_a_login_that_is_given_up_is_aborted(self) -> None:
        done = self.log_in((REQUIRED, True), (REQUIRED, Deferred()))
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(self.calls(), [["login", "abort"]] * 2)

    def test_each_login_has_parts_of_its_own(self) -> None:
        first, second = LoginAttempt(ALICE, REQUEST), LoginAttempt(BasicCredentials("bob", "x"), REQUEST)
        waiting: dict[str, Deferred[Known]] = {"alice": Deferred(), "bob": Deferred()}

        @implementer(ILoginModule)
        class Asking:
            def begin(self, attempt: LoginAttempt) -> VerifiedLogin:
                return VerifiedLogin(attempt, lambda attempt: waiting[attempt.credentials.username])

        stack = [StackedModule("asking", REQUIRED, Asking())]
        logins = [ensureDeferred(log_in(stack, attempt)) for attempt in (first, second)]
        waiting["bob"].callback(Known("bob", ("user",)))
        waiting["alice"].callback(Known("alice", ("admin",)))
        for login in logins:
            self.successResultOf(login)
        self.assertEqual((first.subject.username, first.subject.roles), ("alice", ["admin"]))
        self.assertEqual((second.subject.username, second.subject.roles), ("bob", ["user"]))

    def test_what_modules_say_is_put_together(self) -> None:
        @implementer(ILoginModule)
        class Knowing:
            def __init__(self, known: Known | None) -> None:
                self.known = known

            def begin(self, attempt: LoginAttempt) -> VerifiedLogin:
                async def verify(attempt: LoginAttempt) -> Known | None:
                    return self.known

                return VerifiedLogin(attempt, verify)

        known = (Known("Alice", ("a", "b"), {"x": "1"}), None, Known("alice", ("b", "c"), {"x": "2", "y": "3"}))
        attempt = LoginAttempt(ALICE, REQUEST)
        self.successResultOf(ensureDeferred(log_in([StackedModule("k", OPTIONAL, Knowing(one)) for one in known], attempt)))
        subject = attempt.subject
        self.assertEqual((subject.username, subject.roles, subject.attributes), ("Alice", ["a", "b", "c"], {"x": "1", "y": "3"}))

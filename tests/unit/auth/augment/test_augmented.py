"""Augmenters: what they add, to whom, and that they take nothing away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from perimeter.auth.augment.augmented import augment, augmenters_of
from perimeter.auth.augment.match import MatchAugmenterFactory, MatchAugmenterSettings
from perimeter.auth.augment.plain import PlainAugmenterFactory, PlainAugmenterSettings
from perimeter.auth.building import build_augmenter
from perimeter.auth.chain.asking import GuardedAuthenticator
from perimeter.auth.registry import augmenter_factories
from perimeter.config.site.augmenter import AugmenterSettings
from perimeter.errors import Overloaded, Rejected, StartupError, Unavailable, Undecided
from perimeter.model import AuthenticationRequest, BasicCredentials, Credentials, Principal
from perimeter.plugin.augmenter import IAugmenter
from perimeter.plugin.authenticator import IAuthenticator, IRunningAuthenticator, ISchemes
from perimeter.plugin.services import AuthServices
from tests.unit.doubles.auth import REQUEST, ImmediateThreads, ThreadClock, offload_with
from tests.unit.doubles.site import SITE, SiteCase

FACTORIES = augmenter_factories([MatchAugmenterFactory(), PlainAugmenterFactory()])


def match(name: str, **options: Any) -> AugmenterSettings:
    return AugmenterSettings(name, "match", "r", MatchAugmenterSettings(**options))


ALICE = Principal("alice", "r", ("viewer",), "local", {"email": "a@b"})
ADMINS = match("admins", username=("alice", "bob"), add_roles=("admin",))
GRANTS = AugmenterSettings("grants", "plain", "r", PlainAugmenterSettings((("ops", ("alice", "carol")), ("data", ("alice",)))))
_CLOCK = ThreadClock()
SERVICES = AuthServices(_CLOCK, offload_with(ImmediateThreads(), _CLOCK))
CREDENTIALS = BasicCredentials("alice", "x")


@implementer(IRunningAuthenticator, ISchemes)
class Fake:
    def __init__(self, answer: Any, realm: str = "r") -> None:
        self.name, self.realm, self.schemes, self.answer = "local", realm, ("basic", "bearer"), answer
        self.events: list[str] = []

    def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Deferred[Any]:
        if isinstance(self.answer, Exception):
            raise self.answer
        return succeed(self.answer)

    def start(self, changed: Callable[[], None]) -> None:
        self.events.append("start")

    def stop(self) -> None:
        self.events.append("stop")


@implementer(IAugmenter)
class Failing:
    """An augmenter that raises ``problem``."""

    name, realm = "failing", "r"

    def __init__(self, problem: Unavailable) -> None:
        self.problem = problem
        self.stopped = 0

    async def augment(self, principal: Principal, request: AuthenticationRequest) -> Principal:
        raise self.problem

    def stop(self) -> None:
        self.stopped += 1


class AugmenterTests(SiteCase):
    def found(self, *settings: AugmenterSettings, answer: Any = ALICE, realm: str = "r") -> Any:
        augmented = augment(Fake(answer, realm), augmenters_of(settings, FACTORIES, SERVICES))
        return ensureDeferred(augmented.authenticate(CREDENTIALS, REQUEST))  # type: ignore[arg-type]

    def roles(self, *settings: AugmenterSettings, answer: Any = ALICE, realm: str = "r") -> tuple[str, ...]:
        principal: Principal = self.successResultOf(self.found(*settings, answer=answer, realm=realm))
        return principal.roles

    def test_interfaces(self) -> None:
        for one in augmenters_of([ADMINS, GRANTS], FACTORIES, SERVICES):
            verifyObject(IAugmenter, one)
        inner = Fake(ALICE)
        outer: Any = augment(inner, augmenters_of([ADMINS], FACTORIES, SERVICES))
        for interface in (IAuthenticator, IRunningAuthenticator, ISchemes):
            verifyObject(interface, outer)
        outer.start(lambda: None)
        outer.stop()
        self.assertEqual((inner.events, outer.schemes, outer.name, outer.realm), (["start", "stop"], inner.schemes, "local", "r"))

    def test_by_name(self) -> None:
        self.assertEqual(self.roles(ADMINS), ("viewer", "admin"))
        self.assertEqual(self.roles(ADMINS, answer=Principal("Alice", "r")), ())
        self.assertEqual(self.roles(ADMINS, answer=Principal("carol", "r", ("viewer",))), ("viewer",))

    def test_by_role(self) -> None:
        by_role = match("x", role=("viewer",), add_roles=("reader", "viewer"))
        self.assertEqual(self.roles(by_role), ("viewer", "reader"))
        self.assertEqual(self.roles(by_role, answer=Principal("alice", "r", ("view",))), ("view",))

    def test_plain(self) -> None:
        self.assertEqual(self.roles(GRANTS), ("viewer", "ops", "data"))
        self.assertEqual(self.roles(GRANTS, answer=Principal("carol", "r")), ("ops",))
        self.assertEqual(self.roles(GRANTS, answer=Principal("dave", "r", ("viewer",))), ("viewer",))

    def test_those_that_match_come_last_and_see_the_others_roles(self) -> None:
        by_role = match("x", role=("ops",), add_roles=("root",))
        self.assertEqual(self.roles(by_role, GRANTS), ("viewer", "ops", "data", "root"))

    def test_attributes(self) -> None:
        more = match("x", username=("alice",), add_attributes=(("team", "a"), ("email", "new@b")))
        self.assertEqual(self.successResultOf(self.found(more)).attributes, {"email": "new@b", "team": "a"})

    def test_users_of_other_realms_get_nothing(self) -> None:
        self.assertEqual(self.roles(ADMINS, answer=Principal("alice", "s"), realm="s"), ())
        inner = Fake(ALICE, "s")
        self.assertIs(augment(inner, augmenters_of([ADMINS], FACTORIES, SERVICES)), inner)
        # the chain refuses what an authenticator must not return
        self.assertEqual(self.roles(ADMINS, answer=Principal("alice", "s")), ())

    def test_attack_41_what_is_no_principal_becomes_none(self) -> None:
        self.assertIsNone(self.successResultOf(self.found(ADMINS, answer=None)))
        self.assertIs(self.successResultOf(self.found(ADMINS, answer=True)), True)
        for error in (Rejected(), Unavailable()):
            self.failureResultOf(self.found(ADMINS, answer=error), type(error))

    def test_attack_41_an_augmenter_that_cannot_tell_lets_no_client_in(self) -> None:
        @implementer(IAugmenter)
        class Down:
            name, realm = "down", "r"

            async def augment(self, principal: Principal, request: AuthenticationRequest) -> Principal:
                raise Unavailable("down")

            def stop(self) -> None:
                pass

        outer: Any = augment(Fake(ALICE), [Down()])
        self.failureResultOf(ensureDeferred(outer.authenticate(CREDENTIALS, REQUEST)), Unavailable)
        fake = Fake(ALICE)
        asked = GuardedAuthenticator(augment(fake, [Down()]), 5, Clock())
        for _ in range(5):
            self.failureResultOf(ensureDeferred(asked.ask(CREDENTIALS, REQUEST)), Unavailable)
        fake.answer = None
        self.assertIsNone(self.successResultOf(ensureDeferred(asked.ask(CREDENTIALS, REQUEST))), "whom the next one may know")

    def test_attack_41_partial_roles_are_never_used(self) -> None:
        for raised, reported in (
            (Undecided("two entries"), Undecided),
            (Overloaded("too many"), Overloaded),
            (Unavailable("down"), Undecided),
        ):
            outer: Any = augment(Fake(ALICE), [Failing(raised)])
            failure = self.failureResultOf(ensureDeferred(outer.authenticate(CREDENTIALS, REQUEST)), Unavailable).value
            self.assertEqual((type(failure), failure.detail), (reported, raised.detail))

    def test_what_is_started_is_stopped(self) -> None:
        @implementer(IAuthenticator)
        class Plain:
            name, realm = "local", "r"

            def authenticate(self, credentials: Credentials, request: AuthenticationRequest) -> Deferred[Any]:
                return succeed(ALICE)

        for inner in (Fake(ALICE), Plain()):
            part = Failing(Unavailable("down"))
            outer: Any = augment(inner, [part])  # type: ignore[arg-type]
            self.assertTrue(IRunningAuthenticator.providedBy(outer))
            outer.start(lambda: None)
            outer.stop()
            self.assertEqual(part.stopped, 1)

    def test_an_augmenter_that_cannot_be_built_stops_the_start(self) -> None:
        class Factory(MatchAugmenterFactory):
            def __init__(self, result: Any) -> None:
                self.result = result

            def build(self, *args: Any) -> Any:
                if isinstance(self.result, Exception):
                    raise self.result
                return self.result

        place = "[augmenter admins] type = match cannot be"
        for result, text in (
            (object(), f"{place} used: "),
            (KeyError("secret"), f"{place} built: KeyError"),
            (StartupError("no CA file"), "no CA file"),
        ):
            error = self.assertRaises(StartupError, build_augmenter, ADMINS, Factory(result), SERVICES)
            self.assertIn(text, str(error))
            self.assertNotIn("secret", str(error))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    @given(
        st.lists(st.sampled_from("abcd")), st.lists(st.sampled_from("abcd")), st.dictionaries(st.sampled_from("xyz"), st.text())
    )
    def test_nothing_is_ever_taken_away(self, own: list[str], more: list[str], attributes: dict[str, str]) -> None:
        before = Principal("alice", "r", tuple(dict.fromkeys(own)), "local", {"x": "1", "w": "2"})
        settings = match("x", username=("alice",), add_roles=tuple(more), add_attributes=tuple(attributes.items()))
        after = self.successResultOf(self.found(settings, answer=before))
        self.assertEqual(after.roles[: len(before.roles)], before.roles)
        self.assertEqual(set(after.roles), {*own, *more})
        self.assertEqual(len(set(after.roles)), len(after.roles))
        self.assertEqual(set(after.attributes), {"x", "w", *attributes})
        self.assertEqual((after.username, after.realm, after.authenticator), ("alice", "r", "local"))

    # -- the section

    def test_the_section(self) -> None:
        config = self.load(
            f"{SITE}[augmenter a]\ntype = match\nrealm = local\nusername = alice\nrole = x, y\nadd_roles = admin\n"
            "add_attributes = team=a, level = 3\n"
            "[augmenter b]\ntype = plain\nrealm = local\nroles =\n    ops: alice, bob\n    data: bob\n"
        )
        first, second = (one.settings for one in config.augmenters)
        self.assertEqual((first.username, first.role, first.add_roles), (("alice",), ("x", "y"), ("admin",)))
        self.assertEqual(first.add_attributes, (("team", "a"), ("level", "3")))
        self.assertEqual(second.roles, (("ops", ("alice", "bob")), ("data", ("bob",))))

    def test_attack_41_faults_of_the_section(self) -> None:
        for text, told in (
            (
                "type = match\nrealm = lcal\nusername = a\nadd_roles = b",
                "no authenticator has the realm lcal, did you mean local?",
            ),
            ("type = match\nusername = a\nadd_roles = b", "realm: is required"),
            ("type = match\nrealm = local\nadd_roles = b", "matches no user"),
            ("type = match\nrealm = local\nusername = a", "adds nothing"),
            ("type = match\nrealm = local\nusername = a\nadd_attributes = b", "expected NAME=VALUE"),
            ("type = plain\nrealm = local", "roles: is required"),
            ("type = plain\nrealm = local\nroles = admin", "expected a role, a colon"),
            ("type = plain\nrealm = local\nroles = admin: a\nusername = a", "is only allowed with type = match"),
            ("type = mach\nrealm = local", "did you mean match?"),
            ("type = match\nrealm = local\nusername = a\nadd_roles = b\ncache = 5s", "is only allowed with type = ldap"),
            ("type = ldap\nrealm = local\nsearch_base = dc=x", "uri: is required"),
            ("type = ldap\nrealm = local\nuri = ldap://h", "search_base: is required"),
            ("type = ldap\nrealm = local\nuri = http://h\nsearch_base = dc=x", "expected ldap://host:port"),
            ("type = ldap\nrealm = local\nuri = ldap://h\nsearch_base = dc=x\nbind_dn = cn=a", "ldap_password: is required"),
            ("type = ldap\nrealm = local\nuri = ldap://h\nsearch_base = dc=x\nfilter = TeamA", "expected a part of"),
            (
                "type = ldap\nrealm = local\nuri = ldap://h\nsearch_base = dc=x\nadd_roles = a",
                "is only allowed with type = match",
            ),
        ):
            problems = self.problems(f"{SITE}[augmenter a]\n{text}\n")
            self.assertEqual(len(problems), 1, problems)
            self.assertIn(told, problems[0])

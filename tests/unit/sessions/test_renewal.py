"""Renewals: asked once, beside the requests; new roles, refusals, and a provider that does not answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from twisted.internet.defer import Deferred, ensureDeferred
from zope.interface import implementer_only

from perimeter.errors import (
    InvalidToken,
    NotAllowedHere,
    ProviderDenied,
    ProviderMisconfigured,
    ProviderUnavailable,
    Rejected,
    SessionExpired,
    StateUnavailable,
    Unavailable,
)
from perimeter.model import AuthenticationRequest, Principal
from perimeter.plugin.redirect import IRedirectAuthenticator
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.sessions.opened import secret_of
from perimeter.sessions.renewable import LONGEST, Renewable
from perimeter.sessions.renewal import INTERVAL, Renewals
from perimeter.sessions.sealing import Unsealable, key_of, unseal
from perimeter.sessions.session import EndedSession, Origin, Renewal, Renewed, Session
from perimeter.tokens.owners import encode_owner
from tests.unit.doubles.provider import CAROL
from tests.unit.doubles.provider_sessions import VOUCHED, ProviderSessionCase, RenewingProvider, signed_in
from tests.unit.doubles.sessions import ALICE, START

GRACE = 600.0
OPS = attrs.evolve(CAROL, roles=("ops", "added"))
"""What `BARE` becomes by the augmenters."""
REQUEST = AuthenticationRequest("203.0.113.9")
BARE = attrs.evolve(CAROL, roles=("ops",))


FENCE = int((START + 60) // INTERVAL)
"""Of a question in the first minute in which it is due."""


class Claimed:
    """`perimeter.state.once.Claims` of several processes. A claim waits for ``hold``, or fails with ``fault``."""

    def __init__(self) -> None:
        self.names: dict[bytes, float] = {}
        self.hold: Deferred[None] | None = None
        self.fault: Exception | None = None
        self.addresses: list[str] = []

    async def claim(self, name: bytes, until: float) -> bool:
        if self.hold is not None:
            await self.hold
        if self.fault is not None:
            raise self.fault
        first = name not in self.names
        self.names.setdefault(name, until)
        return first


class RenewalCase(ProviderSessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.provider = RenewingProvider()
        self.claims = Claimed()
        self.counts: list[tuple[str, str]] = []
        self.fault: Exception | None = None
        self.addresses: list[str] = []
        self.renewals = self.process()
        self.cookie, self.session = self.vouched()

    def process(self, provider: RenewingProvider | None = None) -> Renewals:
        """The renewals of one process."""
        providers = {"corp": Renewable(provider or self.provider, GRACE)}
        return self.made(providers, lambda *one: self.counts.append(one))

    def made(self, providers: Mapping[str, Renewable], count: Any = None) -> Renewals:
        return Renewals(self.stored, self.claims, providers, self.augmented, self.clock, count)

    async def augmented(self, provider: str, principal: Principal, request: AuthenticationRequest) -> Principal:
        """Adds a role of the augmenters."""
        self.assertEqual(provider, "corp")
        self.addresses.append(request.address)
        if self.fault is not None:
            raise self.fault
        return attrs.evolve(principal, roles=(*principal.roles, "added"))

    def at(self, seconds: float) -> None:
        """Let it be so many seconds after the start."""
        self.clock.advance(START + seconds - self.clock.seconds())

    def kept(self) -> Session:
        found = self.stored.with_id(self.session.id)
        assert found is not None
        return found

    def owner(self, process: Renewals | None = None, cookie: bytes = b"", session: Session | None = None) -> Any:
        """What a request gets: a principal, or a Deferred."""
        found = (process or self.renewals).owner_of(session or self.kept(), cookie or self.cookie, REQUEST)
        return found if isinstance(found, Principal) else ensureDeferred(found)  # type: ignore[arg-type]

    def at_once(self, *more: Any) -> Principal:
        found = self.owner(*more)
        assert isinstance(found, Principal)
        return found

    def asked(self) -> Sequence[Any]:
        return [question[1:] for question in self.provider.asked]


class RenewTests(RenewalCase):
    def test_nothing_is_asked_before_it_is_due(self) -> None:
        self.at(59.75)
        self.assertEqual(self.at_once(), CAROL)
        self.assertEqual((self.asked(), self.claims.names), ([], {}))

    def test_the_first_request_goes_through_and_the_next_has_the_new_roles(self) -> None:
        answer: Deferred[Any] = Deferred()
        self.provider.answers = [answer]
        self.at(60)
        self.assertEqual(self.at_once(), CAROL)
        self.assertEqual(self.asked(), [(b"first", "sub-7")])
        answer.callback(signed_in(principal=BARE))
        self.assertEqual(self.at_once(), OPS)
        kept = self.kept()
        self.assertEqual(
            (kept.owner, kept.renewal, unseal(self.cookie, kept.sealed)), (OPS, Renewal(START + 1000, fence=FENCE), b"second")
        )
        self.assertEqual(self.counts, [("corp", "renewed")])
        self.at(999.75)
        self.at_once()
        self.assertEqual(len(self.asked()), 1)
        self.provider.answers = [signed_in(secret=b"third", renew_after=START + 2000)]
        self.at(1000)
        self.at_once()
        self.assertEqual(self.asked()[1:], [(b"second", "sub-7")])

    def test_the_new_secret_is_written_before_it_counts(self) -> None:
        self.provider.answers = [signed_in(principal=BARE)]
        self.at(60)
        self.at_once()
        (written,) = [change for changes in self.store.written for change in changes if isinstance(change, Renewed)]
        self.assertEqual((written.id, written.owner), (self.session.id, OPS))

    def test_a_provider_that_gives_no_new_time_is_not_asked_again(self) -> None:
        self.provider.answers = [signed_in(renew_after=0.0)]
        self.at(60)
        self.at_once()
        self.assertEqual(self.kept().renewal, Renewal(self.session.expires, fence=FENCE))

    def test_soon_due_again(self) -> None:
        self.provider.answers = [signed_in(renew_after=START + 90), signed_in(secret=b"third")]
        for seconds in (60, 90):
            self.at(seconds)
            self.at_once()
        self.assertEqual(self.asked(), [(b"first", "sub-7"), (b"second", "sub-7")])

    def test_attack_o8_fifty_requests_ask_once(self) -> None:
        answer: Deferred[Any] = Deferred()
        self.provider.answers = [answer]
        self.at(60)
        other = self.process()
        for _ in range(25):
            self.assertEqual((self.at_once(), self.at_once(other)), (CAROL, CAROL))
        self.assertEqual(len(self.asked()), 1)
        answer.callback(signed_in(principal=BARE))
        self.assertEqual((self.at_once(), self.at_once(other)), (OPS, OPS))
        self.assertEqual(len(self.asked()), 1)

    def test_attack_o8_a_question_at_the_end_of_a_minute_is_not_repeated_in_the_next(self) -> None:
        answer: Deferred[Any] = Deferred()
        self.provider.answers = [answer]
        self.assertEqual(START % INTERVAL, 0)
        self.at(119.75)
        self.at_once()
        self.at(120.25)
        self.at_once(self.process())
        self.assertEqual(len(self.asked()), 1)
        answer.callback(signed_in())

    def test_a_claim_is_remembered_for_longer_than_it_could_be_made(self) -> None:
        self.provider.answers = [signed_in()]
        self.at(60)
        self.at_once()
        self.assertEqual(list(self.claims.names.values()), [START + 60 + 3 * INTERVAL] * 2)
        self.assertLess(LONGEST, INTERVAL)

    def test_attack_192_a_process_that_was_paused_before_its_question_does_not_ask(self) -> None:
        for pause, asked in ((84.75, 1), (85, 0)):  # 120 s less LONGEST and the difference of clocks
            self.setUp()
            self.provider.answers = [signed_in()]
            self.claims.hold = hold = Deferred()
            self.at(60)
            self.at_once()
            self.at(60 + pause)
            hold.callback(None)
            self.assertEqual(len(self.asked()), asked, pause)

    def test_attack_192_an_answer_that_comes_after_a_later_one_changes_nothing(self) -> None:
        _, child = self.child(self.session, b"k" * 32)
        later = Renewed(self.session.id, OPS, VOUCHED, b"later", Renewal(START + 900, fence=7))
        self.done(self.stored.renew(later))
        for fence, sealed in ((6, b"later"), (0, b"later"), (7, b"as late"), (8, b"latest")):
            self.done(self.stored.renew(attrs.evolve(later, owner=CAROL, sealed=sealed, renewal=Renewal(START, fence=fence))))
            self.assertEqual(self.kept().sealed, sealed)
            found = self.stored.with_id(child.id)
            assert found is not None
            self.assertEqual(found.owner.roles, CAROL.roles if fence >= 7 else OPS.roles)

    def test_the_fence_is_kept_in_texts(self) -> None:
        session = attrs.evolve(self.session, renewal=Renewal(START + 60, True, 9))
        for change in (session, Renewed(session.id, OPS, VOUCHED, b"x", Renewal(START, fence=9)), self.session):
            self.assertEqual(STATE_KINDS.decode(*STATE_KINDS.encode(change)), change)

    def test_another_process_has_renewed_it_meanwhile(self) -> None:
        self.claims.hold = hold = Deferred()
        self.at(60)
        self.at_once()
        self.done(self.stored.renew(Renewed(self.session.id, OPS, VOUCHED, self.session.sealed, Renewal(START + 900))))
        hold.callback(None)
        self.assertEqual((self.asked(), self.at_once()), ([], OPS))

    def test_it_has_ended_meanwhile(self) -> None:
        self.claims.hold = hold = Deferred()
        self.at(60)
        self.at_once()
        self.done(self.stored.end(self.session))
        hold.callback(None)
        self.assertEqual(self.asked(), [])

    def test_a_session_without_a_time_is_never_renewed(self) -> None:
        cookie, session = self.begin(CAROL, origin=Origin(vouched=VOUCHED, secret=b"first"))
        self.at(7000)
        self.assertEqual(self.at_once(None, cookie, session), CAROL)
        self.assertEqual(self.asked(), [])

    def test_a_provider_that_cannot_renew_any_more(self) -> None:
        plain = _Plain()
        self.at(7000)
        self.assertEqual(self.at_once(self.process(plain)), CAROL)

    def test_a_provider_that_is_not_configured_any_more(self) -> None:
        other_realm = {"corp": Renewable(RenewingProvider(realm="other"), GRACE)}
        for providers in ({}, {"other": Renewable(self.provider, GRACE)}, other_realm):
            with self.assertRaises(InvalidToken):
                self.made(providers).owner_of(self.session, self.cookie, REQUEST)

    def test_a_session_of_no_provider(self) -> None:
        cookie, session = self.begin(ALICE)
        with self.assertRaises(InvalidToken):
            self.renewals.owner_of(session, cookie, REQUEST)

    def test_it_works_without_counting(self) -> None:
        self.provider.answers = [signed_in(principal=BARE)]
        self.at(60)
        self.at_once(self.made({"corp": Renewable(self.provider, GRACE)}))
        self.assertEqual(self.kept().owner, OPS)


@implementer_only(IRedirectAuthenticator)
class _Plain(RenewingProvider):
    """A provider that cannot renew."""


class AugmentedTests(RenewalCase):
    """A realm with augmenters: what they know of a user counts at each look-up, and not only at a renewal."""

    def process(self, provider: RenewingProvider | None = None) -> Renewals:
        return self.made({"corp": Renewable(provider or self.provider, GRACE, augmented=True)})

    def said(self) -> tuple[bytes, Session]:
        """A session of a user of whom the provider has said this."""
        return self.vouched(vouched=attrs.evolve(VOUCHED, said=encode_owner(BARE)))

    def test_they_are_asked_at_each_look_up(self) -> None:
        self.cookie, self.session = self.said()
        self.assertEqual(self.done(self.owner()), OPS)
        self.assertEqual(self.done(self.owner()), OPS)
        self.assertEqual((self.addresses, self.kept().owner), ([REQUEST.address] * 2, CAROL))

    def test_also_in_the_grace_time_and_after_it(self) -> None:
        self.cookie, self.session = self.said()
        self.provider.answers = [ProviderUnavailable("down"), signed_in(principal=CAROL)]
        self.at(60)
        self.assertEqual(self.done(self.owner()), OPS)
        self.at(60 + GRACE)
        self.assertEqual(self.done(self.owner()).roles, ("dev", "added"))
        self.assertEqual(self.addresses, [REQUEST.address, self.session.address, REQUEST.address])

    def test_an_augmenter_that_is_down_decides_nothing(self) -> None:
        self.cookie, self.session = self.said()
        self.fault = Unavailable("directory")
        self.fails(Unavailable, self.owner())
        self.assertEqual(self.kept(), self.session)

    def test_a_session_from_before_there_were_any(self) -> None:
        self.assertEqual(self.at_once(), CAROL)

    def test_a_session_on_another_host(self) -> None:
        self.cookie, self.session = self.said()
        cookie, child = self.child(self.session, key_of(self.cookie))
        self.assertEqual(self.done(self.owner(None, cookie, child)), OPS)

    def test_what_the_provider_has_said_is_kept_at_a_renewal(self) -> None:
        self.provider.answers = [signed_in(principal=BARE)]
        self.at(60)
        self.at_once()
        self.assertEqual((self.kept().owner, self.kept().vouched), (OPS, attrs.evolve(VOUCHED, said=encode_owner(BARE))))
        self.assertEqual(self.done(self.owner()), OPS)


class RefusedTests(RenewalCase):
    def test_what_the_provider_refuses_ends(self) -> None:
        for refusal in (Rejected("invalid_grant"), NotAllowedHere("require"), ProviderDenied("no")):
            self.cookie, self.session = self.vouched(due=self.clock.seconds())
            self.provider.answers = [refusal]
            self.assertEqual(self.at_once(), CAROL)
            self.assertIsNone(self.stored.with_id(self.session.id))
        self.assertEqual(self.counts, [("corp", "ended")] * 3)

    def test_another_user_than_before_ends_it(self) -> None:
        for other in (
            signed_in(subject="sub-8"),
            signed_in(issuer="https://other"),
            signed_in(principal=attrs.evolve(CAROL, username="dave")),
            signed_in(principal=attrs.evolve(CAROL, realm="local")),
        ):
            self.cookie, self.session = self.vouched(due=self.clock.seconds())
            self.provider.answers = [other]
            self.at_once()
            self.assertIsNone(self.stored.with_id(self.session.id))

    def test_attack_o8_a_lost_answer_after_which_the_secret_is_refused_signs_no_one_out(self) -> None:
        self.provider.answers = [ProviderUnavailable("lost"), Rejected("invalid_grant"), Rejected("invalid_grant")]
        self.at(60)
        self.at_once()
        self.assertEqual(self.kept().renewal, Renewal(START + 60, True, FENCE))
        self.at(240)
        self.assertEqual(self.at_once(), CAROL)
        self.assertEqual((self.kept().owner, len(self.asked())), (CAROL, 2))
        self.at(60 + GRACE)  # not for longer than a provider that does not answer
        self.fails(SessionExpired, self.owner_later())
        self.assertIsNone(self.stored.with_id(self.session.id))
        self.assertEqual(self.counts, [("corp", "unavailable"), ("corp", "unavailable"), ("corp", "ended")])

    def owner_later(self) -> Deferred[Any]:
        found = self.owner()
        assert isinstance(found, Deferred)
        return found

    def test_a_refusal_that_does_not_come_from_the_secret_ends_it_even_so(self) -> None:
        self.provider.answers = [ProviderUnavailable("lost"), NotAllowedHere("require")]
        for seconds in (60, 240):
            self.at(seconds)
            self.at_once()
        self.assertIsNone(self.stored.with_id(self.session.id))


class UnavailableTests(RenewalCase):
    def later(self, process: Renewals | None = None) -> Deferred[Any]:
        found = self.owner(process)
        assert isinstance(found, Deferred)
        return found

    def test_it_goes_on_for_the_grace_time_and_is_refused_then(self) -> None:
        self.provider.answers = [ProviderUnavailable("down")] * 9
        for seconds in (60, 61, 119, 240, 60 + GRACE - 0.25):
            self.at(seconds)
            self.assertEqual(self.at_once(), CAROL)
        self.assertEqual(len(self.asked()), 3, "one in a while")
        self.at(60 + GRACE)
        error = self.fails(ProviderUnavailable, self.later())
        self.assertEqual(error.status, 503)
        self.assertIn("corp", error.detail)
        self.assertNotIn("first", error.detail)

    def test_after_the_grace_time_a_request_waits_for_the_answer(self) -> None:
        answer: Deferred[Any] = Deferred()
        self.provider.answers = [answer]
        self.at(60 + GRACE)
        first, second = self.later(), self.later()
        second.addErrback(lambda _: None)
        second.cancel()  # its client leaves
        third = self.later()
        self.assertNoResult(first)
        answer.callback(signed_in(principal=BARE))
        self.assertEqual((self.done(first), self.done(third)), (OPS, OPS))
        self.assertEqual(len(self.asked()), 1)

    def test_after_the_grace_time_a_refusal_is_the_end(self) -> None:
        self.provider.answers = [Rejected("invalid_grant")]
        self.at(60 + GRACE)
        self.fails(SessionExpired, self.later())

    def test_after_a_failure_no_one_waits_for_a_while(self) -> None:
        self.provider.answers = [ProviderUnavailable("down"), signed_in(principal=BARE)]
        self.at(60 + GRACE)
        self.fails(ProviderUnavailable, self.later())
        self.clock.advance(INTERVAL - 0.25)
        self.fails(ProviderUnavailable, self.later())
        self.assertEqual(len(self.asked()), 1)
        self.clock.advance(INTERVAL + 0.25)
        self.assertEqual(self.done(self.later()), OPS)

    def test_a_request_waits_for_the_question_of_another_process(self) -> None:
        answer: Deferred[Any] = Deferred()
        self.provider.answers = [answer]
        self.at(60 + GRACE)
        first, second, third = self.later(), self.later(self.process()), self.later(self.process())
        third.addErrback(lambda _: None)
        third.cancel()
        answer.callback(signed_in(principal=BARE))
        self.assertEqual((self.done(first), self.done(second)), (OPS, OPS))
        self.assertEqual(len(self.asked()), 1)

    def test_the_question_of_another_process_takes_too_long(self) -> None:
        self.provider.answers = [answer := Deferred()]  # type: ignore[var-annotated]
        self.at(60 + GRACE)
        first, second = self.later(), self.later(other := self.process())
        self.clock.advance(9.75)
        self.assertNoResult(second)
        self.clock.advance(0.25)
        self.fails(ProviderUnavailable, second)
        self.fails(ProviderUnavailable, self.later(other))  # at once
        self.assertNoResult(first)
        answer.callback(signed_in(principal=BARE))
        self.done(first)
        self.assertEqual(self.at_once(other), OPS)

    def test_another_process_ends_it(self) -> None:
        self.provider.answers = [answer := Deferred()]  # type: ignore[var-annotated]
        self.at(60 + GRACE)
        first, second = self.later(), self.later(self.process())
        answer.callback(Rejected("invalid_grant"))
        self.fails(SessionExpired, first)
        self.fails(SessionExpired, second)

    def test_a_provider_that_never_answers(self) -> None:
        self.provider.answers = [never := Deferred()]  # type: ignore[var-annotated]
        self.at(60 + GRACE)
        waiting = self.later()
        self.clock.advance(LONGEST - 0.25)
        self.assertNoResult(waiting)
        self.clock.advance(0.25)
        self.fails(ProviderUnavailable, waiting)
        self.assertTrue(never.called)

    def test_a_fault_of_the_gateway_or_of_a_plug_in_is_no_fault_of_the_user(self) -> None:
        for fault in (ProviderMisconfigured("invalid_client"), ValueError("a bug")):
            self.cookie, self.session = self.vouched(due=self.clock.seconds())
            self.provider.answers = [fault]
            self.assertEqual(self.at_once(), CAROL)
            self.assertEqual(self.kept().owner, CAROL)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(self.counts, [("corp", "unavailable")] * 2)

    def test_a_state_that_cannot_tell_who_asks(self) -> None:
        self.claims.fault = StateUnavailable("disk")
        self.at(60)
        self.assertEqual(self.at_once(), CAROL)
        self.assertEqual((self.asked(), self.counts), ([], [("corp", "unavailable")]))
        self.at(60 + GRACE)
        self.fails(ProviderUnavailable, self.later())

    def test_an_answer_that_cannot_be_written_changes_nothing(self) -> None:
        self.provider.answers = [signed_in(principal=BARE)]
        self.at(60)
        self.store.fails = True
        self.at_once()
        self.assertEqual((self.at_once(), self.kept().sealed), (CAROL, self.session.sealed))
        self.assertEqual(self.counts, [("corp", "unavailable")])

    def test_it_is_written_later_and_the_provider_is_not_asked_again(self) -> None:
        self.provider.answers = [signed_in(principal=BARE)]
        self.at(60)
        self.store.fails = True
        self.at_once()
        self.at(240)
        self.at_once()
        self.store.fails = False
        self.at(420)
        self.at_once()
        self.assertEqual((self.kept().owner, unseal(self.cookie, self.kept().sealed)), (OPS, b"second"))
        self.assertEqual(len(self.asked()), 1)
        self.provider.answers = [signed_in(secret=b"third")]
        self.at(1000)
        self.at_once()
        self.assertEqual(self.asked()[1:], [(b"second", "sub-7")])

    def test_without_a_grace_time_the_request_waits(self) -> None:
        without = self.made({"corp": Renewable(self.provider, 0.0)})
        self.at(59.75)
        self.assertEqual(self.at_once(without), CAROL)
        self.provider.answers = [ProviderUnavailable("down")]
        self.at(60)
        self.fails(ProviderUnavailable, self.later(without))

    def test_augmenters_that_are_down_lose_no_secret(self) -> None:
        self.provider.answers = [signed_in(principal=BARE), signed_in(principal=BARE, secret=b"third")]
        self.fault = ProviderUnavailable("directory")
        self.at(60)
        self.at_once()
        kept = self.kept()
        self.assertEqual(
            (kept.owner, kept.renewal, unseal(self.cookie, kept.sealed)), (CAROL, Renewal(START + 60, fence=FENCE), b"second")
        )
        self.assertEqual(self.counts, [("corp", "unavailable")])
        self.fault = None
        self.at(240)
        self.at_once()
        self.assertEqual((self.kept().owner, self.asked()[1:]), (OPS, [(b"second", "sub-7")]))

    def test_the_doubt_is_written_once(self) -> None:
        self.provider.answers = [ProviderUnavailable("down")] * 2
        for seconds in (60, 240):
            self.at(seconds)
            self.at_once()
        self.assertEqual(len([one for changes in self.store.written for one in changes if isinstance(one, Renewed)]), 1)

    def test_a_bug_in_the_claims_is_logged(self) -> None:
        self.claims.fault = ValueError("a bug")
        self.at(60)
        self.assertEqual(self.at_once(), CAROL)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class ChildTests(RenewalCase):
    def test_a_session_on_another_host_renews_its_parent(self) -> None:
        cookie, child = self.child(self.session, key_of(self.cookie))
        self.provider.answers = [signed_in(principal=BARE)]
        self.at(60)
        self.assertEqual(self.at_once(None, cookie, child), CAROL)
        self.assertEqual(self.asked(), [(b"first", "sub-7")])
        self.assertEqual(unseal(self.cookie, self.kept().sealed), b"second")
        (found,) = self.stored.children(self.kept())
        self.assertEqual(self.at_once(None, cookie, found), OPS)

    def test_without_the_key_it_cannot(self) -> None:
        cookie, child = self.child(self.session, b"k" * 32)
        self.at(60)
        self.assertEqual(self.at_once(None, cookie, child), CAROL)
        self.assertEqual((self.asked(), self.counts), ([], [("corp", "unavailable")]))

    def test_attack_o8_another_cookie_opens_nothing(self) -> None:
        self.at(60)
        self.at_once(None, b"x" * 43, self.session)
        self.assertEqual((self.asked(), self.kept().owner), ([], CAROL))

    def test_a_child_whose_parent_has_ended(self) -> None:
        cookie, child = self.child(self.session, key_of(self.cookie))
        self.done(self.stored.end(self.session))
        with self.assertRaises(InvalidToken):
            self.renewals.owner_of(child, cookie, REQUEST)

    def test_the_secret_for_the_end(self) -> None:
        cookie, child = self.child(self.session, key_of(self.cookie))
        self.assertEqual(secret_of(self.stored, self.session, self.cookie), b"first")
        self.assertEqual(secret_of(self.stored, child, cookie), b"first")
        _, plain = self.begin(ALICE)
        for session, value in ((self.session, cookie), (child, self.cookie), (plain, self.cookie)):
            with self.assertRaises(Unsealable):
                secret_of(self.stored, session, value)
        self.done(self.stored.end(self.session))
        with self.assertRaises(Unsealable):
            secret_of(self.stored, child, cookie)


class WaitTests(ProviderSessionCase):
    """`StoredSessions.changes`."""

    def test_it_fires_for_this_session(self) -> None:
        _, one = self.vouched()
        _, other = self.vouched()
        for change in (lambda: self.stored.renew(Renewed(one.id, OPS, VOUCHED, b"", Renewal(1.0))), lambda: self.stored.end(one)):
            mine, others = self.stored.changes.of(one.id), self.stored.changes.of(other.id)
            change()
            self.done(mine)
            self.assertNoResult(others)
            others.addErrback(lambda _: None).cancel()

    def test_one_of_two_leaves(self) -> None:
        _, one = self.vouched()
        first, second = self.stored.changes.of(one.id), self.stored.changes.of(one.id)
        first.addErrback(lambda _: None).cancel()
        self.stored.apply(EndedSession(one.id))
        self.done(second)

    def test_it_fires_if_all_is_read_anew(self) -> None:
        _, one = self.vouched()
        waiting = self.stored.changes.of(one.id)
        self.state.replace(self.state.load())
        self.done(waiting)

    def test_what_is_remembered_of_an_owner_who_has_changed(self) -> None:
        _, one = self.vouched()
        use, epoch = self.stored.use(one.id), self.stored.epoch
        self.store.others_write(Renewed(one.id, OPS, VOUCHED, b"", Renewal(1.0)))
        self.done(self.state.follow())
        self.assertGreater(self.stored.epoch, epoch)
        self.assertIsNot(self.stored.use(one.id), use)
        use, after = self.stored.use(one.id), self.stored.with_id(one.id)
        assert after is not None
        self.stored.replace(self.stored.index((after,)))  # after a gap in the log
        self.assertIs(self.stored.use(one.id), use)
        self.stored.replace(self.stored.index((attrs.evolve(after, owner=CAROL),)))
        self.assertIsNot(self.stored.use(one.id), use)
        self.assertIsNone(self.stored.use("of none"))

    def test_the_session_of_the_sign_in(self) -> None:
        cookie, one = self.vouched()
        _, child = self.child(one, key_of(cookie))
        self.assertEqual((self.stored.root(one), self.stored.root(child)), (one, one))
        self.done(self.stored.end(one))
        self.assertIsNone(self.stored.root(child))

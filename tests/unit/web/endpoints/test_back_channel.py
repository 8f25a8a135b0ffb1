"""Logout tokens of a provider: which sessions end, and what the provider gets for an answer."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import attrs

from perimeter.config.site.login import LoginSettings
from perimeter.errors import ProviderUnavailable, Rejected, StateUnavailable
from perimeter.plugin.redirect import LoggedOut
from perimeter.sessions.sealing import key_of
from perimeter.state.once import ONCE
from perimeter.web.endpoints.back_channel import LONGEST, BackChannelLogout
from perimeter.web.endpoints.endpoint import Endpoint
from perimeter.web.endpoints.providers.parts import Provider
from tests.unit.doubles.http_rig import Response
from tests.unit.doubles.pages import Browser, PageCase
from tests.unit.doubles.provider import CAROL
from tests.unit.doubles.provider_sessions import VOUCHED, ProviderSessionCase, RenewingProvider
from tests.unit.doubles.sessions import START

PATH = "/.perimeter/backchannel/corp"
FORM = "Content-Type: application/x-www-form-urlencoded"


class BackChannelTests(PageCase, ProviderSessionCase):
    def setUp(self) -> None:
        self.provider = RenewingProvider()
        super().setUp()

    def endpoints(self, login: LoginSettings) -> list[Endpoint]:
        self.claims: Any = self.state.view(ONCE)
        return [BackChannelLogout("/.perimeter", Provider(self.provider, ""), self.book, self, self.clock)]

    async def claim(self, name: bytes, until: float) -> bool:
        """`perimeter.state.once.Claims`."""
        self.claimed = name, until
        first: bool = await self.claims.claim(name, until)
        return first

    def send(self, *answers: Any, body: str = "logout_token=t", form: str = FORM) -> Response:
        """The answer to a message, which the provider's code takes for ``answers``."""
        self.provider.answers = list(answers)
        return Browser(self).ask(f"POST {PATH}", form, body=body.encode())

    def says(self, subject: str = "", sid: str = "", jti: str = "1") -> Response:
        reply = self.send(LoggedOut(subject, sid, jti, START + 360))
        self.assertEqual((reply.status, reply.body, reply.get(b"cache-control")), (200, b"", b"no-store"))
        return reply

    def left(self) -> set[str]:
        return {session.id for session in self.stored.all()}

    def test_one_session_of_the_provider_ends_with_those_on_other_hosts(self) -> None:
        cookie, mine = self.vouched()
        _, other = self.vouched(vouched=attrs.evolve(VOUCHED, sid="sid-2"))
        self.child(mine, key_of(cookie))
        self.says("sub-7", "sid-1")
        self.assertEqual(self.left(), {other.id})
        record = self.record
        self.assertEqual((record.event, record.principal, record.status), ("backchannel_logout", CAROL, 200))
        self.assertEqual(self.provider.asked, [("logged_out", "t")])

    def test_by_the_session_alone(self) -> None:
        self.vouched()
        _, other = self.vouched(vouched=attrs.evolve(VOUCHED, sid="sid-2"))
        self.says(sid="sid-1")
        self.assertEqual(self.left(), {other.id})

    def test_all_sessions_of_the_user_end(self) -> None:
        self.vouched()
        self.vouched(vouched=attrs.evolve(VOUCHED, sid=""))
        _, other = self.vouched(vouched=attrs.evolve(VOUCHED, subject="sub-8"))
        _, plain = self.begin(CAROL)
        self.says("sub-7")
        self.assertEqual(self.left(), {other.id, plain.id})

    def test_a_session_whose_id_at_the_provider_is_not_known_ends_too(self) -> None:
        self.vouched(vouched=attrs.evolve(VOUCHED, sid=""))
        _, other = self.vouched(vouched=attrs.evolve(VOUCHED, subject="sub-8", sid=""))
        self.says("sub-7", "sid-9")
        self.assertEqual(self.left(), {other.id})

    def test_attack_o6_another_user_or_another_provider_ends_nothing(self) -> None:
        _, mine = self.vouched()
        _, others = self.vouched(vouched=attrs.evolve(VOUCHED, provider="other"))
        self.says("sub-8", "sid-1", jti="1")
        self.says(sid="sid-2", jti="2")
        self.says("sub-8", jti="3")
        self.assertEqual(self.left(), {mine.id, others.id})
        self.assertIsNone(self.record.principal)

    def test_attack_o6_a_token_counts_once(self) -> None:
        self.says(sid="sid-9", jti="7")
        self.vouched()
        reply = self.send(LoggedOut("", "sid-1", "7", START + 360))
        self.assertEqual((reply.status, reply.body), (400, b'{"error":"invalid_request"}'))
        self.assertEqual(reply.get(b"cache-control"), b"no-store")
        self.assertEqual(len(self.left()), 1)
        self.says(sid="sid-1", jti="8")
        self.assertEqual((self.left(), self.claimed[1]), (set(), START + 360))

    def test_attack_39_a_session_that_is_being_made_ends_too(self) -> None:
        self.says("sub-7", "sid-1", jti="1")
        _, late = self.vouched()
        self.assertIsNone(self.stored.with_id(late.id))
        _, other = self.vouched(vouched=attrs.evolve(VOUCHED, sid="sid-2"))
        self.says("sub-8", "sid-3", jti="2")
        _, another = self.vouched(vouched=attrs.evolve(VOUCHED, sid="sid-3"))
        self.assertEqual(self.left(), {other.id, another.id})

    def test_attack_39_no_longer_than_a_sign_in_can_take(self) -> None:
        self.says("sub-7", "sid-1", jti="1")
        for more, there in ((3599.75, 0), (600.0, 1)):
            self.clock.advance(more)
            self.done(self.state.tend())
            self.vouched()
            self.assertEqual(len(self.left()), there)

    def test_after_a_sign_out_everywhere_the_user_can_sign_in_again(self) -> None:
        self.vouched()
        self.says("sub-7")
        self.clock.advance(1)
        _, again = self.vouched()
        self.assertEqual(self.left(), {again.id})

    def test_attack_o6_a_bad_token_ends_nothing(self) -> None:
        self.vouched()
        reply = self.send(Rejected("it has a nonce"))
        self.assertEqual((reply.status, reply.body), (400, b'{"error":"invalid_request"}'))
        self.assertEqual((self.record.status, self.record.event), (400, "backchannel_logout"))
        self.assertIn("it has a nonce", self.record.detail)
        self.assertEqual(len(self.left()), 1)

    def test_what_is_no_logout_token(self) -> None:
        self.vouched()
        long = "a" * LONGEST
        for body, form in (
            ("", FORM),
            ("logout_token=a&logout_token=b", FORM),
            ("token=a", FORM),
            ("logout_token=a", "Content-Type: text/plain"),
            (urlencode({"logout_token": long + "a"}), FORM),
        ):
            reply = self.send(body=body, form=form)
            self.assertEqual((reply.status, reply.body), (400, b'{"error":"invalid_request"}'), body[:40])
        self.assertEqual((self.provider.asked, len(self.left())), ([], 1))
        self.send(Rejected("no"), body=urlencode({"logout_token": long}))
        self.assertEqual(self.provider.asked, [("logged_out", long)])

    def test_attack_o6_what_cannot_be_decided_is_503_and_may_be_sent_again(self) -> None:
        self.vouched()
        self.assertEqual(self.send(ProviderUnavailable("no keys")).status, 503)
        self.assertEqual(len(self.left()), 1)

    def test_a_state_that_does_not_know_whether_it_was_used(self) -> None:
        self.vouched()

        class Broken:
            async def claim(self, name: bytes, until: float) -> bool:
                raise StateUnavailable("disk")

        self.claims = Broken()
        self.assertEqual(self.send(LoggedOut("", "sid-1", "1", START + 360)).status, 503)
        self.assertEqual(len(self.left()), 1)

    def test_other_methods(self) -> None:
        self.assertEqual(Browser(self).open(PATH).status, 405)

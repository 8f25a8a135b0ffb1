"""What result codes mean."""

from __future__ import annotations

from ldaptor.protocols.ldap import ldaperrors
from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.ldap.results import AD_REASONS, NAMES, describe, judge_login, judge_search, judge_service
from perimeter.auth.kinds.ldap.values import Result, ServerFailure
from perimeter.errors import Rejected, Unavailable, Undecided

AD_MESSAGE = "80090308: LdapErr: DSID-0C09042F, comment: AcceptSecurityContext error, data {}, v2580"


class NameTests(TestCase):
    def test_the_names_are_those_of_ldaptor(self) -> None:
        errors = [one for one in vars(ldaperrors).values() if getattr(one, "resultCode", None) is not None]
        known = {error.resultCode: error.name.decode().lower() for error in errors}
        known[8] = "strongerauthrequired"  # RFC 4511 has renamed it
        for code, name in NAMES.items():
            if code in known:
                self.assertEqual(known[code], name.lower(), code)
        # the other codes are those of compare, of a SASL bind and of changes
        self.assertEqual(known.keys() - NAMES.keys(), {5, 6, 14, 20, *range(64, 70), 71})
        self.assertEqual(NAMES.keys() - known.keys(), set())


class LoginTests(TestCase):
    def test_attack_41_every_code_but_success_lets_no_client_in(self) -> None:
        judge_login(Result(0))
        for code in range(1, 200):
            with self.assertRaises((Rejected, Unavailable, ServerFailure)):
                judge_login(Result(code))

    def test_who_is_wrong_and_who_could_not_tell(self) -> None:
        for code in (19, 32, 48, 49, 50, 53):
            self.assertRaises(Rejected, judge_login, Result(code))
        for code in (51, 52):
            self.assertRaises(ServerFailure, judge_login, Result(code))
        for code in (8, 13):
            error = self.assertRaises(Unavailable, judge_login, Result(code))
            self.assertNotIsInstance(error, Undecided)
            self.assertIn("set tls = starttls or ldaps", error.detail)
        for code in (1, 2, 3, 10, 34, 80, 123):
            error = self.assertRaises(Undecided, judge_login, Result(code))
            self.assertEqual("referrals are not followed" in error.detail, code == 10)

    def test_active_directorys_reasons_are_for_the_log(self) -> None:
        for code, reason in AD_REASONS.items():
            error = self.assertRaises(Rejected, judge_login, Result(49, AD_MESSAGE.format(code)))
            self.assertEqual(error.detail, f"the directory refused the login (invalidCredentials, {code}: {reason})")
            self.assertEqual(error.phrase, Rejected.phrase)
        self.assertIn("0: a reason that is not known here", describe(Result(49, AD_MESSAGE.format("0"))))

    def test_attack_42_nothing_of_the_servers_text_is_reported(self) -> None:
        for code in (1, 49, 53, 80, 99):
            self.assertNotIn("evil", describe(Result(code, "evil\r\ndata zz, data evil")))


class OtherTests(TestCase):
    def test_the_gateways_own_account(self) -> None:
        judge_service(Result(0))
        for code in NAMES.keys() - {0, 51, 52}:
            failure = self.assertRaises(ServerFailure, judge_service, Result(code))
            self.assertTrue(failure.final)
            hint = "set tls = starttls or ldaps" if code in (8, 13) else "look at bind_dn and bind_password"
            self.assertTrue(failure.detail.endswith(hint), failure.detail)
        for code in (51, 52):
            self.assertFalse(self.assertRaises(ServerFailure, judge_service, Result(code)).final)

    def test_searches(self) -> None:
        judge_search(Result(0))
        for code in (51, 52):
            self.assertRaises(ServerFailure, judge_search, Result(code))
        for code, hint in (
            (1, "set bind_dn"),
            (10, "referrals are not followed"),
            (32, "the base is not there"),
            (50, "bind_dn"),
        ):
            self.assertIn(hint, self.assertRaises(Unavailable, judge_search, Result(code)).detail)
        self.assertIn("raise server_timeout", self.assertRaises(Undecided, judge_search, Result(3)).detail)
        for code in (3, 4, 11):
            self.assertRaises(Undecided, judge_search, Result(code))
        for code in (1, 10, 32, 50):
            self.assertNotIsInstance(self.assertRaises(Unavailable, judge_search, Result(code)), Undecided)

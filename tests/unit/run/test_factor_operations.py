"""What the operator may do with second factors."""

from __future__ import annotations

from perimeter.errors import Unavailable
from perimeter.run.factor_operations import list_factors, new_enroll_code, remove_factors
from tests.unit.doubles.factors import FactorCase
from tests.unit.doubles.sessions import BOB, NAMESAKE, START

REALMS = ("local",)


class FactorOperationTests(FactorCase):
    def test_they_are_listed(self) -> None:
        self.with_totp()
        self.with_totp(NAMESAKE)
        self.done(self.factor_book.make_recovery_codes("local", "alice"))
        found = list_factors(REALMS, self.factors, None, None)
        self.assertEqual(([one["realm"] for one in found["factors"]], found["next"]), (["corp", "local"], None))
        (one,) = list_factors(REALMS, self.factors, "alice", "local")["factors"]
        self.assertEqual((one["kind"], one["name"], one["used"], one["recovery_codes"]), ("totp", "phone", "", 10))
        self.done(self.factor_book.use_code("local", "alice", self.code()))
        self.assertNotEqual(list_factors(REALMS, self.factors, "alice", "local")["factors"][0]["used"], "")
        self.assertEqual(list_factors(REALMS, self.factors, "bob", None)["factors"], [])
        self.assertEqual(list_factors(REALMS, self.factors, None, None, 1)["factors"], [one | {"used": _used(self)}])
        self.assertRaises(ValueError, list_factors, REALMS, self.factors, None, "elsewhere")
        self.assertEqual(len(list_factors(REALMS, self.factors, None, "corp")["factors"]), 1)

    def test_they_are_reset(self) -> None:
        self.with_totp()
        self.with_totp(BOB)
        self.assertEqual(self.done(remove_factors(REALMS, self.factors, ("local", "alice"), START + 999)), {"factors": 1})
        self.assertEqual(self.done(remove_factors(REALMS, self.factors, ("local", "carol"), START + 999)), {"factors": 0})
        self.assertEqual([one["username"] for one in list_factors(REALMS, self.factors, None, None)["factors"]], ["bob"])
        self.fails(ValueError, remove_factors(REALMS, self.factors, ("elsewhere", "alice"), START))
        self.store.fails = True
        self.fails(Unavailable, remove_factors(REALMS, self.factors, ("local", "bob"), START + 999))
        self.assertEqual(list_factors(REALMS, self.factors, None, None)["factors"], [])

    def test_a_code_for_a_first_factor(self) -> None:
        found = self.done(new_enroll_code(REALMS, self.factors, ("local", "alice"), self.clock.seconds()))
        self.done(self.factor_book.use_enroll_code("local", "alice", found["code"]))
        self.assertTrue(found["expires"])
        self.with_totp(BOB)
        self.assertIn("has a second factor already", str(self.fails(ValueError, self.code_for("bob"))))
        self.fails(ValueError, new_enroll_code(REALMS, self.factors, ("elsewhere", "alice"), START))

    def code_for(self, name: str) -> object:
        return new_enroll_code(REALMS, self.factors, ("local", name), self.clock.seconds())


def _used(case: FactorCase) -> str:
    return str(list_factors(REALMS, case.factors, "alice", "local")["factors"][0]["used"])

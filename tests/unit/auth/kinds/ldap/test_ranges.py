"""Attributes whose values come in parts."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.ldap import ranges
from perimeter.auth.kinds.ldap.ranges import completed
from perimeter.auth.kinds.ldap.values import ENTRY, Found, LdapEntry, Present, Result, Search
from perimeter.errors import Undecided

DN = "cn=alice,dc=x"


def values(first: int, count: int) -> tuple[bytes, ...]:
    return tuple(b"%d" % number for number in range(first, first + count))


class Server:
    """Returns ``total`` values of ``member``, ``most`` at a time; ``answers`` replaces the next answers."""

    def __init__(self, total: int, most: int, *answers: LdapEntry) -> None:
        self.total = total
        self.most = most
        self.answers = list(answers)
        self.asked: list[Search] = []

    def part(self, first: int) -> LdapEntry:
        last = min(first + self.most, self.total)
        end = "*" if last == self.total else str(last - 1)
        return LdapEntry(DN, {f"member;range={first}-{end}": values(first, last - first), "cn": (b"alice",)})

    async def ask(self, search: Search) -> Found:
        self.asked.append(search)
        if self.answers:
            return Found((self.answers.pop(0),), Result(0))
        (wanted,) = search.attributes
        return Found((self.part(int(wanted.removeprefix("member;range=").removesuffix("-*"))),), Result(0))

    def completed(self, *entries: LdapEntry) -> Deferred[Found]:
        return Deferred.fromCoroutine(completed(Found(entries, Result(0)), self.ask))


class RangeTests(TestCase):
    def test_all_values_of_several_parts(self) -> None:
        server = Server(7, 3)
        found = self.successResultOf(server.completed(server.part(0)))
        self.assertEqual(found.entries, (LdapEntry(DN, {"cn": (b"alice",), "member": values(0, 7)}),))
        wanted = [Search(DN, Present("objectClass"), (f"member;range={first}-*",), 1, scope=ENTRY) for first in (3, 6)]
        self.assertEqual(server.asked, wanted)

    def test_the_plain_attribute_beside_a_part_is_replaced(self) -> None:
        """Active Directory returns it too, without values."""
        server = Server(2, 1)
        entry = LdapEntry(DN, {"member": (), "member;range=0-0": values(0, 1)})
        found = self.successResultOf(server.completed(entry))
        self.assertEqual(found.entries[0].attributes, {"member": values(0, 2)})

    def test_nothing_is_asked_without_parts(self) -> None:
        server = Server(7, 3)
        entries = (LdapEntry(DN, {"member": values(0, 2), "cn;lang-en": (b"x",)}),)
        found = Found(entries, Result(4), more=True)
        self.assertIs(self.successResultOf(Deferred.fromCoroutine(completed(found, server.ask))), found)
        whole = LdapEntry(DN, {"member;range=0-*": values(0, 2)})
        self.assertEqual(self.successResultOf(server.completed(whole)).entries[0].attributes, {"member": values(0, 2)})
        self.assertEqual(server.asked, [])

    def test_attack_142_parts_that_do_not_fit_are_not_believed(self) -> None:
        for first, rest in (
            ({"member;range=1-*": values(1, 2)}, []),  # the first value is missing
            ({"member;range=0-5": values(0, 3)}, []),  # fewer values than it says
            ({"member;range=0-1": values(0, 3)}, []),  # more
            ({"member;range=0-2": values(0, 3)}, [{"cn": (b"x",)}]),
            ({"member;range=0-2": values(0, 3)}, [{"member;range=4-*": values(4, 1)}]),
            ({"member;range=0-2": values(0, 3)}, [{"member;range=3-2": ()}]),  # no progress
            ({"member;range=0-2": values(0, 3)}, [{"other;range=3-*": values(3, 1)}]),
            ({"member;range=0-2": values(0, 3)}, [{"member;range=3-*": values(3, 1), "member;range=3-3": values(3, 1)}]),
        ):
            server = Server(3, 3, *(LdapEntry(DN, one) for one in rest))
            refusal = self.failureResultOf(server.completed(LdapEntry(DN, first)), Undecided).value
            self.assertIn("not the rest of them", refusal.detail)

    def test_attack_142_an_entry_that_is_gone_is_not_believed(self) -> None:
        async def nothing(search: Search) -> Found:
            return Found((), Result(0))

        entry = LdapEntry(DN, {"member;range=0-0": values(0, 1)})
        self.failureResultOf(Deferred.fromCoroutine(completed(Found((entry,), Result(0)), nothing)), Undecided)

    def test_the_number_of_values_is_bounded(self) -> None:
        self.patch(ranges, "MAX_VALUES", 6)
        server = Server(7, 3)
        self.assertEqual(len(self.successResultOf(server.completed(server.part(0))).entries[0].values("member")), 7)
        server = Server(8, 7)
        refusal = self.failureResultOf(server.completed(server.part(0)), Undecided).value
        self.assertEqual(refusal.detail, "an attribute member has more than 6 values")

"""Groups of a directory, and the roles that they give."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from perimeter.auth.kinds.ldap import roles as roles_module
from perimeter.auth.kinds.ldap.results import SIZE_LIMIT_EXCEEDED
from perimeter.auth.kinds.ldap.roles import IN_CHAIN, Roles
from perimeter.auth.kinds.ldap.values import Found, Matching, Result, Search
from perimeter.errors import Undecided
from tests.unit.doubles.ldap_directory import MemoryDirectory, entry
from tests.unit.doubles.ldap_sections import MINIMAL, parsed

USER = "cn=alice,ou=people,dc=example,dc=org"
BASE = "ou=groups,dc=example,dc=org"


def group(name: str | bytes, *members: str, dn: str = "", **more: Any) -> Any:
    shown = name if isinstance(name, str) else "odd"
    return entry(dn or f"cn={shown},{BASE}", objectClass="groupOfUniqueNames", cn=name, uniqueMember=members, **more)


class RolesTests(TestCase):
    def found(self, *entries: Any, **options: str) -> tuple[str, ...]:
        return self.successResultOf(self.asked(*entries, **options))

    def asked(self, *entries: Any, **options: str) -> Deferred[tuple[str, ...]]:
        self.directory = MemoryDirectory(Clock(), *entries)
        self.steps: list[str] = []
        settings = parsed(**{**MINIMAL, "role_base_dn": BASE, **options})
        roles = Roles(settings, self.directory.search)
        return Deferred.fromCoroutine(roles.of(entry(USER), "alice", self.steps.append))

    def test_groups_that_have_the_user_as_a_member(self) -> None:
        entries = [group("ops", "cn=bob,dc=x", USER), group("dev", USER), group("other", "cn=bob,dc=x")]
        self.assertEqual(self.found(*entries), ("dev", "ops"))
        filter = f"(&(objectClass=groupOfUniqueNames)(uniqueMember={USER}))"
        self.assertEqual(self.steps[0], f"search for groups below {BASE}: {filter}")
        self.assertIn(f"group cn=ops,{BASE}: ops", self.steps)
        (search,) = self.directory.asked
        self.assertEqual((search.limit, search.page), (5000, 500))

    def test_no_roles_without_a_place_for_groups(self) -> None:
        self.assertEqual(self.found(group("ops", USER), role_base_dn=""), ())
        self.assertEqual(self.directory.asked, [])

    def test_other_places_and_classes_do_not_count(self) -> None:
        elsewhere = group("ops", USER, dn="cn=ops,dc=elsewhere")
        person = entry(f"cn=x,{BASE}", objectClass="person", cn="x", uniqueMember=USER)
        self.assertEqual(self.found(elsewhere, person), ())

    def test_a_filter_for_groups(self) -> None:
        member = entry(f"cn=ops,{BASE}", objectClass="team", cn="ops", member=USER, active="yes")
        by_name = entry(f"cn=dev,{BASE}", objectClass="team", cn="dev", memberUid="alice", active="yes")
        closed = entry(f"cn=old,{BASE}", objectClass="team", cn="old", member=USER)
        text = "(&(active=yes)(|(member={dn})(memberUid={username})))"
        self.assertEqual(self.found(member, by_name, closed, role_filter=text), ("dev", "ops"))
        self.assertEqual(str(self.directory.asked[0].filter), text.format(dn=USER, username="alice"))
        self.assertEqual(len(self.directory.asked), 1)

    def test_a_filter_for_groups_in_groups(self) -> None:
        """A group that is a member has no user name, so that part of the filter concerns the user alone."""
        inner = entry(f"cn=inner,{BASE}", cn="inner", memberUid="alice")
        outer = entry(f"cn=outer,{BASE}", cn="outer", member=f"cn=inner,{BASE}")
        other = entry(f"cn=other,{BASE}", cn="other", member="cn=x")
        text = "(|(member={dn})(memberUid={username}))"
        self.assertEqual(self.found(inner, outer, other, role_filter=text, nested_groups="yes"), ("inner", "outer"))
        self.assertEqual(str(self.directory.asked[1].filter), f"(member=cn=inner,{BASE})")
        active = {"flavour": "active-directory", "bind_dn": "cn=gw", "bind_password": "pw"}
        self.assertEqual(self.found(inner, outer, other, role_filter=text, **active), ("inner", "outer"))

    def test_a_filter_by_the_user_name_alone_follows_no_groups(self) -> None:
        active = {"flavour": "active-directory", "bind_dn": "cn=gw", "bind_password": "pw"}
        found = self.found(entry(f"cn=a,{BASE}", cn="a", memberUid="alice"), role_filter="(memberUid={username})", **active)
        self.assertEqual((found, len(self.directory.asked)), (("a",), 1))

    def test_attack_31_a_distinguished_name_is_never_read_as_a_filter(self) -> None:
        asked: list[Search] = []

        async def search(search: Search) -> Found:
            asked.append(search)
            return Found((), Result(0))

        settings = parsed(**MINIMAL, role_base_dn=BASE, role_filter="(member={dn})")
        user = entry(r"cn=a\2a)(cn=\28*,dc=x")
        self.successResultOf(Deferred.fromCoroutine(Roles(settings, search).of(user, "a", lambda step: None)))
        self.assertEqual(str(asked[0].filter), r"(member=cn=a\5c2a\29\28cn=\5c28\2a,dc=x)")

    def limited(self, ends_at: int, *, knows_entry_dn: bool = True, groups: int = 10) -> Deferred[tuple[str, ...]]:
        directory = MemoryDirectory(Clock(), *(group(f"g{number:02}", USER) for number in range(groups)), group("none", "cn=bob"))
        directory.ends_at, directory.knows_entry_dn = ends_at, knows_entry_dn
        self.directory = directory
        roles = Roles(parsed(**{**MINIMAL, "role_base_dn": BASE}), directory.search)
        return Deferred.fromCoroutine(roles.of(entry(USER), "alice", lambda _: None))

    def test_groups_beyond_the_limit_of_the_directory(self) -> None:
        everything = tuple(f"g{number:02}" for number in range(10))
        for ends_at, searches in ((1, 19), (3, 7), (5, 3), (9, 3), (10, 1), (11, 1)):
            self.assertEqual(self.successResultOf(self.limited(ends_at)), everything, ends_at)
            self.assertEqual(len(self.directory.asked), searches, ends_at)

    def test_attack_41_groups_that_cannot_be_reached_are_not_taken_for_absent(self) -> None:
        refusal = self.failureResultOf(self.limited(3, knows_entry_dn=False), Undecided).value
        self.assertIn("size.prtotal=unlimited", refusal.detail)
        self.patch(roles_module, "MAX_GROUPS", 9)
        self.assertIn("more than 9 groups", self.failureResultOf(self.limited(3), Undecided).value.detail)
        self.patch(roles_module, "MAX_GROUPS", 10)
        self.assertEqual(len(self.successResultOf(self.limited(3))), 10)

    def test_attack_41_a_directory_that_returns_nothing_at_its_limit(self) -> None:
        async def nothing(search: Search) -> Found:
            return Found((), Result(SIZE_LIMIT_EXCEEDED), more=True)

        roles = Roles(parsed(**{**MINIMAL, "role_base_dn": BASE}), nothing)
        self.failureResultOf(Deferred.fromCoroutine(roles.of(entry(USER), "alice", lambda _: None)), Undecided)

    def test_the_primary_group_counts(self) -> None:
        posix = [
            entry(f"cn={name},{BASE}", objectClass="posixGroup", cn=name, memberUid=who, gidNumber=number)
            for name, who, number in (("a", "alice", "1"), ("b", "bob", "2"), ("c", "bob", "3"))
        ]
        options = {"role_object_class": "PosixGroup", "role_member_attribute": "memberUid", "role_member_value": "username"}
        for numbers, expected in ((("2",), ("a", "b")), ((), ("a",)), (("2", "3"), ("a", "b", "c")), (("*", "x"), ("a",))):
            for member_value in ("username", "dn"):
                directory = MemoryDirectory(Clock(), *posix)
                roles = Roles(
                    parsed(**{**MINIMAL, "role_base_dn": BASE, **options, "role_member_value": member_value}), directory.search
                )
                user = entry(USER, gidNumber=numbers) if numbers else entry(USER)
                found = self.successResultOf(Deferred.fromCoroutine(roles.of(user, "alice", lambda _: None)))
                self.assertEqual(found, tuple(one for one in expected if one != "a" or member_value == "username"), numbers)

    def test_a_number_counts_for_posix_groups_alone(self) -> None:
        numbered = group("ops", "cn=bob", gidNumber="2")
        directory = MemoryDirectory(Clock(), numbered)
        roles = Roles(parsed(**{**MINIMAL, "role_base_dn": BASE}), directory.search)
        user = entry(USER, gidNumber="2")
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(roles.of(user, "alice", lambda _: None))), ())

    def test_members_by_the_user_s_name(self) -> None:
        posix = [
            entry(f"cn={name},{BASE}", objectClass="posixGroup", cn=name, memberUid=who)
            for name, who in (("a", "alice"), ("b", "bob"))
        ]
        options = {"role_object_class": "posixGroup", "role_member_attribute": "memberUid", "role_member_value": "username"}
        self.assertEqual(self.found(*posix, **options), ("a",))
        self.assertEqual(self.found(*posix, **{**options, "role_member_value": "dn"}), ())

    def test_a_group_gives_each_of_its_names(self) -> None:
        self.assertEqual(
            self.found(entry(f"cn=a,{BASE}", objectClass="groupOfUniqueNames", cn=["b", "a"], uniqueMember=USER)), ("a", "b")
        )

    def test_another_attribute_names_the_role(self) -> None:
        self.assertEqual(self.found(group("a", USER, description="the role"), role_name_attribute="description"), ("the role",))

    def test_mapped_by_name_or_by_distinguished_name(self) -> None:
        mapping = f"\n  OPS -> admin\n  CN=dev, {BASE} -> developer\n  nothing -> root"
        self.assertEqual(
            self.found(group("ops", USER), group("dev", USER), group("other", USER), role_mapping=mapping), ("admin", "developer")
        )
        self.assertIn(f"group cn=other,{BASE}: no role", self.steps)

    def test_attack_15_names_that_are_no_roles(self) -> None:
        for name in ("a\r\nX-Auth-Roles: admin", " ", "a\x85b", b"\xff"):
            self.assertEqual(self.found(group(name, USER)), ())

    def test_nested_groups_count_only_where_they_are_asked_for(self) -> None:
        inner, outer = group("inner", USER), group("outer", f"cn=inner,{BASE}")
        top = group("top", f"cn=outer,{BASE}", f"cn=unrelated,{BASE}")
        self.assertEqual(self.found(inner, outer, top), ("inner",))
        self.assertEqual(self.found(inner, outer, top, nested_groups="yes"), ("inner", "outer", "top"))

    def test_groups_that_contain_each_other(self) -> None:
        one, other = group("one", USER, f"cn=other,{BASE}"), group("other", f"cn=one,{BASE}")
        self.assertEqual(self.found(one, other, nested_groups="yes"), ("one", "other"))

    def chain(self, length: int) -> list[Any]:
        members = [USER, *(f"cn=g{number},{BASE}" for number in range(length))]
        return [group(f"g{number}", members[number]) for number in range(length)]

    def test_attack_41_nested_deeper_than_the_gateway_follows(self) -> None:
        self.patch(roles_module, "MAX_DEPTH", 3)
        self.assertEqual(len(self.found(*self.chain(3), nested_groups="yes")), 3)
        error = self.failureResultOf(self.asked(*self.chain(4), nested_groups="yes"), Undecided).value
        self.assertIn("more than 3 deep", error.detail)

    def test_attack_41_some_of_the_groups_are_not_all(self) -> None:
        self.patch(roles_module, "MAX_GROUPS", 3)
        members = [group(f"g{number}", USER) for number in range(3)]
        self.assertEqual(len(self.found(*members)), 3)
        self.failureResultOf(self.asked(*members, group("g3", USER)), Undecided)
        self.failureResultOf(self.asked(*members, group("g3", f"cn=g0,{BASE}"), nested_groups="yes"), Undecided)
        self.assertEqual(len(self.found(*members[:2], group("g3", f"cn=g0,{BASE}"), nested_groups="yes")), 3)

    def test_groups_are_followed_to_a_depth_of_ten(self) -> None:
        self.assertEqual(len(self.found(*self.chain(10), nested_groups="yes")), 10)
        self.failureResultOf(self.asked(*self.chain(11), nested_groups="yes"), Undecided)

    def test_one_search_asks_about_fifty_groups(self) -> None:
        for number, searches in ((50, 2), (51, 3)):
            self.found(*(group(f"g{one}", USER) for one in range(number)), nested_groups="yes")
            self.assertEqual(len(self.directory.asked), searches)

    def test_one_search_asks_about_so_many_groups(self) -> None:
        self.patch(roles_module, "AT_ONCE", 2)
        members = [group(f"g{number}", USER) for number in range(5)]
        outer = group("outer", f"cn=g4,{BASE}")
        self.assertIn("outer", self.found(*members, outer, nested_groups="yes"))
        # the user, five groups in pairs, and the group that contains them
        self.assertEqual(len(self.directory.asked), 1 + 3 + 1)

    def test_active_directory_follows_groups_itself(self) -> None:
        def ad_group(name: str, member: str) -> Any:
            return entry(f"cn={name},{BASE}", objectClass="group", cn=name, member=member)

        entries = [ad_group("inner", USER), ad_group("outer", f"cn=inner,{BASE}")]
        options = {"flavour": "active-directory", "bind_dn": "cn=gw", "bind_password": "pw"}
        self.assertEqual(self.found(*entries, **options), ("inner", "outer"))
        (search,) = self.directory.asked
        self.assertEqual(search.filter.parts[1], Matching("member", IN_CHAIN, USER))  # type: ignore[union-attr]
        self.assertEqual(self.found(*entries, **options, nested_groups="no"), ("inner",))

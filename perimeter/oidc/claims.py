"""From the claims of a provider to a user of the gateway, and whether this user may come in. Pure (attacks 15, 17 and 40, O4,
O5)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from perimeter.auth.kinds.remote import names
from perimeter.auth.kinds.remote.judge import values_at
from perimeter.auth.text import local_part
from perimeter.errors import PerimeterError
from perimeter.model import Principal

EMAIL: Final = "email"
GROUPS: Final = "groups"
MAX_IDENTITY: Final = 255

_VERIFIED: Final = "email_verified"
_HOSTED_DOMAIN: Final = "hd"
_ELSEWHERE: Final = "_claim_names"
_HAS_GROUPS: Final = "hasgroups"


class NotAllowed(PerimeterError):
    """The user is known, and may not come in; ``username`` is their name, or "" if no claim has one."""

    def __init__(self, reason: str, username: str = "") -> None:
        super().__init__(reason)
        self.username = username


class ClaimsElsewhere(PerimeterError):
    """The provider has left out claims that decide, and says where they are (OpenID Connect Core, section 5.6.2).

    That is not the same as having none of them. ``claims`` are the names of those that are left out.
    """

    def __init__(self, claims: frozenset[str]) -> None:
        super().__init__(f"the provider has left out {', '.join(sorted(claims))}")
        self.claims = claims


@attrs.frozen
class ClaimRules:
    """How claims become a user, and which users are allowed in. A claim is a path with dots, in which ``*`` is every member.

    ``role_map`` are pairs of a provider's role and one here; if there is one, roles that it does not have are left out. Each pair
    of ``require`` is a claim and the value that it has, or has among others. A user needs one of ``allow_groups``, a verified
    address in one of ``email_domains``, a ``hd`` (Google) among ``hosted_domains``, if these are set. ``identity_claims``, joined
    by ``/``, are the subject to which the user name is bound.
    """

    realm: str
    service: str
    username_claim: str = "preferred_username"
    roles_claims: tuple[str, ...] = ()
    role_map: tuple[tuple[str, str], ...] = ()
    require: tuple[tuple[str, str], ...] = ()
    allow_groups: frozenset[str] = frozenset()
    email_domains: tuple[str, ...] = ()
    hosted_domains: frozenset[str] = frozenset()
    attribute_claims: tuple[str, ...] = ()
    identity_claims: tuple[str, ...] = ("sub",)

    @property
    def decisive(self) -> tuple[str, ...]:
        """The claims that decide who the user is, what roles they have, and whether they may come in."""
        required = (claim for claim, _ in self.require)
        paths = (*self.identity_claims, self.username_claim, *self.roles_claims, *required)
        email = (EMAIL, _VERIFIED) if self.email_domains or EMAIL in paths else ()
        hosted = (_HOSTED_DOMAIN,) if self.hosted_domains else ()
        return tuple(dict.fromkeys((*paths, *email, *hosted)))


def missing(claims: Mapping[str, Any], rules: ClaimRules) -> tuple[str, ...]:
    """The claims of `ClaimRules.decisive` that are not there. Another source of claims may have them."""
    return tuple(path for path in rules.decisive if not any(True for _ in values_at(claims, path)))


def combined(*sources: Mapping[str, Any]) -> dict[str, Any]:
    """The claims of all ``sources``, which are about the same subject. Those of an earlier one are preferred."""
    found: dict[str, Any] = {}
    for source in sources:
        for name, value in source.items():
            found.setdefault(name, value)
    return found


def subject_of(claims: Mapping[str, Any], rules: ClaimRules) -> str:
    """What the user name is bound to. Raises `perimeter.auth.kinds.remote.names.Unfit`."""
    parts = [_identity_part(claims, name) for name in rules.identity_claims]
    if len(parts) > 1 and any("/" in part for part in parts):
        raise names.Unfit("a part of the user's identity contains /, which joins the parts")
    return "/".join(parts)


def _identity_part(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    # GitHub's ids are numbers; true is a number to Python
    text = str(value) if type(value) is int else value
    if not isinstance(text, str) or not 0 < len(text) <= MAX_IDENTITY or not (text.isascii() and text.isprintable()):
        raise names.Unfit(f"{name} is no identity of a user")
    return text


def principal_of(claims: Mapping[str, Any], rules: ClaimRules) -> Principal:
    """The user of these claims. An address that the provider has not verified is not used for anything: users can enter any.

    Raises `NotAllowed`, `ClaimsElsewhere`, or `perimeter.auth.kinds.remote.names.Unfit` for a claim of a shape that it cannot
    have.
    """
    _check_complete(claims, rules)
    if not is_verified(claims):
        if rules.username_claim == EMAIL and EMAIL in claims:
            raise NotAllowed("the provider has not verified the address that is to be the user name")
        claims = {name: value for name, value in claims.items() if name != EMAIL}
    username = _username(claims, rules)
    groups: dict[str, None] = {}
    for path in rules.roles_claims:
        for value in values_at(claims, path):
            groups.update(dict.fromkeys(names.roles(value, path)))
    _check_allowed(claims, rules, username, groups)
    return Principal(
        username, rules.realm, _roles(groups, rules), authenticator=rules.service, attributes=_attributes(claims, rules)
    )


def left_out(claims: Mapping[str, Any]) -> frozenset[str]:
    """The claims that the provider has left out, and says so (OpenID Connect Core, section 5.6.2).

    Entra leaves out the groups of users who have many of them, and says ``hasgroups`` in some tokens. Raises
    `perimeter.auth.kinds.remote.names.Unfit`.
    """
    elsewhere = claims.get(_ELSEWHERE, {})
    if not isinstance(elsewhere, dict):
        raise names.Unfit(f"{_ELSEWHERE} is not an object")
    found = {*elsewhere, GROUPS} if claims.get(_HAS_GROUPS) in (True, "true") else {*elsewhere}
    return frozenset(found - claims.keys())


def _check_complete(claims: Mapping[str, Any], rules: ClaimRules) -> None:
    """ "Too many to list" must never mean "none"."""
    absent = left_out(claims) & {path.partition(".")[0] for path in rules.decisive}
    if absent:
        raise ClaimsElsewhere(absent)


def is_verified(claims: Mapping[str, Any]) -> bool:
    """Whether the provider has verified the address of the user."""
    return claims.get(_VERIFIED) is True


def _username(claims: Mapping[str, Any], rules: ClaimRules) -> str:
    path = rules.username_claim
    for value in values_at(claims, path):
        return names.username(value, path)
    raise NotAllowed(f"no claim {path} names the user")


def _check_allowed(claims: Mapping[str, Any], rules: ClaimRules, username: str, groups: Iterable[str]) -> None:
    for path, wanted in rules.require:
        if not any(has_value(value, wanted) for value in values_at(claims, path)):
            raise NotAllowed(f"the claim {path} does not have the value that `require` demands", username)
    if rules.allow_groups and rules.allow_groups.isdisjoint(groups):
        raise NotAllowed("the user is in none of `allow_groups`", username)
    hosted = claims.get(_HOSTED_DOMAIN)
    if rules.hosted_domains and not (isinstance(hosted, str) and hosted in rules.hosted_domains):
        raise NotAllowed("the account belongs to none of `domains`", username)
    if rules.email_domains and not _has_address(claims, rules.email_domains):
        raise NotAllowed("the user has no verified address in one of `email_domains`", username)


def has_value(value: object, wanted: str) -> bool:
    """Whether a claim has the value ``wanted``: a text, a number or truth value as JSON writes it, or a list that has it."""
    if isinstance(value, list):
        return any(has_value(one, wanted) for one in value if not isinstance(one, list))
    if isinstance(value, str):
        return value == wanted
    return isinstance(value, bool | int | float) and json.dumps(value) == wanted


def _has_address(claims: Mapping[str, Any], domains: Iterable[str]) -> bool:
    """Whether the address, which is verified, has one ``@``, and what follows it is one of ``domains`` as a whole."""
    address = claims.get(EMAIL)
    return isinstance(address, str) and any(local_part(address, domain) is not None for domain in domains)


def _roles(groups: Iterable[str], rules: ClaimRules) -> tuple[str, ...]:
    if not rules.role_map:
        return tuple(groups)
    known = frozenset(groups)
    return tuple(dict.fromkeys(role for group, role in rules.role_map if group in known))


def _attributes(claims: Mapping[str, Any], rules: ClaimRules) -> dict[str, str]:
    found = {name: names.attribute(claims[name]) for name in rules.attribute_claims if name in claims}
    return {name: text for name, text in found.items() if text is not None}


def factors_of(claims: Mapping[str, Any], two_factors: frozenset[str]) -> int:
    """How many factors the provider has checked: 2 if ``acr`` or one of ``amr`` is among ``two_factors``, otherwise 1."""
    methods = claims.get("amr")
    said = [claims.get("acr"), *(methods if isinstance(methods, list) else ())]
    return 2 if any(isinstance(one, str) and one in two_factors for one in said) else 1

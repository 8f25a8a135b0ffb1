"""What became of the claims of a user, in sentences, for ``perimeter login --provider NAME --explain``. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from perimeter.auth.kinds.remote import names
from perimeter.auth.kinds.remote.judge import values_at
from perimeter.model import discard_explanation
from perimeter.oidc.claims import EMAIL, ClaimRules, has_value, is_verified

MAX_VALUE: Final = 400
"""Characters of a claim that are shown."""

_OF_THE_SIGN_IN: Final = frozenset({"nonce", "at_hash", "c_hash", "s_hash"})
"""Claims that belong to one sign-in and decide nothing about the user."""


def explain_claims(claims: Mapping[str, Any], rules: ClaimRules, explain: Callable[[str], None]) -> None:
    """Give each sentence to ``explain``, unless they are not wanted."""
    if explain is not discard_explanation:
        for step in explained(claims, rules):
            explain(step)


def explained(claims: Mapping[str, Any], rules: ClaimRules) -> Iterator[str]:
    """A sentence for each claim, then one for each rule: what it has found."""
    for name, value in claims.items():
        if name not in _OF_THE_SIGN_IN:
            yield f"claim {name} = {_shown(value)}"
    if EMAIL in claims and not is_verified(claims):
        yield "email_verified is not true, so email is not used for anything"
        claims = {name: value for name, value in claims.items() if name != EMAIL}
    yield f"username_claim = {rules.username_claim}: {_found(claims, rules.username_claim)}"
    yield f"identity, for good: {', '.join(f'{name} = {_shown(claims.get(name))}' for name in rules.identity_claims)}"
    groups: dict[str, None] = {}
    for path in rules.roles_claims:
        yield f"roles_claim = {path}: {_found(claims, path)}"
        for value in values_at(claims, path):
            try:
                groups.update(dict.fromkeys(names.roles(value, path)))
            except names.Unfit as error:
                yield f"    {error}: the sign-in is refused"
    for group, role in rules.role_map:
        yield f"role_map: {group} {'gives' if group in groups else 'is not there, and would give'} {role}"
    if rules.role_map:
        unmapped = [group for group in groups if group not in {known for known, _ in rules.role_map}]
        yield f"role_map does not have, so left out: {', '.join(unmapped) or 'nothing'}"
    for path, wanted in rules.require:
        holds = any(has_value(value, wanted) for value in values_at(claims, path))
        yield f"require = {path}:{wanted}: {'is met' if holds else 'is not met, so the sign-in is refused'}"
    if rules.allow_groups:
        common = sorted(rules.allow_groups & set(groups))
        yield f"allow_groups: {', '.join(common) or 'the user is in none of them, so the sign-in is refused'}"


def _found(claims: Mapping[str, Any], path: str) -> str:
    values = list(values_at(claims, path))
    return ", ".join(map(_shown, values)) if values else "no such claim"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}… ({len(text)} characters)"

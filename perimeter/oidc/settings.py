"""Options that all kinds of provider with OAuth 2.0 have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar

import attrs

from perimeter.config.language.datatypes import PAIR, TEXT, BadValue, Datatype, duration, list_of, one_of, optional
from perimeter.config.language.name_types import WORD
from perimeter.config.language.option import declared, option
from perimeter.config.language.section import Named, Section
from perimeter.config.language.settings import read
from perimeter.oidc.client_identity import ClientIdentity
from perimeter.oidc.presets import PRESETS, Preset

if TYPE_CHECKING:
    from perimeter.oidc.claims import ClaimRules

#: parameters of an authorization request that the gateway itself sets
_OWN: Final = frozenset(
    {
        "client_id",
        "code_challenge",
        "code_challenge_method",
        "nonce",
        "redirect_uri",
        "request",
        "request_uri",
        "response_mode",
        "response_type",
        "scope",
        "state",
    }
)


#: claims that the user, or an administrator of some tenant, can change: a user who chooses the value of another user would be
#: that user
_CHANGEABLE: Final = frozenset(
    {
        "email",
        "family_name",
        "given_name",
        "login",
        "name",
        "nickname",
        "phone_number",
        "preferred_username",
        "unique_name",
        "upn",
        "username",
    }
)


def _role(text: str, base: Path) -> tuple[str, str]:
    group, colon, role = (part.strip() for part in text.rpartition(":"))
    if not colon or not group or not role or not (group + role).isprintable():
        raise BadValue("expected ROLE OF THE PROVIDER: ROLE")
    return group, role


def _term(text: str, base: Path) -> tuple[str, str]:
    # the name of a claim may be a URL
    at = text.find(":", text.find("://") + 3 if "://" in text else 0)
    claim, value = text[:at].strip(), text[at + 1 :].strip()
    if at < 0 or not claim or not value:
        raise BadValue("expected CLAIM:VALUE")
    return claim, value


def _extra(pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    for name, _ in pairs:
        if name.lower() in _OWN:
            raise BadValue(f"the gateway itself sets {name}", complete=True)
    if len({name for name, _ in pairs}) != len(pairs):
        raise BadValue("a parameter is named twice", complete=True)
    return pairs


ROLE_MAP: Datatype[tuple[tuple[str, str], ...]] = list_of(
    Datatype("GROUP: ROLE", _role, ("", "")), "\n", label="lines of GROUP: ROLE"
)
TERMS: Datatype[tuple[tuple[str, str], ...]] = list_of(Datatype("CLAIM:VALUE", _term, ("", "")), label="list of CLAIM:VALUE")
PARAMETERS: Datatype[tuple[tuple[str, str], ...]] = list_of(PAIR, label="list of NAME=VALUE", whole=_extra)


C = TypeVar("C", bound="ClientSettings")


@attrs.frozen(kw_only=True)
class ClientSettings(ClientIdentity):
    """How the gateway is a client of a provider, and how claims become users. Times are seconds.

    ``lifetime`` and ``refresh`` may be 0, "none".
    ``unfit_presets`` says of each preset that this kind does not have why.
    """

    unfit_presets: ClassVar[Mapping[Preset, str]] = {}

    preset: Preset | None = option(
        optional(one_of(Preset)), "other defaults for what follows, as this provider needs them", default=""
    )
    title: str = option(TEXT, "the button says: Sign in with `title`; not set: the name of the section", default="")
    username_claim: str = option(TEXT, "claim that names the user", default="preferred_username")
    roles_claim: tuple[str, ...] = option(
        list_of(TEXT), "claims that hold roles or groups: paths with dots, `*` for every member", default="roles, groups"
    )
    role_map: tuple[tuple[str, str], ...] = option(
        ROLE_MAP, "roles here of roles or groups there; not set: they are taken as they are. Others are left out", default=""
    )
    require: tuple[tuple[str, str], ...] = option(
        TERMS, "claims that a user needs, at the sign-in and at each refresh: all of them", default=""
    )
    allow_groups: tuple[str, ...] = option(list_of(TEXT), "a user needs one of these values of `roles_claim`", default="")
    email_domains: tuple[str, ...] = option(
        list_of(TEXT), "a user needs an address in one of these domains, which the provider has verified", default=""
    )
    attributes: tuple[str, ...] = option(
        list_of(TEXT), "claims that become attributes; `email` only if the provider has verified it", default="name, email"
    )
    refresh: float = option(
        duration(zero=True), "how long until the provider is asked for the user's roles again; `0`: never", default="15m"
    )
    lifetime: float = option(
        duration(zero=True), "longest time of a session after the sign-in at the provider; `0`: that of `[login]`", default="0"
    )
    prompt_again: str = option(
        WORD, "value of `prompt` with which the provider is asked to authenticate a user anew", default="login"
    )
    extra: tuple[tuple[str, str], ...] = option(PARAMETERS, "more parameters of the authorization request", default="")

    def rules(self, name: str, realm: str) -> ClaimRules:
        """How claims become users of ``realm``, for the provider ``name``. A kind adds what it alone has."""
        from perimeter.oidc.claims import ClaimRules

        return ClaimRules(
            realm=realm,
            service=name,
            username_claim=self.username_claim,
            roles_claims=self.roles_claim,
            role_map=self.role_map,
            require=self.require,
            allow_groups=frozenset(self.allow_groups),
            email_domains=self.email_domains,
            attribute_claims=self.attributes,
        )


def read_client(section: Section, settings: type[C]) -> C:
    """What ``section`` says, with the defaults of its ``preset``."""
    field = attrs.fields(ClientSettings).preset
    option = declared(field)
    assert option is not None
    preset: Preset | None = section.value(option)
    if preset is not None and preset in settings.unfit_presets:
        section.problem(field, settings.unfit_presets[preset])
        preset = None
    return read(section, settings, {} if preset is None else PRESETS[preset])


def check_identity(section: Section, option: Named, claims: Iterable[str]) -> None:
    """Report ``claims`` of ``option`` that cannot identify an account, because their values can be chosen (attack O4)."""
    for claim in claims:
        if claim in _CHANGEABLE and not section.faulty(option):
            section.problem(option, f"{claim} cannot identify an account: its value can change, and another account can get it")


def is_restricted(settings: ClientSettings) -> bool:
    """Whether some option decides which accounts of the provider may sign in."""
    return bool(settings.require or settings.allow_groups or settings.email_domains)

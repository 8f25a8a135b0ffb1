"""What is particular about well-known providers: other defaults for the options of ``[provider]``. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Preset(StrEnum):
    """The words of ``preset``."""

    KEYCLOAK = "keycloak"
    GOOGLE = "google"
    ENTRA = "entra"
    GITHUB = "github"
    GITLAB = "gitlab"


PRESETS: Final[Mapping[Preset, Mapping[str, str]]] = {
    Preset.KEYCLOAK: {
        # not resource_access.*.roles: those are roles at other clients as well
        "roles_claim": "realm_access.roles, groups",
        "access_token_claims": "yes",
    },
    Preset.GOOGLE: {
        "issuer": "https://accounts.google.com",
        "username_claim": "email",
        "roles_claim": "",
        "extra": "access_type=offline, prompt=consent",
        "prompt_again": "select_account",
    },
    Preset.ENTRA: {
        "identity_claim": "tid, oid",
        "roles_claim": "roles, groups",
        "groups_uri": "https://graph.microsoft.com/v1.0/me/transitiveMemberOf?$select=id",
    },
    Preset.GITLAB: {
        "issuer": "https://gitlab.com",
        "username_claim": "nickname",
        "roles_claim": "groups",
    },
    Preset.GITHUB: {
        "authorize_uri": "https://github.com/login/oauth/authorize",
        "token_uri": "https://github.com/login/oauth/access_token",
        "user_uri": "https://api.github.com/user",
        "id_claim": "id",
        "username_claim": "login",
        # small pages, because each item has a kilobyte or several
        "groups_uri": "https://api.github.com/user/orgs?per_page=30, https://api.github.com/user/teams?per_page=10",
        "group_name": "organization.login/slug, login",
        "emails_uri": "https://api.github.com/user/emails?per_page=100",
        "roles_claim": "groups",
        "scopes": "read:org, user:email",
        # the only prompt that GitHub knows
        "prompt_again": "select_account",
        "client_auth": "post",
    },
}
"""The defaults of each, as an operator would write them; "" stands for "not set"."""

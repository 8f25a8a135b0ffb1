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
        "roles_claim": "realm_access.roles, resource_access.*.roles, groups",
        "access_token_claims": "yes",
    },
    Preset.GOOGLE: {
        "issuer": "https://accounts.google.com",
        "username_claim": "email",
        "roles_claim": "",
        "extra": "access_type=offline, prompt=consent",
    },
    Preset.ENTRA: {
        "identity_claim": "tid, oid",
        "roles_claim": "roles, groups",
    },
    Preset.GITLAB: {
        "issuer": "https://gitlab.com",
        "username_claim": "nickname",
        "roles_claim": "groups",
    },
    Preset.GITHUB: {},
}
"""The defaults of each, as an operator would write them; "" stands for "not set"."""

"""The answer that a browser brings back from a provider (RFC 6749, section 4.1.2; RFC 9207). Pure (attack O2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from perimeter.errors import ProviderDenied, ProviderMisconfigured, ProviderUnavailable, Rejected
from perimeter.oidc.metadata import TENANT, Metadata
from perimeter.oidc.token_request import shown

MAX_CODE: Final = 4096

#: what a user, or what the provider about a user, can say; OpenID Connect Core, section 3.1.2.6
_DENIED: Final = frozenset(
    {"access_denied", "account_selection_required", "consent_required", "interaction_required", "login_required"}
)

_UNAVAILABLE: Final = frozenset({"server_error", "temporarily_unavailable"})


def code_of(parameters: Mapping[str, str], metadata: Metadata | None, provider: str) -> str:
    """The authorization code in the ``parameters`` of an answer of ``provider``.

    ``metadata`` is None for a provider that has none. The issuer is checked before anything else is believed. Raises `Rejected`,
    `ProviderDenied`, `ProviderUnavailable` or `ProviderMisconfigured`.
    """
    if metadata is not None:
        _check_issuer(parameters.get("iss"), metadata)
    error = parameters.get("error")
    if error is not None:
        said = f"{provider} answered: {shown(error, parameters.get('error_description'))}"
        if error in _DENIED:
            raise ProviderDenied(said)
        raise ProviderUnavailable(said) if error in _UNAVAILABLE else ProviderMisconfigured(said)
    code = parameters.get("code", "")
    if not 0 < len(code) <= MAX_CODE or not (code.isascii() and code.isprintable()):
        raise Rejected("the answer of the provider has no usable code")
    return code


def _check_issuer(named: str | None, metadata: Metadata) -> None:
    """``iss`` must be there if the provider says that it sends it, and if it is there, it must be the provider's."""
    if named is None:
        if metadata.names_issuer:
            raise Rejected("the answer does not name the provider that it is from (iss)")
    elif TENANT in metadata.issuer:
        before, _, after = metadata.issuer.partition(TENANT)
        tenant = named.removeprefix(before).removesuffix(after)
        if named != before + tenant + after or "/" in tenant:
            raise Rejected("the answer is from another provider (iss)")
    elif named != metadata.issuer:
        raise Rejected("the answer is from another provider (iss)")

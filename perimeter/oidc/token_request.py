"""Requests to the token endpoint of a provider (RFC 6749, sections 4.1.3 and 6), and what their answers mean (section 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from perimeter.errors import ProviderMisconfigured, ProviderUnavailable, Rejected, Unavailable
from perimeter.oidc.client_auth import ClientAuth

if TYPE_CHECKING:
    from perimeter.web_client.client import RemoteAnswer, RemoteClient

MAX_TOKEN: Final = 16 * 1024
"""Characters of a token that is taken."""

MAX_SHOWN: Final = 200

#: refusals of the gateway itself, or of how it asks: its operator has to act. The last is GitHub's.
_OPERATOR: Final = frozenset(
    {
        "invalid_client",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
        "redirect_uri_mismatch",
        "incorrect_client_credentials",
    }
)


@attrs.frozen
class Tokens:
    """What a provider has issued; "" for what it has not."""

    access_token: str = attrs.field(repr=False)
    id_token: str = attrs.field(default="", repr=False)
    refresh_token: str = attrs.field(default="", repr=False)


class TokenRequests:
    """Asks the token endpoints of one provider as the client ``authentication``."""

    def __init__(self, client: RemoteClient, authentication: ClientAuth) -> None:
        self._client = client
        self._authentication = authentication

    async def ask(self, endpoint: str, audience: str, form: dict[str, str], now: float) -> Tokens:
        """The tokens for a grant, ``form``; ``audience`` is the provider's issuer, or the endpoint for a provider without one.

        Raises `Rejected` if the provider does not accept the code or the refresh token (``invalid_grant``), otherwise
        `ProviderMisconfigured` or `ProviderUnavailable`.
        """
        proof = self._authentication.proof(audience, now)
        try:
            answer = await self._client.post(endpoint, authorization=proof.authorization, data=form | proof.form)
            return _tokens(answer)
        except ProviderUnavailable:
            raise
        except Unavailable as error:
            raise ProviderUnavailable(error.detail) from None


def _tokens(answer: RemoteAnswer) -> Tokens:
    if answer.status not in (200, 400, 401, 403):
        raise answer.unexpected()
    members = answer.members()
    error = members.get("error")
    # Some providers answer with status 200 and an error.
    if error is not None or answer.status != 200:
        raise _refusal(answer, members)
    if not isinstance(members.get("token_type"), str) or members["token_type"].lower() != "bearer":
        raise Unavailable(f"{answer.service} returned a token of another type than Bearer")
    access_token = _token(answer, members, "access_token")
    if not access_token:
        raise Unavailable(f"{answer.service} returned no access token")
    return Tokens(access_token, _token(answer, members, "id_token"), _token(answer, members, "refresh_token"))


def _token(answer: RemoteAnswer, members: dict[str, Any], name: str) -> str:
    token = members.get(name)
    if token is None:
        return ""
    if not isinstance(token, str) or len(token) > MAX_TOKEN or not (token.isascii() and token.isprintable()):
        raise Unavailable(f"{answer.service} returned no usable {name}")
    return token


def _refusal(answer: RemoteAnswer, members: dict[str, Any]) -> Exception:
    error = members.get("error")
    said = f"{answer.service} answered: {shown(error, members.get('error_description'))}"
    if error in ("invalid_grant", "bad_verification_code", "bad_refresh_token"):
        return Rejected(said)
    if isinstance(error, str) and error in _OPERATOR:
        return ProviderMisconfigured(said)
    return Unavailable(said if isinstance(error, str) else f"{answer.service} answered with status {answer.status}")


def shown(error: object, description: object) -> str:
    """An error of a provider and its description for the log of the gateway, bounded, in printable ASCII (attack O19)."""
    words = [one for one in (error, description) if isinstance(one, str) and one]
    text = ": ".join(words)[:MAX_SHOWN]
    return "".join(one if one.isascii() and one.isprintable() else "?" for one in text)

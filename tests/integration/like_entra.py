"""A server that behaves as Microsoft Entra and Graph do: ``python -m tests.integration.like_entra``.

The issuer of its common metadata has ``{tenantid}`` in it, and that of a token has the tenant. Keys name no algorithm. ``sub`` is
another one for each app; ``tid`` and ``oid`` identify the account. With more than 200 groups, the ID token says where they are
instead. Graph returns them in pages.
"""

from __future__ import annotations

import base64
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from twisted.web.server import Request

from tests.integration.like_provider import CLIENT, SECRET, Server, query, serve

TENANT = "11111111-2222-3333-4444-555555555555"
OTHER_TENANT = "99999999-2222-3333-4444-555555555555"
ALICE = "aaaaaaaa-0000-0000-0000-000000000001"
ADMINS = "bbbbbbbb-0000-0000-0000-000000000001"
MOST = 200
"""Groups in an ID token."""


def group(number: int) -> str:
    """The id of a group."""
    return f"cccccccc-0000-0000-0000-{number:012}"


class Entra(Server):
    """``state``: tenant, user, oid, groups; ``graph_status`` is 403 without the permission to read groups."""

    def __init__(self) -> None:
        super().__init__({"tenant": TENANT, "oid": ALICE, "user": "alice@corp.example", "groups": [ADMINS], "graph_status": 200})
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.routes = {
            "GET /discovery/v2.0/keys": self.keys,
            "GET /v1.0/me/transitiveMemberOf": self.member_of,
        }
        for tenant in ("organizations", TENANT, OTHER_TENANT):
            self.routes |= {
                f"GET /{tenant}/v2.0/.well-known/openid-configuration": self.metadata,
                f"GET /{tenant}/oauth2/v2.0/authorize": self.authorize,
                f"POST /{tenant}/oauth2/v2.0/token": self.token,
            }

    def metadata(self, request: Request) -> bytes:
        """As Entra's: no word about PKCE, although it knows it."""
        tenant = request.path.decode().split("/")[1]
        at = f"{self.base}/{tenant}/oauth2/v2.0"
        return self.json(
            request,
            {
                "token_endpoint": f"{at}/token",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
                "jwks_uri": f"{self.base}/discovery/v2.0/keys",
                "response_modes_supported": ["query", "fragment", "form_post"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
                "scopes_supported": ["openid", "profile", "email", "offline_access"],
                "issuer": f"{self.base}/{'{tenantid}' if tenant == 'organizations' else tenant}/v2.0",
                "authorization_endpoint": f"{at}/authorize",
                "end_session_endpoint": f"{at}/logout",
                "tenant_region_scope": None,
                "cloud_instance_name": "microsoftonline.com",
            },
        )

    def keys(self, request: Request) -> bytes:
        """Keys without ``alg``, with members of Microsoft's own."""
        public: dict[str, Any] = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        public = {name: public[name] for name in ("kty", "n", "e")}
        return self.json(
            request, {"keys": [public | {"use": "sig", "kid": "k1", "x5t": "k1", "issuer": f"{self.base}/{{tenantid}}/v2.0"}]}
        )

    def authorize(self, request: Request) -> bytes:
        """The user has signed in before."""
        if self.state.get("denied"):
            return self.redirect(request, error="access_denied", error_description="AADSTS65004: User declined to consent")
        return self.redirect(request, code=self.issue_code(request))

    def token(self, request: Request) -> bytes:
        """Codes and refresh tokens."""
        if (query(request, "client_id"), query(request, "client_secret")) != (CLIENT, SECRET):
            header = request.getHeader("authorization") or ""
            expected = base64.b64encode(b"gateway:s3cr%3At%2B+%26").decode()
            if header != f"Basic {expected}":
                return self.json(
                    request, {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret"}, 401
                )
        if query(request, "grant_type") == "refresh_token":
            code = self.tokens.get(query(request, "refresh_token"))
            code = None if self.state.get("disabled") else code
        else:
            code = self.redeem(request)
        if code is None:
            return self.json(
                request, {"error": "invalid_grant", "error_description": "AADSTS50057: The account is disabled"}, 400
            )
        answer = {
            "token_type": "Bearer",
            "scope": " ".join(sorted(code.scope)),
            "expires_in": 4000,
            "access_token": self.issue_token(code),
            "id_token": self._id_token(code.nonce),
        }
        if "offline_access" in code.scope:
            answer["refresh_token"] = self.issue_token(code)
        return self.json(request, answer)

    def _id_token(self, nonce: str) -> str:
        now, state = int(time.time()), self.state
        claims: dict[str, Any] = {
            "ver": "2.0",
            "iss": f"{self.base}/{state['tenant']}/v2.0",
            "sub": f"pairwise-{state['oid']}",
            "aud": CLIENT,
            "exp": now + 3600,
            "iat": now,
            "nbf": now,
            "name": "Alice",
            "preferred_username": state["user"],
            "oid": state["oid"],
            "tid": state["tenant"],
            "nonce": nonce,
            "uti": "x",
        }
        if len(state["groups"]) <= MOST:
            claims["groups"] = state["groups"]
        else:
            claims["_claim_names"] = {"groups": "src1"}
            source = f"https://graph.windows.net/{state['tenant']}/users/{state['oid']}/getMemberObjects"
            claims["_claim_sources"] = {"src1": {"endpoint": source}}
        return jwt.encode(claims, self._key, "RS256", headers={"kid": "k1"})

    def member_of(self, request: Request) -> bytes:
        """Graph: groups in pages of 100, among other directory objects."""
        if self.bearer(request) is None:
            return self.json(request, {"error": {"code": "InvalidAuthenticationToken"}}, 401)
        if self.state["graph_status"] != 200:
            return self.json(request, {"error": {"code": "Authorization_RequestDenied"}}, self.state["graph_status"])
        objects = [{"@odata.type": "#microsoft.graph.directoryRole", "id": "dddddddd-0000-0000-0000-000000000001"}]
        objects += [{"@odata.type": "#microsoft.graph.group", "id": one} for one in self.state["groups"]]
        skip = int(query(request, "$skiptoken") or 0)
        page: dict[str, Any] = {"@odata.context": "x", "value": objects[skip : skip + 100]}
        if skip + 100 < len(objects):
            page["@odata.nextLink"] = f"{self.base}/v1.0/me/transitiveMemberOf?$select=id&$skiptoken={skip + 100}"
        return self.json(request, page)


if __name__ == "__main__":
    serve(Entra())

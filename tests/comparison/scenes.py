"""The configurations of the comparison, each a scene of its own."""

from __future__ import annotations

import attrs

from tests.integration.directories import SEARCHER, SEARCHER_PASSWORD, SUFFIX

SECRET = "a-secret-that-is-long-enough-for-HS256"
SHORT = "authotron-secret-key"
"""Too short for HS256, and found in the manuals."""

ISSUER = "authotron-issuer"


def user(name: str, password: str, roles: str = "") -> str:
    """A line of a plain provider."""
    return f'      - {{username: "{name}", password: "{password}"{f", roles: [{roles}]" if roles else ""}}}'


USERS = {
    "local": [
        user("alice", "wonderland", "reader, writer"),
        user("bob", "builder"),
        user("colon", "a:b:c"),
        user("umlaut", "größer"),
        user("José", "sésame", "reader"),
        user("comma", "comma-secret", '"reader,admin"'),
        user("empty", ""),
        user("planned", "planned-secret"),
        user("matched", "matched-secret", "reader"),
        user("chained", "chained-secret"),
        user("double", "double-secret", "added, reader"),
    ],
    "lab": [user("bob", "lab-secret"), user("matched", "lab-secret"), user("grouped", "lab-secret")],
    "paths": [user("grouped", "paths-secret")],
    "lost": [user("lost", "lost-secret", "reader")],
}
"""The lines of each realm's plain provider."""


@attrs.frozen
class Scene:
    """The variable parts of a configuration: the port to listen on, and the addresses of the services."""

    port: int
    services: str
    ldap: int
    nowhere: int
    mongo: str


UNTRANSLATED = {
    "all": [
        "user 'comma': a comma in a role would be two roles",
        "user 'empty': an empty password, or control characters in it",
    ],
    "passwords": [
        "user 'comma': a comma in a role would be two roles",
        "user 'empty': an empty password, or control characters in it",
    ],
    "symmetric": [],
    "store": [
        "user 'comma': a comma in a role would be two roles",
        "user 'empty': an empty password, or control characters in it",
    ],
}
"""The parts of each scene's configuration that ``perimeter import`` leaves out and reports."""


def configuration(name: str, scene: Scene) -> str:
    """The configuration of a scene, in Auth-o-tron's present version of the format."""
    return {"all": _everything, "passwords": _passwords, "symmetric": _symmetric, "store": _store}[name](scene)


def _plain(realm: str) -> str:
    lines = "\n".join(USERS[realm])
    return f'  - name: "{realm}-users"\n    type: "plain"\n    realm: "{realm}"\n    users:\n{lines}\n'


def _general(scene: Scene, *, legacy: bool = True, secret: str = SECRET, store: str = "enabled: false") -> str:
    return f"""\
version: 2.0.0
logging:
  level: "warn"
  format: "console"
auth:
  timeout_in_ms: 4000
store: {{{store}}}
services: []
jwt:
  exp: 3600
  iss: "{ISSUER}"
  secret: "{secret}"
  aud: "authotron-audience"
include_legacy_headers: {"true" if legacy else "false"}
server:
  host: "127.0.0.1"
  port: {scene.port}
metrics:
  enabled: false
"""


def _passwords(scene: Scene) -> str:
    """The configuration of ecFlow's guide, without its service: the secret is too short. Here also without X-Auth-*."""
    return f"{_general(scene, legacy=False, secret=SHORT)}providers:\n{_plain('local')}"


def _symmetric(scene: Scene) -> str:
    return f"""\
{_general(scene)}providers:
  - {{name: "iam", type: "jwt", cert_uri: "{scene.services}/symmetric", realm: "desp", iam_realm: "desp"}}
"""


def _store(scene: Scene) -> str:
    store = f'enabled: true, type: "mongo", uri: "{scene.mongo}", database: "auth-o-tron"'
    return f"{_general(scene, store=store)}providers:\n{_plain('local')}"


def _everything(scene: Scene) -> str:
    services = scene.services
    ldap_options = (
        f'search_base: "ou=people,{SUFFIX}", bind_dn: "{SEARCHER}", ldap_password: "{SEARCHER_PASSWORD}", '
        f'uri: "ldap://127.0.0.1:{scene.ldap}"'
    )
    return f"""\
{_general(scene)}providers:
{"".join(map(_plain, USERS))}\
  - name: "iam"
    type: "jwt"
    cert_uri: "{services}/certs"
    realm: "desp"
    iam_realm: "desp"
  - name: "weather"
    type: "ecmwf-api"
    uri: "{services}/v1"
    realm: "ecmwf"
  - name: "efas"
    type: "efas-api"
    uri: "{services}/efas"
    realm: "floods"
  - name: "offline"
    type: "openid-offline"
    cert_uri: "{services}/certs"
    iam_url: "{services}"
    public_client_id: "public"
    private_client_id: "private"
    private_client_secret: "private-client-secret"
    realm: "offline"
  - name: "generator"
    type: "ecmwf-token-generator"
    cert_uri: "{services}/certs"
    token_generator_url: "{services}/generator"
    client_id: "generator-client"
    client_secret: "generator-secret"
    realm: "generated"
augmenters:
  - name: "planned"
    type: "plain"
    realm: "local"
    roles: {{staff: ["planned", "chained"]}}
  - name: "matched"
    type: "plain_advanced"
    realm: "local"
    match: {{username: ["matched", "double"]}}
    augment: {{roles: ["added"], attributes: {{team: "red"}}}}
  - name: "chained"
    type: "plain_advanced"
    realm: "local"
    match: {{role: ["staff"]}}
    augment: {{roles: ["promoted"]}}
  - {{name: "groups", type: "ldap", realm: "lab", filter: "OU=TeamA", {ldap_options}}}
  - {{name: "paths", type: "ldap", realm: "paths", filters: ["OU=TeamA"], {ldap_options}}}
  - {{name: "lost", type: "ldap", realm: "lost", {ldap_options.replace(str(scene.ldap), str(scene.nowhere))}}}
"""


def secret_of(scene: str) -> str:
    """The secret that tokens are signed with."""
    return SHORT if scene == "passwords" else SECRET

"""Random configurations of Auth-o-tron: the imported gateway lets in no user, gives no role and has no address of its own.

`Original` is a model of the original, written from its manual: its users, their roles, and where it listens.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import TestCase

from tests.unit.doubles.auth import make_cheap_hashes
from tests.unit.doubles.imported import Imported, covers
from tests.unit.doubles.properties import reached, reaches

PASSWORDS = ("sesame", "sesame", "sesame", "null", "${PW}", "{{ .Values.pw }}", "", None)
"""What a file may have as a password. None is written as YAML's null."""
REALMS = ("local", "corp")


@st.composite
def provider(draw: st.DrawFn, number: int) -> dict[str, Any]:
    users = draw(
        st.lists(
            st.fixed_dictionaries(
                {"username": st.sampled_from(("alice", "bob")), "password": st.sampled_from(PASSWORDS)},
                optional={"roles": st.lists(st.sampled_from(("ops", "dev", "a,admin")), max_size=2)},
            ),
            min_size=1,
            max_size=2,
        )
    )
    return {"type": "plain", "name": f"p{number}", "realm": draw(st.sampled_from(REALMS)), "users": users}


@st.composite
def augmenter(draw: st.DrawFn, number: int) -> dict[str, Any]:
    head = {"name": f"a{number}", "realm": draw(st.sampled_from((*REALMS, *REALMS, None)))}
    if draw(st.booleans()):
        names = draw(st.lists(st.sampled_from(("alice", "bob", "a,alice")), max_size=2))
        return {"type": "plain", **head, "roles": {"admin": names}}
    match = draw(
        st.fixed_dictionaries(
            {},
            optional={
                "username": st.lists(st.sampled_from(("alice", "bob", "x,alice")), max_size=2),
                "role": st.lists(st.sampled_from(("ops", "dev")), max_size=2),
                "colour": st.just("blue"),
            },
        )
    )
    return {"type": "plain_advanced", **head, "match": match, "augment": {"roles": ["admin"]}}


@attrs.frozen
class Drawn:
    """Files by name, the configuration, and the variables in force: None for a value that is elsewhere."""

    files: Mapping[str, str]
    config: Mapping[str, Any]
    variables: Mapping[str, str | None]
    chart: bool


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    config: dict[str, Any] = {"version": "2.0.0", "jwt": {"iss": "i", "exp": 3600, "secret": "s" * 40}}
    config["providers"] = [draw(provider(number)) for number in range(draw(st.integers(1, 2)))]
    config["augmenters"] = [draw(augmenter(number)) for number in range(draw(st.integers(0, 2)))]
    host = draw(st.sampled_from(("0.0.0.0", "127.0.0.1", "10.1.2.3", "gw.example.com", "{{ .Values.host }}", "::", None)))
    wrapper = draw(st.sampled_from(("plain", "text", "tree", "configmap", "secret")))
    chart = wrapper in ("text", "tree")
    if not (chart and draw(st.booleans())):
        config["server"] = {"port": 7001} | ({"host": host} if host else {})
    if draw(st.booleans()):
        config["metrics"] = {"enabled": draw(st.booleans()), "port": 9191}
    names = (
        "AOT_SERVER__HOST",
        "AOT_PROVIDERS",
        "AOT_JWT__SECRET",
        "AOT_AUGMENTERS",
        "AOT_CONFIG_PATH",
        "AOT_PROVIDERS__0__REALM",
    )
    variables = draw(
        st.just({})
        | st.dictionaries(st.sampled_from(names), st.sampled_from(("10.9.9.9", "0.0.0.0", "[]", None)), min_size=1, max_size=2)
    )
    return Drawn(_files(wrapper, config, variables), config, variables, chart)


def _files(wrapper: str, config: Mapping[str, Any], variables: Mapping[str, str | None]) -> dict[str, str]:
    inner = yaml.safe_dump(config)
    environment = [
        {"name": name, **({"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}} if value is None else {"value": value})}
        for name, value in variables.items()
    ]
    if wrapper in ("text", "tree"):
        values = {"replicaCount": 1, "config": inner if wrapper == "text" else config, "extraEnv": environment}
        return {"values.yaml": yaml.safe_dump(values)}
    if wrapper == "plain":
        lines = [f"{name}={'$(cat /run/secret)' if value is None else value}\n" for name, value in variables.items()]
        return {"config.yaml": inner} | ({"aot.env": "".join(lines)} if lines else {})
    secret = wrapper == "secret"
    text = b64encode(inner.encode()).decode() if secret else inner
    kept = {"apiVersion": "v1", "kind": "Secret" if secret else "ConfigMap", "data": {"config.yaml": text}}
    pod = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"containers": [{"name": "a", "env": environment}]}}
    return {"manifest.yaml": yaml.safe_dump_all([kept, pod])}


class Original:
    """Auth-o-tron with one configuration."""

    def __init__(self, one: Drawn) -> None:
        self.providers = [] if any(name.startswith("AOT_PROVIDERS") for name in one.variables) else one.config["providers"]
        self.augmenters = [] if "AOT_AUGMENTERS" in one.variables else one.config["augmenters"]
        server = one.config.get("server", {})
        self.host = one.variables.get("AOT_SERVER__HOST", server.get("host", "0.0.0.0"))

    def identities(self, name: str, password: str) -> list[tuple[str, list[str]]]:
        """Realm and roles of each provider that takes a password."""
        found = []
        for one in self.providers:
            users = [user for user in one["users"] if user["username"] == name]
            if users and users[0]["password"] == password and password:
                found.append((one["realm"], users[0].get("roles", [])))
        return found

    def roles(self, name: str, realm: str, own: list[str]) -> set[str]:
        """The roles that a user may have at most."""
        roles = set(own)
        mine = [one for one in self.augmenters if one["realm"] == realm]
        for one in mine:
            if one["type"] == "plain" and name in one["roles"]["admin"]:
                roles.add("admin")
        for one in mine:
            match = one.get("match", {})
            if name in match.get("username", ()) or roles & set(match.get("role", ())):
                roles.add("admin")
        return roles


def basic(name: str, password: str) -> str:
    return f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"


class ReachableTests(TestCase):
    def setUp(self) -> None:
        make_cheap_hashes(self)

    def imported(self, files: Mapping[str, str]) -> Imported:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        gateway = Imported(directory, files)
        self.addCleanup(gateway.close)
        return gateway

    @reaches(8)
    @settings(
        max_examples=40,
        derandomize=True,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn())
    def test_attack_75_no_user_gets_further_than_in_auth_o_tron(self, one: Drawn) -> None:
        gateway = self.imported(one.files)
        original = Original(one)
        for listener in gateway.served():
            if listener.interface != "127.0.0.1":
                wide = "" if original.host == "::" else original.host
                self.assertTrue(wide is not None and covers(wide, listener.interface), f"{listener} of {one}")
            self.assertIsNone(gateway.principal(listener.name, "/whoami", ""))
            self.assertFalse(gateway.open_without_credentials(listener.name, "/authenticate"))
        (listener,) = gateway.served()
        for name, password in (("alice", "sesame"), ("bob", "sesame"), ("alice", "null"), ("bob", "${PW}"), ("bob", "")):
            found = gateway.principal(listener.name, "/whoami", basic(name, password))
            if found is None:
                continue
            allowed = original.identities(name, password)
            self.assertIn(found.realm, [realm for realm, _ in allowed], f"{name}:{password} of {one}")
            self.assertTrue(
                any(realm == found.realm and set(found.roles) <= original.roles(name, realm, own) for realm, own in allowed),
                f"{name} has {found.roles} of {one}",
            )
            reached(self)
        if "${PW}" in str(one.config) or "{{" in str(one.config):
            self.assertTrue(gateway.status == 3 or original.providers != one.config["providers"] or one.variables, one)

    def test_a_user_with_a_role_of_an_augmenter_is_admitted(self) -> None:
        config = {
            "providers": [
                {"type": "plain", "name": "p", "realm": "local", "users": [{"username": "alice", "password": "sesame"}]}
            ],
            "augmenters": [{"type": "plain", "name": "a", "realm": "local", "roles": {"admin": ["alice"]}}],
            "server": {"port": 7001},
            "jwt": {"exp": 60},
        }
        gateway = self.imported(_files("text", config, {}))
        found = gateway.principal("auth-o-tron", "/whoami", basic("alice", "sesame"))
        self.assertEqual((found.username, found.roles) if found else None, ("alice", ("admin",)))
        self.assertIsNone(gateway.principal("auth-o-tron", "/whoami", basic("alice", "wrong")))
        self.assertEqual(gateway.status, 0, gateway.output)

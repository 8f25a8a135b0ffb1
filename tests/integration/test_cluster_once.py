"""Two gateways with one state: what may be used once is used once, whichever of them gets it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urljoin

from cryptography.hazmat.primitives import serialization
from twisted.internet.defer import Deferred, gatherResults

from perimeter.cluster.engine import RedisEngine
from perimeter.cluster.names import ORIGIN
from perimeter.run.build.state_kinds import STATE_KINDS
from perimeter.secrets_key import SecretsKey
from tests.integration.cluster import ROUTES, Cluster, ClusterCase
from tests.integration.netkit import identity, pem
from tests.integration.test_cluster_leases import EngineCase
from tests.integration.test_second_factor import FACTOR, App
from tests.integration.visitor import Visitor, forms

EXTRA = """\
[listener https]
port = @https@
interface = 127.0.0.1
tls = yes
certificate = own.pem
private_key = own.key

[second_factor]
methods = totp
roles = ops
"""


def certificate() -> dict[str, bytes]:
    own = identity("localhost", "127.0.0.1")
    key = own.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {"own.pem": pem(*own.chain), "own.key": key}


class FactorTests(ClusterCase):
    @classmethod
    def start_cluster(cls) -> Cluster:
        users = {"users.realm": "alice: secret,admin\ncarol: secret,ops\ndave: secret,ops\n"}
        routes = ROUTES.replace("path = /\n", "path = /\nbrowser_login = yes\n")
        cluster = Cluster(routes=routes, extra=EXTRA, files={**users, **certificate()})
        cluster.await_serving()
        return cluster

    def visitor(self, name: str, other: Visitor | None = None) -> Visitor:
        """A visitor of the gateway ``name``; with the cookies of ``other``, the same browser."""
        gateway = self.cluster.gateways[name]
        made = Visitor(f"https://127.0.0.1:{gateway['https']}", gateway.directory / "own.pem")
        self.addCleanup(made.close)
        if other is not None:
            made.session.cookies = other.session.cookies
        return made

    def half(self, name: str, user: str) -> Visitor:
        """A user who has entered the password at the gateway ``name``."""
        visitor = self.visitor(name)
        self.assertEqual(visitor.sign_in(user, "secret", "/page").status_code, 303)
        return visitor

    def register(self, visitor: Visitor) -> tuple[App, str]:
        page = visitor.navigate(f"{FACTOR}?to=/page")
        app, form = App(page.text), forms(page.text)[-1]
        answer = visitor.post(urljoin(FACTOR, form.action), form.fields | {"code": app.first()})
        self.assertEqual(answer.status_code, 200, answer.text)
        return app, answer.text

    def test_attack_191_one_code_at_two_gateways_at_once(self) -> None:
        app, _ = self.register(self.half("one", "dave"))
        visitors = [self.half(name, "dave") for name in ("one", "two") * 3]
        sent = [(visitor, visitor.form(FACTOR, "factor").fields | {"code": app.next()}) for visitor in visitors]
        with ThreadPoolExecutor(len(sent)) as threads:
            answers = list(threads.map(lambda one: one[0].post(FACTOR, one[1]).status_code, sent))
        self.assertEqual(answers.count(303), 1, answers)
        self.assertTrue(set(answers) <= {303, 403, 429}, answers)
        self.assertEqual(sum(visitor.cookie is not None for visitor in visitors), 1)

    def test_a_sign_in_goes_on_at_the_other_gateway(self) -> None:
        at_one = self.half("one", "carol")
        at_two = self.visitor("two", at_one)
        self.register(at_two)
        self.assertEqual([visitor.navigate("/page").status_code for visitor in (at_one, at_two)], [200, 200])
        self.assertEqual(at_two.sign_out().status_code, 303)
        self.assertNotEqual(self.visitor("one", at_two).navigate("/page").status_code, 200)


class ClaimTests(EngineCase):
    """The claims behind flows of providers, tickets, codes and logout tokens."""

    async def test_attack_191_of_claims_at_many_machines_exactly_one_is_the_first(self) -> None:
        engines = [RedisEngine(self.client(), SecretsKey(b"s" * 32), STATE_KINDS, lambda: 1.8e9) for _ in range(3)]
        self.server.ask("SET", ORIGIN, "the site")
        for engine in engines:
            engine.claims.origin = lambda: "the site"
        for number in range(5):
            digest = bytes([number]) * 32
            claims: list[Deferred[Any]] = [engine.claim([(digest, 1.8e9 + 60)]) for engine in engines * 8]
            found = await gatherResults(claims)
            self.assertEqual(sum(first for (first,) in found), 1)
            self.assertEqual(await engines[0].claim([(digest, 1.8e9 + 60)]), [False])

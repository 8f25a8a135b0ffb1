"""The gateway's own pages with a running gateway: on every host, in the logs and metrics, with a site's templates."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import requests

from tests.integration.harness import USERS, Gateway, GatewayCase, site
from tests.integration.visitor import Visitor

LOGIN = "/.perimeter/login"

ROUTES = """\
[upstream app]
servers = http://127.0.0.1:@app@

[route of-a-host]
host = a.example
path = /
upstream = app
browser_login = yes

[route wild]
host = **.wild.example
path = /
upstream = app

[route any]
path = /
upstream = app
browser_login = yes
"""

ELSEWHERE = (
    "//evil.example",
    "/\\evil.example",
    "/%09/evil.example",
    "/%5cevil.example",
    "/%2fevil.example",
    "https://evil.example",
    "https://127.0.0.1:443%252f@evil.example/",
    "127.0.0.1.evil.example",
    "javascript:alert(1)",
    "/\r\nLocation: https://evil.example",
)


class PagesCase(GatewayCase):
    def serve(self, extra: str = "", files: dict[str, str] | None = None) -> Gateway:
        """A gateway with `ROUTES` in front of a service that counts its requests."""
        self.service = self.upstream()
        config = site(ROUTES, tls=True, extra=extra).replace("path = access.log", "path = access.log\nformat = json")
        return self.gateway(config.replace("@app@", str(self.service.port)), {**USERS, **(files or {})})

    def visitor(self, gateway: Gateway) -> Visitor:
        made = Visitor(f"https://127.0.0.1:{gateway['https']}", gateway.directory / "state" / "selfsigned.crt")
        self.addCleanup(made.close)
        return made


class PageTests(PagesCase):
    def test_the_pages_are_on_every_host_and_reach_no_service(self) -> None:
        gateway = self.serve()
        visitor = self.visitor(gateway)
        for host in ("a.example", "b.wild.example", "other.example"):
            page = visitor.navigate(LOGIN, host=host)
            self.assertEqual(page.status_code, 200, host)
            for path in re.findall(r'(?:href|src)="(/.perimeter/static/[^"]+)"', page.text):
                self.assertEqual(visitor.get(path, host=host).status_code, 200, path)
            for path in ("/.perimeter", "/.perimeter/x", "/.perimeter/login/x", "/.Perimeter/../.perimeter/x"):
                self.assertIn(visitor.get(path, host=host).status_code, (400, 404), path)
        self.assertEqual(self.service.requests, [])

    def test_what_the_logs_and_the_metrics_say(self) -> None:
        gateway = self.serve("[listener metrics]\nport = @metrics@\nserve = metrics\n")
        visitor = self.visitor(gateway)
        self.assertEqual(visitor.sign_in("alice", "wrong", to="/x?token=swordfish").status_code, 403)
        self.assertEqual(visitor.sign_in("alice", "secret", to="/x?token=swordfish", fragment="#hidden").status_code, 303)
        self.assertEqual(visitor.sign_out().status_code, 303)
        events = [line for line in map(json.loads, gateway.await_audit(6)) if line["event"]]
        self.assertEqual(
            [(line["event"], line["status"], line["user"]) for line in events],
            [
                ("login", 403, None),
                ("login", 303, "alice"),
                ("logout", 303, "alice"),
            ],
        )
        wrong, right, out = events
        self.assertEqual((wrong["reason"], wrong["attempted_user"]), ("wrong_credentials", "alice"))
        gateway.await_log('login refused for 127.0.0.1, user "alice": 403 wrong_credentials: wrong password')
        self.assertRegex(right["session"], "^[0-9a-f]{16}$")
        self.assertEqual(out["session"], right["session"])
        counted = requests.get(f"http://127.0.0.1:{gateway['metrics']}/metrics", timeout=10).text
        self.assertIn('perimeter_logins_total{method="password",outcome="success"} 1.0', counted)
        self.assertIn('perimeter_logins_total{method="password",outcome="wrong"} 1.0', counted)
        everything = (gateway.directory / "access.log").read_text() + gateway.log
        for secret in ("swordfish", "hidden", 'wrong"', 'secret"', visitor.session.cookies.get("__Host-perimeter-pre")):
            self.assertNotIn(str(secret), everything.replace('"wrong_credentials"', ""))

    def test_templates_of_the_site(self) -> None:
        ours = '{% extends "card.html" %}{% block main %}<h1>Ours: {{ site }}</h1>{% endblock %}'
        gateway = self.serve("[login]\ntitle = Here\ntemplates = ours\n", {"ours/signed_out.html": ours})
        visitor = self.visitor(gateway)
        self.assertIn("<h1>Ours: Here</h1>", visitor.navigate("/.perimeter/signed-out").text)
        broken = gateway.directory / "ours" / "signed_out.html"
        broken.write_text(ours + "\n{{ no_such_name }}\n{% block under %}\n\n{{ nothing }}{% endblock %}")
        self.assertIn("signed_out.html:5: 'nothing' is undefined", gateway.reload() + gateway.log)
        self.assertIn("<h1>Ours: Here</h1>", visitor.navigate("/.perimeter/signed-out").text)
        command = [str(Path(sys.executable).parent / "perimeter"), "check", str(gateway.config)]
        checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertNotEqual(checked.returncode, 0)
        self.assertRegex(
            checked.stdout + checked.stderr, r"\[login\] templates: .*/ours/signed_out\.html:5: 'nothing' is undefined"
        )
        broken.write_text(ours.replace("Ours", "Newer"))
        gateway.reload()
        self.assertIn("<h1>Newer: Here</h1>", visitor.navigate("/.perimeter/signed-out").text)

    def test_a_new_logo_after_a_reload(self) -> None:
        picture = '<svg xmlns="http://www.w3.org/2000/svg"><!--{}--></svg>'
        gateway = self.serve("[login]\nlogo = logo.svg\n", {"logo.svg": picture.format(1)})
        visitor = self.visitor(gateway)
        names = []
        for number in (1, 2):
            (gateway.directory / "logo.svg").write_text(picture.format(number))
            gateway.reload()
            (name,) = re.findall(r'<img src="(/[^"]*/logo\.[^"]*)"', visitor.navigate(LOGIN).text)
            answer = visitor.get(name)
            self.assertEqual((answer.status_code, answer.text), (200, picture.format(number)))
            self.assertIn("sandbox", answer.headers["content-security-policy"])
            names.append(name)
        self.assertEqual(visitor.get(names[0]).status_code, 404)


class AttackTests(PagesCase):
    def test_attack_24_no_way_to_another_site(self) -> None:
        visitor = self.visitor(self.serve())
        for to in ELSEWHERE:
            for once in (to, quote(to, safe="")):
                target = f"{LOGIN}?again=1&to={quote(once, safe='')}"
                form = visitor.form(target, "login")
                self.assertEqual(form.fields["to"], "/", target)
                sent = visitor.post(LOGIN, {**form.fields, "username": "alice", "password": "secret", "to": once})
                self.assertEqual((sent.status_code, sent.headers["location"]), (303, "/.perimeter/go?to=%2F"), to)
                self.assertEqual(visitor.navigate(f"{LOGIN}?to={quote(once, safe='')}").headers["location"], "/", to)
                page = visitor.navigate(f"/.perimeter/go?to={quote(once, safe='')}").text
                self.assertNotIn("evil", page)
                self.assertIn('id="onwards" href="/"', page)
                self.assertNotIn("evil", visitor.navigate(f"/.perimeter/logout?to={quote(once, safe='')}").text)

    def test_attack_24_in_the_host(self) -> None:
        visitor = self.visitor(self.serve())
        for host in ("evil.example", "evil.example:80"):
            for path in ("/x", LOGIN, "/.perimeter/logout"):
                answer = visitor.navigate(path, host=host)
                self.assertNotIn("evil", answer.text + answer.headers.get("location", ""))

    def test_attack_78_guesses_are_counted_together_with_those_of_other_ways(self) -> None:
        gateway = self.serve("[authentication]\nlockout_after = 3\n")
        visitor = self.visitor(gateway)
        for password in ("a", "b"):
            self.assertEqual(visitor.sign_in("bob", password).status_code, 403)
        basic = requests.Request("GET", "https://x", auth=("bob", "c")).prepare().headers["authorization"]
        self.assertEqual(visitor.get("/", authorization=basic).status_code, 401)
        refused = visitor.sign_in("bob", "hunter2")
        self.assertEqual(refused.status_code, 429)
        self.assertEqual(refused.headers["retry-after"], "1")
        self.assertIn("Wait 1 second, then try again.", refused.text)

    def test_attack_79_pages_in_a_loop(self) -> None:
        gateway = self.serve()
        visitor = self.visitor(gateway)
        for number in range(500):
            visitor.navigate(f"{LOGIN}?to=/{number}")
        before = gateway.memory()
        for number in range(3000):
            visitor.session.cookies.clear()
            visitor.navigate(f"{LOGIN}?to=/{number}")
        self.assertLess(gateway.memory() - before, 4 * 1024 * 1024)


class GrafanaTests(PagesCase):
    """The recipe for Grafana in docs/how-to/sign-in.md, with a service that believes the header as Grafana does."""

    def test_the_service_gets_the_name_of_a_signed_in_user_only(self) -> None:
        self.service = self.upstream()
        recipe = "identity_username_header = X-WEBAUTH-USER\nidentity_roles_header = X-WEBAUTH-GROUPS\napp_authorization = yes\n"
        routes = f"[upstream grafana]\nservers = {self.service.url}\n[route grafana]\npath = /grafana\nupstream = grafana\n"
        gateway = self.gateway(site(f"{routes}browser_login = yes\n{recipe}", tls=True), USERS)
        visitor = self.visitor(gateway)
        forged = {"X-WEBAUTH-USER": "admin", "X_WEBAUTH_USER": "admin", "x.webauth.user": "admin", "X-WEBAUTH-GROUPS": "admin"}
        self.assertEqual(visitor.session.get(f"{visitor.origin}/grafana/", headers=forged, timeout=10).status_code, 401)
        self.assertEqual(visitor.sign_in("alice", "secret", to="/grafana/").status_code, 303)
        headers = {
            **forged,
            "Authorization": "Bearer glsa_of_grafana_itself",
            "Cookie": f"__Host-perimeter={visitor.cookie}; grafana_session=1",
        }
        self.assertEqual(visitor.session.get(f"{visitor.origin}/grafana/api", headers=headers, timeout=10).status_code, 200)
        (got,) = self.service.requests
        believed = [(name, value) for name, value in got.fields if "webauth" in name]
        self.assertEqual(sorted(believed), [("x-webauth-groups", "admin,ops"), ("x-webauth-user", "alice")])
        self.assertIn(("authorization", "Bearer glsa_of_grafana_itself"), got.fields)
        self.assertIn(("cookie", "grafana_session=1"), got.fields)

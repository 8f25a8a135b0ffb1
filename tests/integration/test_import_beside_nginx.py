"""Random nginx configurations, run by nginx and, imported, by the gateway: no path is more open in the gateway."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st

from perimeter.cli.main import main
from tests.integration.harness import Gateway, GatewayCase
from tests.integration.netkit import identity, pem
from tests.integration.ports import free_port
from tests.integration.upstreams import Process
from tests.integration.wire import Wire

EXAMPLES = int(os.environ.get("PERIMETER_IMPORT_EXAMPLES", "0"))
"""Configurations that are tried; each has several servers and is asked some hundred times. Without the variable they are always
the same ones, and take less than a minute."""

PATHS = ("/", "/", "/", "/a", "/a/", "/a/b", "/ab", "/c/", "/c")
EXPRESSIONS = (
    *(r"\.php$", "^/a", "x", "^/c/", "^/a/", "^/(a|c)/", "^/c/(.*)$", "^/a(/|$)", "^/a/b$", "^/a/(b|x)", r"^/a/b/.*\.php"),
    *(r"/\.", r"/\.ht", r"/\.(?!well-known)", "/.well-known", r"^/\.well-known/", "^/A/", "^/a.b"),
    *("^/a/[a-z]$", "b/x$", r"^/(a|c)/.*\.php$", "^/a|^/c/", "/a$"),
)
HOSTS = (
    *("", "s1.test", "s2.test s3.test", "_", "*.w.test", ".w.test", "*.test", "*.y.w.test", "w.*", "~^r.*$", "~^(r1|r2)$"),
    *(r"~^s[12]\.test$", r"~^(s1|s2)\.test$", r"~^(?<sub>.+)\.w\.test$", r"~^(www\.)?r1$"),
)
ASKED = ("s1.test", "s2.test", "s3.test", "w.test", "x.w.test", "x.y.w.test", "r1", "r2", "unknown.test", "elsewhere")
PROBES = sorted({f"{path}{more}" for path in PATHS for more in ("", "x", "/x", "/x.php", ".txt", "/b/x")} | {"/a/b/x", "/q"})
PROBES += ["/.well-known/x", "/a/.well-known/x", "/a/.htx", "/A/x", "/a/b/x.php", "/c/a/x"]
PROBES = [probe for probe in PROBES if "//" not in probe]

#: directives for http, server and location; for server and location; for location only
EVERYWHERE = (
    'auth_basic "staff"; auth_basic_user_file @here@/users;',
    "auth_basic off;",
    "deny all;",
    "allow 127.0.0.1; deny all;",
    "allow 10.0.0.0/8; deny all;",
    "deny 127.0.0.1; allow all;",
    "allow all;",
    "auth_request /q;",
    "auth_request off;",
    "satisfy any;",
    "satisfy all;",
    'satisfy any; allow 10.0.0.0/8; deny all; auth_basic "staff"; auth_basic_user_file @here@/users;',
    'auth_basic "admins"; auth_basic_user_file @here@/admins;',
    "proxy_set_header X-User $remote_user;",
    "proxy_set_header X-Real-IP $remote_addr; proxy_http_version 1.1; proxy_buffering off;",
    "proxy_set_header X-Email '';",
    "error_page 403 = /c/;",
    "satisfy any; allow 127.0.0.1; deny all; auth_request /q;",
    "add_header X-Thing y;",
    "root @here@/html;",
    "root @here@/other;",
    "include @here@/deny.d/*.conf;",
    "include @here@/empty.d/*.conf;",
    "client_max_body_size 1m;",
)
INSIDE = (
    "return 403;",
    "if ($arg_key = '') { return 403; }",
    "rewrite ^ /a last;",
    "set $x y;",
    "try_files $uri $uri/ =404;",
    "try_files /nothing =404;",
    "error_page 404 /c/;",
    "if ($request_method = PUT) { set $y 1; }",
    "if ($host = s1.test) { return 301 https://$host$request_uri; }",
    "valid_referers example.com; if ($invalid_referer) { return 403; }",
)
LOCATED = (
    "proxy_pass http://127.0.0.1:@up@;",
    "proxy_pass http://127.0.0.1:@up@;",
    "proxy_pass http://127.0.0.1:@up@; proxy_set_header X-User guest;",
    "uwsgi_pass 127.0.0.1:9;",
    "internal;",
    "limit_except POST { deny all; }",
    "limit_except GET { deny all; }",
    "limit_except GET { deny all; } auth_basic off;",
    "return 301 /a/;",
    "return 301 /c/;",
    "alias @here@/other;",
    "empty_gif;",
    "return 204;",
    "return 200 said;",
    "return 404;",
    "proxy_method POST;",
    "rewrite ^/a/(.*)$ /$1 break;",
    "rewrite ^/a/(.*)$ /c/$1 break;",
    "rewrite ^/a(/.*)$ $1 break;",
    "rewrite ^/(.*)$ /a/$1 break;",
)


CERTIFICATE = "ssl_certificate @here@/tls.pem; ssl_certificate_key @here@/tls.key;"

HARMLESS = ("add_header X-Thing y;", "client_max_body_size 1m;", "allow 127.0.0.1; deny all;", "auth_basic off;")


def _lines(*pools: tuple[str, ...], most: int = 2) -> st.SearchStrategy[list[str]]:
    """Directives; often only harmless ones, so that something stays open."""
    harmless = st.lists(st.sampled_from(HARMLESS), max_size=1)
    return (
        harmless
        | harmless
        | harmless
        | harmless
        | st.lists(st.sampled_from([line for pool in pools for line in pool]), max_size=most)
    )


@st.composite
def location(draw: st.DrawFn, depth: int = 0, within: str = "/") -> str:
    modifier = draw(st.sampled_from((*("",) * 9, *("= ", "^~ ", "~ ") * 2, "~* ")))
    path = draw(
        st.sampled_from(EXPRESSIONS if modifier.startswith("~") else [one for one in PATHS if one.startswith(within)] or [within])
    )
    body = draw(_lines(EVERYWHERE, INSIDE, LOCATED))
    if modifier != "= " and depth == 0:
        inner = st.lists(location(depth=1, within=path), max_size=0 if modifier.startswith("~") else 1)
        body += draw(st.just([]) | inner)
    uri = "" if modifier.startswith("~") else "/"
    target = draw(
        st.sampled_from(
            ("", *("proxy_pass http://127.0.0.1:@up@;", "root @here@/html;") * 2, f"proxy_pass http://127.0.0.1:@up@{uri};")
        )
    )
    return f"location {modifier}{path} {{ {target} {' '.join(body)} }}"


@st.composite
def server(draw: st.DrawFn) -> str:
    head = draw(_lines(EVERYWHERE, INSIDE, most=1))
    places = draw(st.lists(location(), max_size=3))
    places += [draw(st.sampled_from(("", "location / { " + LOCATED[0] + " }", "root @here@/html;")))]
    places = list({one.partition("{")[0]: one for one in reversed(places)}.values())[::-1]
    name = draw(st.sampled_from((*(f"s{draw(st.integers(1, 5))}.test",) * 9, *HOSTS)))
    named = f"server_name {name};" if name else ""
    default = draw(st.sampled_from(("", "", " default_server")))
    question = "location = /q { internal; proxy_pass http://127.0.0.1:@up@/refuse; }"
    layout = draw(st.sampled_from((*("plain",) * 5, *("tls",) * 3, "both", "both", "redirect", "certbot")))
    plain, secure = f"listen 127.0.0.1:@port@{default};", f"listen 127.0.0.1:@tls@ ssl{default}; {CERTIFICATE}"
    if layout == "redirect":
        return f"server {{ {plain} {named} return 301 https://$host:@tls@$request_uri; }}"
    if layout == "certbot":
        moved = "if ($host = s1.test) { return 301 https://$host:@tls@$request_uri; }"
        return f"server {{ {moved} {plain} {named} return 404; }} server {{ {secure} {named} {' '.join(places)} }}"
    listens = {"plain": plain, "tls": secure, "both": f"{plain} {secure}"}[layout]
    return f"server {{ {listens} {named} {' '.join(head)} {question} {' '.join(places)} }}"


@st.composite
def trees(draw: st.DrawFn) -> str:
    http = draw(_lines(EVERYWHERE, most=1))
    return "\n".join([*http, *draw(st.lists(server(), min_size=1, max_size=4))])


_LISTENER = re.compile(r"^\[listener (\S+)\]\nport = (\d+)\ninterface = (\S+)$", re.M)


def _section(site: str, name: str) -> str:
    return site.partition(f"[listener {name}]\n")[2].partition("\n\n")[0]


def _tls(site: str, name: str) -> bool:
    return "tls = yes" in _section(site, name)


def _redirects(site: str, name: str) -> bool:
    return "serve = redirect" in _section(site, name)


_PASS = "proxy_pass http://127.0.0.1:@up@;"
_LISTEN = "listen 127.0.0.1:@port@;"
CHOSEN = (
    f"server {{ {_LISTEN} location / {{ {_PASS} }} location ~ \\.php$ {{ deny all; }} location ^~ /c/ {{ {_PASS} }} }}"
    f"server {{ {_LISTEN} server_name s1.test; location / {{ {_PASS} }} location /a/b/ {{ {_PASS} }}"
    f" location ~ ^/a/ {{ deny all; {_PASS} }} location ~ ^/c/b/[a-z] {{ auth_request /q; {_PASS} }} }}"
    f"server {{ {_LISTEN} server_name s2.test; root @here@/html; location ~ /\\. {{ deny all; }} }}",
    f"server {{ {_LISTEN} server_name x.w.test; location / {{ deny all; {_PASS} }} }}"
    f"server {{ {_LISTEN} server_name *.w.test; location / {{ {_PASS} }} }}"
    f"server {{ {_LISTEN} server_name *.y.w.test ~^(r1|r2)$; location / {{ auth_request /q; {_PASS} }} }}"
    f"server {{ {_LISTEN} server_name ~^r1; location / {{ {_PASS} }} }}",
    f"server {{ {_LISTEN} location / {{ {_PASS} }} location /c/ {{ deny all; }} }}"
    f"server {{ {_LISTEN} server_name ~^(prom|r1).*; location / {{ deny all; {_PASS} }} }}",
    f"satisfy any; deny all; auth_request /q; server {{ {_LISTEN} location / {{ satisfy all; auth_request off; {_PASS} }}"
    f" location /c/ {{ limit_except POST {{ deny all; }} allow all; auth_request off; {_PASS} }} location = /q {{ {_PASS} }}"
    f" location /a/ {{ auth_request off; {_PASS} }} }}",
)
"""Configurations that are always tried: each is open in the gateway if one of the importer's rules is missing."""


class NotForNginx(Exception):
    """A configuration that nginx refuses, so that nothing can be compared."""


class Running(Process):
    """An nginx with a configuration that it has tested itself."""

    def __init__(self, directory: Path, config: Path, port: int) -> None:
        self.port = port
        super().__init__(["nginx", "-p", str(directory), "-c", str(config), "-e", "stderr"], directory / "nginx.log")
        self._await_port()


def _whole(directory: Path, http: str, upstream: int) -> str:
    return f"""
daemon off;
{"user root;" if os.getuid() == 0 else ""}
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
access_log off;
client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
{http}
}}
""".replace("@up@", str(upstream))


class BesideTests(GatewayCase):
    def _directory(self) -> Path:
        directory = self.directory()
        for root in ("html", "other"):
            for name in ("a/b", "c", "a/x", "ab", "q"):
                (directory / root / name).mkdir(parents=True, exist_ok=True)
            for probe in PROBES:
                path = directory / root / probe.strip("/")
                with contextlib.suppress(OSError):
                    if not path.is_dir():
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_text("file")
            for folder in [directory / root, *(path for path in (directory / root).rglob("*") if path.is_dir())]:
                (folder / "index.html").write_text("index")
        for name in ("users", "admins"):
            (directory / name).write_text("alice:$2y$05$" + "." * 53 + "\n")
        own = identity("s1.test", "127.0.0.1")
        (directory / "tls.pem").write_bytes(pem(*own.chain))
        (directory / "tls.key").write_bytes(own.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (directory / "deny.d").mkdir()
        (directory / "deny.d" / "deny.conf").write_text("deny all;\n")
        (directory / "empty.d").mkdir()
        return directory

    @contextlib.contextmanager
    def _beside(self, http: str) -> Iterator[list[tuple[int, int, bool]]]:
        """The ports of nginx and of the gateway for one configuration, and whether there is TLS on them."""
        directory = self._directory()
        ports, upstream = {"port": free_port(), "tls": free_port()}, free_port()
        text = http.replace("@here@", str(directory))
        for name, number in ports.items():
            text = text.replace(f"@{name}@", str(number))
        service = (
            f"server {{ listen 127.0.0.1:{upstream}; auth_basic off; allow all; location = /refuse {{ return 401; }} "
            f"location / {{ return 200 served; }} }}"
        )
        config = directory / "nginx.conf"
        config.write_text(_whole(directory, text, upstream))
        real = directory / "real.conf"
        real.write_text(_whole(directory, text, upstream))
        served = directory / "up"
        served.mkdir()
        up = served / "nginx.conf"
        up.write_text(_whole(served, service, upstream))
        tested = subprocess.run(["nginx", "-t", "-q", "-p", str(directory), "-c", str(real)], capture_output=True)
        if tested.returncode != 0:
            raise NotForNginx(tested.stderr.decode())
        result = CliRunner().invoke(main, ["import", str(config), "-o", str(directory / "site.ini")])
        self.assertIn(result.exit_code, (0, 3), result.output)
        site = (directory / "site.ini").read_text()
        found = _LISTENER.findall(site)
        self.assertEqual([interface for *_, interface in found], ["127.0.0.1"] * site.count("[listener "), site)
        for name, number in ports.items():
            site = re.sub(rf"^(port|redirect_to) = {number}$", rf"\1 = @{name}@", site, flags=re.M)
        channels = [(int(number), bool(_tls(site, name))) for name, number, _ in found if not _redirects(site, name)]
        if not channels:
            raise NotForNginx("no server is left")
        names = {number: name for name, number in ports.items()}
        with contextlib.ExitStack() as stack:
            stack.callback(Running(served, up, upstream).close)
            listening = next(number for name, number in ports.items() if f"127.0.0.1:{number}" in text)
            stack.callback(Running(directory, real, listening).close)
            gateway = Gateway(directory, site)
            stack.callback(gateway.stop)
            gateway.start()
            yield [(number, gateway[names[number]], tls) for number, tls in channels]

    def _compare(self, http: str) -> int:
        """Ask both for everything, without credentials. Returns how many paths are open in both."""
        open_in_both = 0
        with self._beside(http) as channels:
            for nginx, gateway, tls in channels:
                for host in ASKED:
                    with contextlib.ExitStack() as stack:
                        wires = [stack.enter_context(_Asking(port, host, tls)) for port in (nginx, gateway)]
                        for probe in PROBES:
                            ours = wires[1].status(probe)
                            if ours < 300:
                                theirs = wires[0].status(probe)
                                self.assertTrue(theirs < 400, f"{host}{probe}: {theirs} of nginx, {ours} here ({tls=})\n{http}")
                                open_in_both += 1
        return open_in_both

    @settings(
        max_examples=EXAMPLES or 16,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )
    @given(trees())
    @example(CHOSEN[0])
    @example(CHOSEN[1])
    @example(CHOSEN[2])
    @example(CHOSEN[3])
    def test_attack_48_no_path_is_more_open_than_in_nginx(self, http: str) -> None:
        self.need("nginx")
        try:
            self._compare(http)
        except NotForNginx:
            assume(False)

    def test_what_is_open_in_nginx_and_plain_stays_open(self) -> None:
        self.need("nginx")
        found = self._compare(
            "server { listen 127.0.0.1:@port@; add_header X y; location / { proxy_pass http://127.0.0.1:@up@; }"
            " location /a/ { root @here@/html; } location /c/ { allow 127.0.0.1; deny all; proxy_pass http://127.0.0.1:@up@; } }"
        )
        self.assertGreater(found, 100)


class _Asking:
    """A connection that is made anew when the peer closes it."""

    def __init__(self, port: int, host: str, tls: bool) -> None:
        self.port = port
        self.tls = tls
        self.host = host
        self.wire: Wire | None = None

    def __enter__(self) -> _Asking:
        return self

    def __exit__(self, *_: object) -> None:
        if self.wire is not None:
            self.wire.close()

    def status(self, target: str) -> int:
        for attempt in range(3):
            if self.wire is None:
                self.wire = Wire(self.port, tls=self.tls)
            try:
                answer = self.wire.get(target, host=self.host)
            except (TimeoutError, EOFError, OSError):
                self.wire.close()
                self.wire = None
                if attempt == 2:
                    return 599
                continue
            if (answer.get("connection") or "").lower() == "close":
                self.wire.close()
                self.wire = None
            return answer.status
        return 599

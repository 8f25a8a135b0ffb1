"""The image, the Compose example and the Kubernetes manifests agree with the gateway and with each other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from twisted.trial.unittest import SynchronousTestCase

from perimeter.auth.registry import installed_kinds
from perimeter.config.language.datatypes import duration
from perimeter.config.site.config import SiteConfig
from perimeter.config.site.load import load_site

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "etc" / "compose"
MANIFESTS = ROOT / "etc" / "kubernetes" / "perimeter.yaml"
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def instruction(name: str) -> str:
    """The last instruction of the Dockerfile with this name."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)[-1]


def in_words(text: str) -> float:
    return duration().convert(text, Path())


class DockerfileTests(SynchronousTestCase):
    def test_the_image_needs_no_shell_and_no_root(self) -> None:
        for name in ("ENTRYPOINT", "CMD"):
            self.assertIsInstance(json.loads(instruction(name)), list)
        self.assertIsInstance(json.loads(instruction("HEALTHCHECK").partition(" CMD ")[2]), list)
        self.assertEqual(instruction("FROM"), "scratch")
        self.assertRegex(instruction("USER"), r"^[1-9]\d*:[1-9]\d*$")

    def test_what_is_installed_is_locked(self) -> None:
        installs = re.findall(r"pip install (.*)$", DOCKERFILE, re.MULTILINE)
        for line in installs:
            self.assertTrue("--require-hashes" in line or "--no-deps" in line, line)

    def test_nothing_secret_or_needless_is_in_the_context(self) -> None:
        ignored = (ROOT / ".dockerignore").read_text().split()
        for name in (".git", "var", "tests", ".venv"):
            self.assertIn(name, ignored)


class ComposeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.services: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
        self.networks: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["networks"]
        self.site = load_site(COMPOSE / "site.ini", kinds=installed_kinds(), here=False)

    def test_only_the_gateway_can_be_reached(self) -> None:
        self.assertEqual([name for name, one in self.services.items() if "ports" in one], ["gateway"])
        self.assertTrue(self.networks["inside"]["internal"])
        self.assertEqual(self.services["service"]["networks"], ["inside"])
        self.assertEqual(self.services["gateway"]["ports"], [f"{port}:{port}" for port in ports(self.site)])

    def test_requests_in_flight_may_end(self) -> None:
        self.assertGreater(in_words(self.services["gateway"]["stop_grace_period"]), self.site.perimeter.drain_timeout)

    def test_what_the_gateway_writes_is_kept(self) -> None:
        mounted = [one.split(":")[1] for one in self.services["gateway"]["volumes"]]
        self.assertIn(str(self.site.perimeter.state_dir), mounted)
        self.assertIn(str(self.site.audit.path.parent), mounted)

    def test_upstreams_are_services_of_the_file(self) -> None:
        self.assertEqual({server.host for one in self.site.upstreams for server in one.servers}, {"service"})


class KubernetesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.manifests: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFESTS.read_text()))
        config = next(one for one in self.manifests if one["kind"] == "ConfigMap")
        file = Path(self.mktemp())
        file.write_text(config["data"]["site.ini"])
        self.site = load_site(file, kinds=installed_kinds(), here=False)
        self.pod = next(one for one in self.manifests if one["kind"] == "StatefulSet")["spec"]["template"]["spec"]
        self.container = self.pod["containers"][0]

    def test_the_api_accepts_every_manifest(self) -> None:
        for one in self.manifests:
            kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)

    def test_ports_and_probes_are_those_of_the_configuration(self) -> None:
        self.assertEqual(sorted(one["containerPort"] for one in self.container["ports"]), sorted(ports(self.site)))
        tls = next(one for one in self.site.listeners if one.tls)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            self.assertEqual(self.container[probe]["httpGet"], {"path": "/status", "port": "https", "scheme": "HTTPS"})
        self.assertIn({"name": "https", "containerPort": tls.port}, self.container["ports"])

    def test_requests_in_flight_may_end(self) -> None:
        waits = self.container["lifecycle"]["preStop"]["sleep"]["seconds"] + self.site.perimeter.drain_timeout
        self.assertGreater(self.pod["terminationGracePeriodSeconds"], waits)

    def test_every_file_of_the_configuration_is_mounted(self) -> None:
        mounted = {Path(one["mountPath"]) for one in self.container["volumeMounts"]}
        tls = next(one for one in self.site.listeners if one.tls)
        assert tls.certificate
        for path in (self.site.perimeter.state_dir, self.site.audit.path.parent, tls.certificate[0].parent):
            self.assertIn(path, mounted)

    def test_the_pod_is_restricted(self) -> None:
        self.assertTrue(self.pod["securityContext"]["runAsNonRoot"])
        self.assertEqual(f"{self.pod['securityContext']['runAsUser']}:10001", instruction("USER"))
        own = self.container["securityContext"]
        self.assertEqual((own["allowPrivilegeEscalation"], own["readOnlyRootFilesystem"]), (False, True))
        self.assertEqual(own["capabilities"], {"drop": ["ALL"]})
        self.assertFalse(self.pod["automountServiceAccountToken"])


def ports(site: SiteConfig) -> list[int]:
    return [one.port for one in site.listeners]

"""What an operator sees of one request: its id in both logs, and logs whose every line is JSON."""

from __future__ import annotations

import json
import signal
from typing import Any, ClassVar

from tests.integration.harness import GatewayCase, site
from tests.integration.ports import eventually, free_port
from tests.integration.wire import basic

ROUTES = """\
[upstream away]
servers = http://127.0.0.1:{away}

[route away]
path = /away
upstream = away
auth = none

[route closed]
path = /closed
upstream = away
"""
LOGS = "[logging]\nformat = json\nlevel = debug\n"


class JsonLogTests(GatewayCase):
    """With ``format = json`` both logs are JSON from their first line to their last."""

    FILES: ClassVar = {"users.realm": "alice: secret,admin\n"}

    def test_each_line_from_start_to_stop(self) -> None:
        config = site(ROUTES.format(away=free_port()), extra=LOGS).replace("[audit]\n", "[audit]\nformat = json\n")
        gateway = self.gateway(config, self.FILES)
        ids = []
        with gateway.connect("http") as wire:
            for target, lines, status in (
                ("/away", (), 502),
                ("/closed", (), 401),
                ("/closed", (basic("alice", "wrong"),), 401),
                ("/none", ("Accept: text/html",), 404),
            ):
                response = wire.get(target, *lines)
                self.assertEqual(response.status, status)
                ids.append(response.get("x-request-id"))
        gateway.configure(config + "[nonsense]\n")
        gateway.signal(signal.SIGHUP)
        eventually(lambda: "nonsense" in gateway.log, "the refused reload")
        gateway.stop()
        records = [json.loads(line) for line in gateway.audit()]
        self.assertEqual([record["request_id"] for record in records], ids)
        events: list[dict[str, Any]] = [json.loads(line) for line in gateway.log.splitlines()]
        self.assertEqual({"time", "level", "namespace", "message"} - set.intersection(*map(set, events)), set())
        self.assertEqual([event["request_id"] for event in events if "request_id" in event], ids)
        refused = next(event["values"] for event in events if event.get("request_id") == ids[1])
        self.assertEqual((refused["address"], refused["target"], refused["status"]), ("127.0.0.1", "/closed", 401))
        self.assertEqual(refused["reason"], "missing_credentials")

"""The operator's page of a gateway with several workers: its figures, its stream and its actions, whichever worker answers."""

from __future__ import annotations

import json
import re
import signal
from typing import Any

import psutil

from tests.integration import test_operator_page as single
from tests.integration.axe import barriers
from tests.integration.fleet import workers
from tests.integration.ports import eventually
from tests.integration.test_operator_page import PAGE, OperatorPageCase
from tests.integration.visitor import Visitor

CONFIG = single.CONFIG.replace("[perimeter]\n", "[perimeter]\nworkers = 3\n", 1)


class FiguresOfWorkersTests(single.FiguresTests):
    """The test of the figures, with several workers."""

    CONFIG = CONFIG


class WorkersPageTests(OperatorPageCase):
    CONFIG = CONFIG

    def test_the_workers_are_shown(self) -> None:
        page = self.operator()
        shown = page.inner_text("section[aria-labelledby=workers-title]")
        for process in workers(self.served):
            self.assertIn(f"process {process.pid}", shown)
        self.assertEqual(shown.count("serving"), 3)
        page.get_by_text("Live, ").wait_for()
        self.assertEqual(barriers(page), [])

    def test_the_stream_has_the_connections_of_all_and_goes_on_without_one(self) -> None:
        wire = self.listen(self.signed_in())

        def sample() -> Any:
            wire.read_until(b"event: sample\ndata: ")
            return json.loads(wire.read_until(b"\n\n"))

        others = [self.connect(self.served) for _ in range(20)]
        for one in others:
            self.assertEqual(one.get("/open").status, 200)
        eventually(lambda: sample()["series"][3][0] >= 21, "the connections of all workers")
        owner = next(
            process
            for process in workers(self.served)
            if any(one.raddr and one.raddr.port == wire.socket.getsockname()[1] for one in process.net_connections("tcp"))
        )
        other = next(process for process in workers(self.served) if process != owner)
        other.send_signal(signal.SIGSTOP)
        try:
            first, second = sample(), sample()
        finally:
            other.send_signal(signal.SIGCONT)
        self.assertLess(second["time"] - first["time"], 2.5)
        eventually(lambda: sample()["series"][3][0] >= 21, "the connections of all workers")

    def test_what_was_done_is_said_by_whichever_worker_answers(self) -> None:
        visitor = self.signed_in()
        for _ in range(8):
            with self.signed_in("bob", "hunter2"):
                pass
        for _ in range(8):
            forms = re.findall(r'action="([^"]*sessions/end\?id=[^"]*)"', visitor.navigate(f"{PAGE}/sessions?user=bob").text)
            form = visitor.form(f"{PAGE}/sessions?user=bob", forms[0].replace("&amp;", "&"))
            visitor.close()
            done = visitor.post(form.action, form.fields)
            self.assertEqual(done.status_code, 303, done.text)
            visitor.close()  # the next look has another connection, perhaps to another worker
            page = visitor.navigate(done.headers["Location"]).text
            self.assertRegex(page, r"The session \w+ of bob has ended\.")
            again = visitor.navigate(done.headers["Location"]).text
            self.assertNotRegex(again, r"The session \w+ of bob has ended\.")

    def test_the_search_finds_the_lines_of_all_workers(self) -> None:
        visitor = self.signed_in()
        wires = [self.connect(self.served) for _ in range(20)]
        for number, wire in enumerate(wires):
            self.assertEqual(wire.get(f"/open/needle-{number}").status, 200)
        for _ in range(3):
            visitor.close()
            page = visitor.navigate(f"{PAGE}/audit?search=1&path=/open/needle").text
            self.assertIn("20 lines", page)
            found = re.findall(r"/open/needle-(\d+)</summary>|/open/needle-(\d+) ", page)
            self.assertEqual({int(one or other) for one, other in found}, set(range(20)))

    def test_whichever_worker_lists_the_sessions(self) -> None:
        visitor = self.signed_in()
        before = self.count_sessions(visitor)
        for _ in range(6):
            with self.signed_in("bob", "hunter2"):
                pass
        for _ in range(6):
            visitor.close()
            self.assertEqual(self.count_sessions(visitor), before + 6)

    def count_sessions(self, visitor: Visitor) -> int:
        found = re.search(r"(\d+) sessions? in all", visitor.navigate(f"{PAGE}/sessions").text)
        assert found is not None
        return int(found[1])

    def test_a_worker_that_does_not_run_is_a_problem(self) -> None:
        visitor = self.signed_in()
        victim = workers(self.served)[-1]

        def problem() -> bool:
            return f"process {victim.pid} does not answer" in visitor.navigate(PAGE).text

        victim.send_signal(signal.SIGSTOP)
        visitor.close()  # its connection may be one to this worker
        try:
            eventually(problem, "a problem on the page")
        finally:
            victim.send_signal(signal.SIGCONT)
        eventually(lambda: not problem() and psutil.pid_exists(victim.pid), "no problem")

"""Four processes write to one audit log: each line is there, whole, and in the right file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial import unittest

ROOT = Path(__file__).parents[2]

WRITER = """
import json, sys, time
from pathlib import Path
from perimeter.audit.shared import SharedFile
from perimeter.config.site.audit import Roll
path, number, seconds, roll = sys.argv[1:]
file = SharedFile(Path(path), Roll.DAILY if roll == "daily" else int(roll), 0, time.time)
file.open()
print("ready", flush=True)
sys.stdin.readline()
end, count = time.time() + float(seconds), 0
times = []
while time.time() < end:
    text = "x" * (20 + 8979 * (count % 50 == 0))
    before = time.time()
    file.write(json.dumps({"writer": int(number), "line": count, "time": before, "text": text}).encode() + b"\\n")
    times.append((before, time.time()))
    count += 1
    if count % 20 == 0:
        time.sleep(0.001)
file.close()
print(json.dumps(times))
"""


class ProcessesTests(unittest.SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.path = self.directory / "access.log"

    def run_writers(
        self, path: Path, seconds: float, roll: str, zone: str = "UTC", pause: float = 0.001
    ) -> list[list[tuple[float, float]]]:
        """When each line of each writer was begun and written."""
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(path), str(number), str(seconds), roll],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=ROOT,
                env={**os.environ, "TZ": zone},
                text=True,
            )
            for number in range(4)
        ]
        try:
            for writer in writers:
                assert writer.stdout is not None
                self.assertEqual(writer.stdout.readline(), "ready\n")
            for writer in writers:
                assert writer.stdin is not None
                writer.stdin.write("go\n")
                writer.stdin.flush()
            found = [writer.communicate(timeout=60)[0] for writer in writers]
            self.assertEqual([writer.returncode for writer in writers], [0] * 4)
        finally:
            for writer in writers:
                writer.kill()
                writer.wait()
        return [[tuple(pair) for pair in json.loads(text)] for text in found]

    def lines(self, path: Path) -> list[tuple[int, int, float]]:
        """The writer, number and time of each line; every line is whole."""
        records = [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
        return [(record["writer"], record["line"], record["time"]) for record in records]

    def assert_complete(self, lines: list[tuple[int, int, float]], written: list[list[tuple[float, float]]]) -> None:
        expected = [(writer, number) for writer, times in enumerate(written) for number in range(len(times))]
        self.assertEqual(sorted((writer, number) for writer, number, _ in lines), expected)
        self.assertGreater(len(expected), 400)

    def test_attack_87_lines_over_midnight_are_whole_and_in_the_file_of_their_day(self) -> None:
        midnight = int(time.time()) + 4
        ahead = -midnight % 86400  # the zone in which it is midnight then
        zone = f"MOVED-{ahead // 3600:02d}:{ahead // 60 % 60:02d}:{ahead % 60:02d}"
        written = self.run_writers(self.path, midnight + 1.5 - time.time(), "daily", zone=zone)
        old = [path for path in self.directory.iterdir() if path.name not in ("access.log", "access.log.lock")]
        self.assertEqual(
            [path.name for path in old], [f"access.log.{time.strftime('%Y-%m-%d', time.gmtime(midnight + ahead - 1))}"]
        )
        before, after = self.lines(old[0]), self.lines(self.path)
        self.assert_complete(before + after, written)
        for lines in (before, after):
            self.assertEqual({writer for writer, _, _ in lines}, {0, 1, 2, 3})
        self.assertEqual([line for line in after if line[2] < midnight and written[line[0]][line[1]][1] < midnight], [])
        self.assertEqual([line for line in before if line[2] >= midnight], [])

    def test_lines_of_several_writers_rolled_by_size(self) -> None:
        written = self.run_writers(self.path, 2.0, "256000")
        files = [path for path in self.directory.iterdir() if path.name != "access.log.lock"]
        self.assertGreater(len(files), 4)
        self.assert_complete([line for path in files for line in self.lines(path)], written)
        self.assertTrue(all(path.stat().st_size <= 256_000 + 4 * (4000 + 2 * 9100) for path in files))

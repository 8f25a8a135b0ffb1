"""Makes ``tour.svg``, the picture in the README, from what the commands below really print: ``python docs/images/tour.py``.

A gateway has to run with etc/site.ini (``./scripts/run``). Run this from the top of the checkout: it looks at var/access.log.
"""

from __future__ import annotations

import re
import subprocess
from html import escape
from pathlib import Path

COMMANDS = (
    "curl -sk -i https://127.0.0.1:9443/apps",
    "TOKEN=$(curl -s -u alice:wonderland http://127.0.0.1:10009 | cut -d '\"' -f 4); echo $TOKEN",
    'curl -sk -H "Authorization: Bearer $TOKEN" -H "X-Auth-Username: root" https://127.0.0.1:9443/apps | grep X-',
    "tail -n 3 var/access.log",
)

COLUMNS, SIZE, LEADING, MARGIN = 112, 13, 20, 22
CHARACTER = SIZE * 0.602


def output(commands: tuple[str, ...]) -> list[list[str]]:
    """The lines that each command prints, all of them in one shell."""
    mark = "=-=-="
    script = "\n".join(f"{command}; echo; echo {mark}" for command in commands)
    text = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, check=True, timeout=30).stdout
    return [part.replace("\r", "").strip("\n").split("\n") for part in text.split(mark)[:-1]]


def wrapped(line: str) -> list[str]:
    """A line as a terminal of `COLUMNS` shows it; what takes more than three lines is cut."""
    pieces = [line[start : start + COLUMNS] for start in range(0, len(line), COLUMNS)] or [""]
    return pieces if len(pieces) <= 3 else [*pieces[:1], pieces[1][:20] + " …"]


def styled(line: str, prompt: bool) -> str:
    """A line as SVG text, with what matters in colour."""
    text = escape(line)
    if prompt:
        return f'<tspan class="prompt">$</tspan> <tspan class="command">{text[2:]}</tspan>'
    text = re.sub(r"(HTTP/1\.1 401 Unauthorized|&quot; 401 \d+)", r'<tspan class="no">\1</tspan>', text)
    text = re.sub(r"(&quot; 200 \d+)", r'<tspan class="yes">\1</tspan>', text)
    return re.sub(r"(&quot;X-Auth-\w+&quot;: &quot;\w+&quot;)", r'<tspan class="yes">\1</tspan>', text)


def picture() -> str:
    """The SVG."""
    lines: list[tuple[str, bool]] = []
    for command, printed in zip(COMMANDS, output(COMMANDS), strict=True):
        lines.extend((piece, not index) for index, piece in enumerate(wrapped(f"$ {command}")))
        lines.extend((piece, False) for line in printed for piece in wrapped(line))
        lines.append(("", False))
    lines.pop()
    width, height = round(COLUMNS * CHARACTER + 2 * MARGIN), len(lines) * LEADING + 2 * MARGIN
    rows = "\n".join(
        f'<text x="{MARGIN}" y="{MARGIN + 18 + index * LEADING}" xml:space="preserve">{styled(line, prompt)}</text>'
        for index, (line, prompt) in enumerate(lines)
        if line
    )
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img"
 aria-label="Without a token a request is refused; with one the service sees alice, whatever the client claims; each is logged">
<style>
text {{ font: {SIZE}px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #c9d1d9; }}
.prompt {{ fill: #7d8590; }} .command {{ fill: #ffffff; font-weight: 600; }} .yes {{ fill: #7ee787; }} .no {{ fill: #ffa198; }}
</style>
<rect width="{width}" height="{height}" rx="10" fill="#0d1117"/>
{rows}
</svg>
"""


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(picture())

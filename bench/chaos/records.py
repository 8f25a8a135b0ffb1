"""Compares the audit log with the answers that clients have received."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import attrs

_LINE = re.compile(rb'^\S+ \S+ \[[^\]]+\] "[A-Z]+ (/\S*) HTTP/1\.1" (\d+) \d+$')


@attrs.frozen
class Judgement:
    """The numbers of answers without a record, with a wrong status or with two records; and the number of torn lines."""

    missing: int
    differing: int
    doubled: int
    torn: int
    example: str = ""


def judge(directory: Path, answered: Mapping[str, int], mark: str) -> Judgement:
    """Read all audit files in ``directory``; the targets of this run begin with ``mark``."""
    found: dict[str, list[int]] = {}
    torn = 0
    for file in sorted(directory.glob("access.log*")):
        if file.name.endswith(".lock"):
            continue
        for line in file.read_bytes().splitlines():
            match = _LINE.match(line)
            if match is None:
                torn += 1
            elif match[1].startswith(f"/{mark}/".encode()):
                found.setdefault(match[1].decode(), []).append(int(match[2]))
    missing = [target for target in answered if target not in found]
    differing = [target for target, status in answered.items() if target in found and status not in found[target]]
    doubled = sum(len(statuses) > 1 for statuses in found.values())
    return Judgement(len(missing), len(differing), doubled, torn, next(iter((*missing, *differing)), ""))

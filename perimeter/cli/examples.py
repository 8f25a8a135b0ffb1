"""Examples of commands, for the reference page and the man pages. A test parses each of them."""

from __future__ import annotations

from typing import Final

EXAMPLES: Final[dict[str, tuple[str, ...]]] = {
    "run": ("perimeter run -c site.ini",),
    "check": ("perimeter check -c site.ini", "perimeter check --json"),
    "reload": ("perimeter reload",),
    "stop": ("perimeter stop --now",),
    "status": ("perimeter status --watch", "perimeter status --json"),
    "explain": ("perimeter explain GET https://gw.example/admin/x --user alice",),
    "login": ("perimeter login --user alice",),
    "unban": ("perimeter unban alice", "perimeter unban 192.0.2.7"),
    "revoke": (
        "perimeter revoke --id 5f1c0f0a9d3b7e21",
        "perimeter revoke --user alice --realm corp",
        "perimeter revoke --stdin < token",
    ),
    "token": (
        "perimeter token issue --user backup --realm corp --role reader --lifetime 1h",
        "perimeter token list --user alice",
    ),
    "session": ("perimeter session list --user alice", "perimeter session end --user alice --realm corp"),
    "second-factor": (
        "perimeter second-factor list --user alice",
        "perimeter second-factor reset --user alice --realm corp",
        "perimeter second-factor code --user alice --realm corp",
    ),
    "keys": ("perimeter keys list", "perimeter keys rotate"),
    "password": ("perimeter password --user alice --roles admin,ops -o users.realm",),
    "ecflowrc": ("perimeter ecflowrc --user alice --type bearer",),
    "completion": ("perimeter completion bash",),
    "import": ("perimeter import /etc/nginx/nginx.conf -o site.ini",),
    "emit": ("perimeter emit nginx --server-name gw.example",),
    "doctor": ("perimeter doctor",),
}
"""By the name of the command. Each line is one example."""

"""The table of all subcommands of ``perimeter``. A new subcommand is one entry here.

A module is imported only when its subcommand is used, or for the help of this subcommand.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Entry(NamedTuple):
    """A subcommand: its name, its module in `perimeter.cli`, its help in one line, and the name of the click command there."""

    name: str
    module: str
    help: str
    attribute: str = "command"


COMMANDS: Final[dict[str, tuple[Entry, ...]]] = {
    "Run the gateway": (
        Entry("run", "run", "Run the gateway."),
        Entry("check", "check", "Check the configuration and the files that it names."),
        Entry("reload", "running", "Load the configuration into the running gateway.", "reload"),
        Entry("stop", "running", "Stop the running gateway.", "stop"),
        Entry("upgrade", "running", "Replace the program of the running gateway by the installed one.", "upgrade"),
    ),
    "Look at it": (
        Entry("status", "status", "Show the running gateway: problems first."),
        Entry("explain", "explain", "Show how the gateway would answer a request, and why."),
        Entry("doctor", "doctor", "Find problems around the gateway, and print what to do."),
        Entry("audit", "audit", "Look into audit logs."),
    ),
    "Users and tokens": (
        Entry("login", "login", "Try a user name and a password on the authenticators."),
        Entry("unban", "unban", "Let a user name or an address try again after wrong passwords."),
        Entry("revoke", "token", "End tokens and sessions at once.", "revoke"),
        Entry("token", "token", "Issue, show, list and revoke tokens."),
        Entry("session", "session", "List and end the sessions of browsers."),
        Entry("second-factor", "second_factor", "List and reset second factors, and make codes for first ones."),
        Entry("identity", "identity", "List and release user names that belong to a provider."),
        Entry("keys", "keys", "Show or rotate the keys that sign tokens."),
        Entry("copy-state", "copy_state", "Copy the tokens and sessions of this machine to Redis."),
        Entry("password", "password", "Hash a password for a realm file."),
        Entry("ecflowrc", "ecflowrc", "Write the credentials file of an ecFlow client."),
    ),
    "Other programs": (
        Entry("completion", "completion", "Complete commands with the Tab key in bash, zsh or fish."),
        Entry("import", "import_", "Convert the configuration of another program to a site.ini."),
        Entry("emit", "emit", "Print the configuration of a proxy that asks this gateway."),
    ),
}
"""The subcommands by what they are for, in the order of ``perimeter --help``."""


def find(name: str) -> Entry | None:
    """The subcommand ``name``."""
    return next((entry for entries in COMMANDS.values() for entry in entries if entry.name == name), None)

"""Steps that need all sources: ports that are no longer needed, users, and where the gateway listens. Pure."""

from __future__ import annotations

from perimeter.importers.authotron.source import LISTENER
from perimeter.importers.draft import USERS, Draft, DraftSection, ImportFault, Note, Setting


def complete(draft: Draft) -> None:
    """Make a whole site of ``draft``. Raises `perimeter.importers.draft.ImportFault` if its sources cannot be one site."""
    _folded(draft)
    _apart(draft)
    _users(draft)
    _listener(draft)
    if not draft.has("audit"):
        draft.section("audit").options["path"] = Setting("access.log")
    if not draft.has("perimeter"):
        draft.section("perimeter")
    draft.sections["perimeter"].options.setdefault("state_dir", Setting("var"))
    for header in [header for header, section in draft.sections.items() if not section.options]:
        del draft.sections[header]


def _folded(draft: Draft) -> None:
    """Leave out Auth-o-tron's port if the proxy that asks there is imported as well."""
    own = draft.sections.get(f"listener {LISTENER}")
    if own is None or "port" not in own.options or int(own.options["port"].value) not in draft.asked_ports:
        return
    origin = own.options["port"].origin or Note("", 0, "")
    draft.remark(origin, f"port {own.options['port'].value} is not needed: nginx, which asks there, is in this site.ini as well")
    del draft.sections[own.header]


def _apart(draft: Draft) -> None:
    """Serve nothing of one source where only another one listens, and leave security on if one source has it on."""
    sources = list(dict.fromkeys(one.source for one in _of(draft, "route")))
    if len(sources) > 1:
        raise ImportFault("", 0, f"{' and '.join(sources)} cannot be one site: each would be served where the other listens")
    for listener in _of(draft, "listener"):
        if sources and listener.source not in sources and "serve" not in listener.options:
            del draft.sections[listener.header]
            origin = listener.options["port"].origin or Note("", 0, "")
            draft.left(
                origin,
                f"[{listener.header}] is left out: a listener serves all routes, and those of {sources[0]} were not served there",
            )
    perimeter = draft.sections.get("perimeter")
    enabled = perimeter.options.get("enabled") if perimeter is not None else None
    if enabled is not None and enabled.value == "no" and any(one.source != "reactor" for one in _of(draft, "authenticator")):
        assert perimeter is not None
        perimeter.options["enabled"] = Setting("yes", "", enabled.origin)
        draft.left(
            enabled.origin or Note("", 0, ""),
            "enabled = no would switch off authentication for the other source too, so it is yes",
        )


def _of(draft: Draft, kind: str) -> list[DraftSection]:
    return [section for section in draft.sections.values() if section.header.partition(" ")[0] == kind]


def _users(draft: Draft) -> None:
    """Routes that ask for users need an authenticator: one without users, until the operator adds some."""
    if draft.has("authenticator"):
        return
    closed = [one for one in draft.sections.values() if one.header.startswith("route ") and "auth" not in one.options]
    if not closed:
        return
    section = draft.section("authenticator", "users", "no users yet: perimeter password --user NAME -o FILE adds one")
    section.options["type"] = Setting("realmfile")
    section.options["path"] = Setting(USERS)
    draft.realms.setdefault(USERS, [])
    path = closed[0].options.get("path")
    draft.remark(
        path.origin if path is not None and path.origin is not None else Note("", 0, ""),
        f"the users are in another file: import that as well, or add them to {USERS}",
    )


def _listener(draft: Draft) -> None:
    if draft.has("listener"):
        return
    section = draft.section("listener", "https", "no source has a listener")
    section.options["port"] = Setting("9443")
    section.options["tls"] = Setting("yes")

"""Auth-o-tron's providers as authenticators. Pure.

A plain provider's users become a realm file with hashed passwords; one that asks a service becomes an authenticator of its type.
"""

from __future__ import annotations

from perimeter.auth.passwords.formats import PasswordFormatError, take
from perimeter.auth.text import unfit_for_name
from perimeter.importers.authotron.file import AuthotronFile
from perimeter.importers.draft import DraftSection, RealmUser, plain_name
from perimeter.importers.yaml_tree import Value


def _usable(hashed: str) -> bool:
    """Whether a realm file takes this hash."""
    try:
        return not take(hashed)[1]
    except PasswordFormatError:
        return False


class Providers(AuthotronFile):
    """Writes the providers."""

    def add(self, value: Value) -> None:
        """All that are listed in ``value``."""
        if len(value.items) > 1:
            self.draft.remark(
                self.note(value, ""),
                "providers are asked in their order here, and not all at once: no password goes to two of them "
                "(ask = all_at_once does as Auth-o-tron did)",
            )
        for provider in value.items:
            self._provider(provider)

    def _provider(self, value: Value) -> None:
        table = value.table
        kind = table["type"].text if "type" in table else None
        name = (table["name"].text if "name" in table else None) or kind or "provider"
        if plain_name(name) == "token":
            name = "token-provider"  # the audit log has the other name for access tokens
        known = {"name", "type", "realm", "users"}
        if kind == "plain":
            self._users(self.draft.free_name("authenticator", name), table)
            self.rest(table, known, f"provider {name}")
            return
        if kind is None or kind not in self.abilities.authenticators:
            self.draft.left(self.note(value, f"provider {name}: type = {kind} is not available yet"))
            return
        section = self.draft.section("authenticator", self.draft.free_name("authenticator", name))
        self.put(section, "type", table["type"], "type")
        done = {"name", "type"}
        if kind == "jwt":
            self._foreign_tokens(section, table, name)
            done.add("iam_realm")
        self.options(section, table, name, self.abilities.authenticators[kind] | {"realm"}, done)
        self.judged(section, value, f"provider {name}")

    def _foreign_tokens(self, section: DraftSection, table: dict[str, Value], name: str) -> None:
        """Options that a jwt provider does not have and the gateway requires."""
        origin = table.get("cert_uri") or table["type"]
        for option in ("issuer", "audience"):
            if option in self.abilities.authenticators["jwt"]:
                self.put(section, option, origin, option, "*")
        self.draft.remark(
            self.note(origin, ""),
            f"provider {name} accepts every token that its keys have signed: limit it with issuer and audience",
        )
        if "iam_realm" in table and table["iam_realm"].text != (table["realm"].text if "realm" in table else None):
            if "realm" not in table:
                self.put(section, "realm", table["iam_realm"], f"{name}: iam_realm")
                return
            self.draft.remark(
                self.note(table["iam_realm"], ""),
                f"iam_realm: users of provider {name} are of realm {table['realm'].text} here, in challenges and in identities",
            )

    def _users(self, name: str, table: dict[str, Value]) -> None:
        """A plain provider: a realm file of its own."""
        section = self.draft.section("authenticator", name)
        origin = table.get("name") or table["type"]
        self.put(section, "type", origin, "type", "realmfile")
        self.put(section, "path", origin, "path", f"{name}.realm")
        if "realm" in table:
            self.put(section, "realm", table["realm"], "realm")
        users = self.draft.realms.setdefault(f"{name}.realm", [])
        listed = table["users"].items if "users" in table else []
        seen: set[str] = set()
        for value in listed:
            user = value.table
            username = user["username"].raw if "username" in user else ""
            password = user["password"].raw if "password" in user else ""
            hashed = user["password_hash"].raw if "password_hash" in user else ""
            roles = tuple(role.raw for role in user["roles"].items) if "roles" in user else ()
            shown = f"user {username!r}"
            if not username or ":" in username or unfit_for_name(username):
                self.draft.left(self.note(value, f"{shown}: a name that no client could send"))
            elif hashed and (password or not hashed.startswith("$argon2id$") or not _usable(hashed)):
                self.draft.left(self.note(value, f"{shown}: a password_hash that is not argon2id, or a password beside it"))
            elif not hashed and (not password or unfit_for_name(password)):
                self.draft.left(self.note(value, f"{shown}: an empty password, or control characters in it"))
            elif username in seen:
                self.draft.left(self.note(value, f"{shown} is there twice: the first one counts"))
            elif any(not role or "," in role or role.strip() != role or unfit_for_name(role) for role in roles):
                self.draft.left(self.note(value, f"{shown}: a comma in a role would be two roles"))
            else:
                users.append(RealmUser(username, password or None, hashed or None, roles))
            # the first one of a name counts, even if it cannot be translated: its password would not be the second one's
            seen.add(username)
            self.rest(user, {"username", "password", "password_hash", "roles"}, shown)
        if any(user.password is not None for user in users):
            self.draft.remark(
                self.note(table["users"], ""), f"the passwords of {name} were plain text; in {name}.realm they are hashed"
            )

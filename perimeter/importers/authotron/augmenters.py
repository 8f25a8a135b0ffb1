"""Auth-o-tron's augmenters. Pure."""

from __future__ import annotations

from perimeter.config.language.name_types import spelled_name
from perimeter.importers.authotron.file import AuthotronFile
from perimeter.importers.draft import DraftSection
from perimeter.importers.yaml_tree import Value


class Augmenters(AuthotronFile):
    """Writes the augmenters."""

    def add(self, value: Value) -> None:
        """All that are listed in ``value``."""
        for one in value.items:
            kind = one.table["type"].text if "type" in one.table else None
            word = {"plain_advanced": "match"}.get(kind or "", kind or "")
            name = (one.table["name"].text if "name" in one.table else None) or word or "augmenter"
            if word not in self.abilities.augmenters:
                self.draft.left(self.note(one, f"augmenter {name}: type = {kind} is not available yet"))
                continue
            section = self.draft.section("augmenter", self.draft.free_name("augmenter", name))
            self.put(section, "type", one, "type", word)
            if word == "match":
                self._match(section, one.table, name)
            elif word == "plain":
                self._roles(section, one.table, name)
            else:
                self.options(section, one.table, name, self.abilities.augmenters[word], {"name", "type"})

    def _match(self, section: DraftSection, table: dict[str, Value], name: str) -> None:
        """plain_advanced: the users that it matches, and the roles that they get."""
        if "realm" in table:
            self.put(section, "realm", table["realm"], f"{name}: realm")
        given = {
            **{f"match.{key}": value for key, value in (table["match"].table if "match" in table else {}).items()},
            **{f"augment.{key}": value for key, value in (table["augment"].table if "augment" in table else {}).items()},
        }
        for key, option in (("match.username", "username"), ("match.role", "role"), ("augment.roles", "add_roles")):
            if key in given:
                names = [spelled_name(item.text) if item.text else "" for item in given[key].items]
                self.listed(section, option, given[key], f"{name}: {key}", names)
        if "augment.attributes" in given:
            pairs = [f"{key}={item.text or ''}" for key, item in given["augment.attributes"].table.items()]
            self.listed(section, "add_attributes", given["augment.attributes"], f"{name}: augment.attributes", pairs)
        self.rest(given, {"match.username", "match.role", "augment.roles", "augment.attributes"}, name)
        self.rest(table, {"name", "type", "realm", "match", "augment"}, name)

    def _roles(self, section: DraftSection, table: dict[str, Value], name: str) -> None:
        """plain: the users of each role."""
        if "realm" in table:
            self.put(section, "realm", table["realm"], f"{name}: realm")
        lines = []
        for role, users in (table["roles"].table if "roles" in table else {}).items():
            names = [user.text or "" for user in users.items]
            if ":" in role or not names or any(not user or "," in user or user != user.strip() for user in (*names, role)):
                self.draft.left(self.note(users, f"{name}: role {role}: a comma, a colon or nothing in a name"))
            else:
                lines.append(f"{spelled_name(role)}: {', '.join(map(spelled_name, names))}")
        if lines:
            self.put(section, "roles", table["roles"], f"{name}: roles", "".join(f"\n    {line}" for line in lines))
        self.rest(table, {"name", "type", "realm", "roles"}, name)

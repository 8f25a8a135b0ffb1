"""Groups of a user that another endpoint of the provider lists: GitHub's organizations and teams, Entra's groups in Graph.

Groups that cannot be read are never "no groups": a rule may deny what one of them allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from perimeter.auth.kinds.remote import names
from perimeter.auth.kinds.remote.judge import values_at
from perimeter.errors import ProviderMisconfigured, ProviderUnavailable, Unavailable
from perimeter.oidc.claims import GROUPS, left_out
from perimeter.web_client.collection import collect

if TYPE_CHECKING:
    from perimeter.web_client.client import RemoteClient

_ODATA_TYPE: Final = "@odata.type"
_GRAPH_GROUP: Final = "#microsoft.graph.group"


async def listed(client: RemoteClient, url: str, access_token: str) -> list[Any]:
    """All items of the list at ``url``. Raises `ProviderUnavailable`."""
    try:
        return await collect(client, url, f"Bearer {access_token}")
    except Unavailable as error:
        raise ProviderUnavailable(f"a list of the user's groups or addresses cannot be read: {error.detail}") from None


def group_names(items: Iterable[Any], forms: Sequence[str]) -> list[str]:
    """The name of each group. Pure.

    A form is a path of members, or several paths that ``/`` separates: ``organization.login/slug``. The first form of which an
    item has all members names it. An item that is a text is a name itself. Raises `perimeter.auth.kinds.remote.names.Unfit` for
    an item that no form names, and for a part that contains ``/``: it could pretend to be a group of another one.
    """
    found = []
    for item in items:
        name = item if isinstance(item, str) else next((made for form in forms if (made := _named(item, form)) is not None), None)
        if name is None:
            raise names.Unfit("a group has none of the members in group_name")
        found.append(name)
    return found


def _named(item: object, form: str) -> str | None:
    if not isinstance(item, dict):
        return None
    paths = form.split("/")
    parts = [next(values_at(item, path), None) for path in paths]
    if not all(isinstance(part, str) and part for part in parts):
        return None
    if any("/" in str(part) for part in parts):
        raise names.Unfit("a part of the name of a group contains /")
    return "/".join(str(part) for part in parts)


def graph_groups(items: Iterable[Any]) -> list[str]:
    """The ids of the groups among the directory objects that Graph lists; roles and administrative units are left out. Pure.

    Not their names: these are not unique, and users can create groups. Raises `perimeter.auth.kinds.remote.names.Unfit`.
    """
    found = []
    for item in items:
        kind, group = (item.get(_ODATA_TYPE), item.get("id")) if isinstance(item, dict) else (None, None)
        if not isinstance(kind, str) or not isinstance(group, str) or not group:
            raise names.Unfit("a directory object of Graph has no type or no id")
        if kind == _GRAPH_GROUP:
            found.append(group)
    return found


async def with_graph_groups(claims: dict[str, Any], client: RemoteClient, url: str, access_token: str) -> dict[str, Any]:
    """The ``claims``, with the groups that Graph lists at ``url`` if the ID token has left them out.

    Raises `ProviderUnavailable` or `ProviderMisconfigured`.
    """
    try:
        if GROUPS not in left_out(claims):
            return claims
        return claims | {GROUPS: graph_groups(await listed(client, url, access_token))}
    except names.Unfit as error:
        raise ProviderMisconfigured(f"{client.service}: {error}") from None

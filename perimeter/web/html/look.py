"""How the pages of one configuration look: title, logo, message, templates, and the files that they load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs
from jinja2 import Environment

from perimeter.config.site.login import LoginSettings
from perimeter.web.html.assets import Asset, assets_of, read_logo
from perimeter.web.html.files import ASSETS, TEMPLATES
from perimeter.web.html.message import read_message
from perimeter.web.html.templates import environment, site_sources, try_templates

_BUILT_IN: Final = {name: (source, name) for name, source in TEMPLATES.items()}
_ASSETS: Final = assets_of(ASSETS)


@attrs.frozen(eq=False)
class Look:
    """Renders pages. ``assets`` are by the last part of their URL; ``title`` is the name of the site."""

    title: str
    assets: Mapping[str, Asset]
    _environment: Environment

    def render(self, template: str, values: Mapping[str, Any]) -> bytes:
        """The page that ``template`` makes of ``values``. All text in them is escaped."""
        return self._environment.get_template(template).render(values).encode("utf-8")


def read_look(settings: LoginSettings, realm: str) -> Look:
    """The look of a site; ``realm`` is its name if it has no title. Blocks. Raises `StartupError`.

    If the site has templates, all are compiled and tried here. Otherwise each is compiled when its page is first asked for, which
    takes 1 to 20 ms then, instead of 170 ms at each start.
    """
    logo = None if settings.logo is None else read_logo(settings.logo)
    site = {} if settings.templates is None else site_sources(settings.templates, _BUILT_IN)
    sources = {**_BUILT_IN, **site}
    pages = environment(sources)
    static = f"{settings.path}/static/"

    def asset(path: str) -> str:
        """The URL path of a built-in asset, such as ``style.css``. Raises KeyError."""
        return static + _ASSETS[path].name

    title = settings.title or realm
    pages.globals.update(
        asset=asset,
        prefix=settings.path,
        site=title,
        logo="" if logo is None else static + logo.name,
        message=read_message(settings),
    )
    if site:
        from perimeter.web.html.samples import SAMPLES

        try_templates(pages, sources, SAMPLES)
    files = [*_ASSETS.values(), *(() if logo is None else (logo,))]
    return Look(title, {one.name: one for one in files}, pages)

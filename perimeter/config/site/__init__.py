"""The sections of a site.ini, one module for each kind of section.

Each module has a settings class, whose fields declare the options of the section, and a ``KIND``, which has the text and the
example of the section for the reference page. `load.load_site` reads a file into a `config.SiteConfig`.

To add an option:

1. Declare it as a field of the settings class, by `perimeter.config.language.option.option`: datatype, documentation, default.
   Nothing else has to be written for it to be read, checked, suggested and documented.
2. If it is a closed set of words, make them a ``StrEnum`` in the same module; the datatype is ``one_of(Words)``. Compare them
   with ``is``, and end an exhaustive comparison with ``assert_never``.
3. Report contradictions within the section in ``check``, and name options by their fields:
   ``section.refuse([attrs.fields(RouteSettings).rewrite], "is only allowed with upstream")``. Contradictions between sections
   are reported in `crosscheck`.
4. Write the page again: ``python -m perimeter.cli.reference docs/reference/configuration.md``. Tests compare the page, and read
   the examples of all sections as one file.

To add a kind of section, write its module, and add it to `kinds.KINDS`, to `config.SiteConfig` and to `load`.
"""

"""The language of site.ini: sections, options, datatypes and references. It knows no section by name.

A file becomes a `document.Document`, which has a `section.Section` for each section. `settings.read` makes a value of a section,
as the fields of a settings class declare (`option.option`).
"""

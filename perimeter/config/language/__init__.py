"""The language of site.ini: sections, options, data types, references. Knows no section by name."""

"""From the text of a site.ini to frozen values: scanner, schema, and the values themselves. Pure but for reading files."""

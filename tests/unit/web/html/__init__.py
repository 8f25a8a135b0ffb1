"""Templates, assets, headers and forms of the pages."""

"""What the pages of the gateway are made of: templates, assets, headers, forms."""

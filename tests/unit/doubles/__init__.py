"""Stand-ins and builders that several unit tests share."""

"""The places of a request where credentials can be; each source looks at one of them."""

"""Tests of `perimeter.auth.kinds.login_modules`."""

"""Auth-o-tron and Perimeter with the same configuration and the same requests: ``tox -e auth-o-tron``.

`requests` has the requests, `differences` where the answers may differ and why, `judge` compares, `manual` writes the page of
the manual that lists the differences. None of the modules is called ``test_…``: Auth-o-tron's program takes a quarter of an hour
to build, so that what needs it is not among the tests that always have to pass.
"""

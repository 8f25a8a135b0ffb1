"""Auth-o-tron itself and Perimeter, given the same configuration and asked the same: ``tox -e auth-o-tron``.

`requests` has what is asked, `differences` where the answers may differ and why, `judge` compares, `manual` writes the page of
the manual that lists the differences. None of the modules is called ``test_…``: Auth-o-tron's program takes a quarter of an hour
to build, so that what needs it is not among the tests that always have to pass.
"""

"""The kinds of authenticator that come with Perimeter, one module or package each."""

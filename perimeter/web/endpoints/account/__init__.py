"""The account page: who a user is, their sessions, and their API tokens."""

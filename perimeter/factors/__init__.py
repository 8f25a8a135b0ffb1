"""Second factors of users: what is kept of them, how they are checked, and sign-ins that wait for one."""

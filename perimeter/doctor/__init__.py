"""``perimeter doctor``: looks at a configuration, the machine and the services around it, and changes nothing."""

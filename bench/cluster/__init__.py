"""Many machines on one Redis, simulated: the code that follows the log is real, the clock, the network and Redis are models."""

"""The interfaces that plug-ins implement, and what they get to work with: all that third parties import, and nothing else."""

"""Tests that measure wall time or processor time with narrow limits. ``scripts/test`` runs these modules one at a time, alone."""

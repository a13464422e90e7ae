"""Readers of single files, which refuse what they cannot read with certainty."""

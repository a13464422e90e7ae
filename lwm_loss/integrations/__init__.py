"""Callbacks that set a curriculum from the state of a trainer.

Each module imports its framework when it is imported itself, and the library imports none of them.
"""

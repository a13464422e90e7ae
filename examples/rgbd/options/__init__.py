"""Every option of a run: its declaration, the rules between options, its form in a file."""

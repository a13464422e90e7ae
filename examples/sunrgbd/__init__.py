"""The commands for SUN RGB-D."""

"""NYUDv2 in the layouts that people have."""

"""SUN RGB-D, as published and in the lists that people made of it."""

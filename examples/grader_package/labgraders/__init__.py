"""Graders of this lab."""

"""Bytes become columns, columns become keys."""

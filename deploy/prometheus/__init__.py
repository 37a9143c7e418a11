"""Prometheus: how it scrapes headrace, its rules, and where its programs are found for tests."""

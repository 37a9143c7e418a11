"""Evaluation over time: what a run measured, in windows of event time, and the log that is kept of it."""

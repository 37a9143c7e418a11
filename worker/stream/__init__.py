"""Kafka lives here, and nowhere else."""

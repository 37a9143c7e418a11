"""Headrace: a Kafka topic of interactions becomes a recommendation model that is seconds old."""

__version__ = "0.1.0"

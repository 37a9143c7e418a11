"""The learner: numbers only, no Kafka, no clock, no files."""

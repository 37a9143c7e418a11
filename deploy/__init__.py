"""Everything around the worker: a broker for tests, demo and benchmarks, the demo itself, images and dashboards."""

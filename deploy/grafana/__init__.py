"""Grafana's dashboards, from code: `python -m deploy.grafana` writes them to `dashboards/`.

What a dashboard shows stands in `health.py`, `pipeline.py` and `memory.py`; how it is drawn, in `render.py`.
"""

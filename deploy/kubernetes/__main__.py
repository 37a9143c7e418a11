"""`python -m deploy.kubernetes`: write the alerts of deploy/prometheus as a resource of the Prometheus operator."""

from pathlib import Path

HERE = Path(__file__).parent
RULES = HERE.parent / "prometheus" / "rules.yaml"
RESOURCE = HERE / "production" / "prometheus-rule.yaml"
HEAD = """\
# Made from deploy/prometheus/rules.yaml by `python -m deploy.kubernetes`: edit that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: headrace
  labels:
    app.kubernetes.io/name: headrace
spec:
"""


def render(rules: str) -> str:
    """Give the resource that holds the text of a rules file: its `spec` has the same form.

    >>> print(render("groups: []").splitlines()[-1])
      groups: []
    """
    return HEAD + "".join(f"  {line}\n" if line else "\n" for line in rules.splitlines())


if __name__ == "__main__":
    RESOURCE.write_text(render(RULES.read_text(encoding="utf-8")), encoding="utf-8")
    print(RESOURCE)

"""What an expression of PromQL uses, and which labels its result has."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import promql_parser as promql

SETS: Final = ("and", "or", "unless")
COMPARISONS: Final = ("==", "!=", ">", "<", ">=", "<=")

Labels = frozenset[str]


class UnknownSeriesError(Exception):
    """An expression uses a series or a label that does not exist."""


def parse(expression: str) -> Any:
    """Parse an expression of a dashboard or a rule."""
    return promql.parse(expression.replace("$__rate_interval", "5m"))


def selectors(node: Any) -> Iterator[Any]:
    """Give all selectors of series in an expression."""
    if isinstance(node, promql.VectorSelector):
        yield node
    for child in _children(node):
        yield from selectors(child)


def names(expression: str) -> set[str]:
    """Give the names of the series that an expression uses."""
    return {selector.name for selector in selectors(parse(expression))}


def operands(node: Any) -> Iterator[Any]:
    """Give the left sides of the comparisons that decide, which have values also where the comparison does not hold."""
    if isinstance(node, promql.ParenExpr):
        yield from operands(node.expr)
    elif isinstance(node, promql.BinaryExpr) and str(node.op) in SETS:
        yield from operands(node.lhs)
        yield from operands(node.rhs)
    elif isinstance(node, promql.BinaryExpr) and str(node.op) in COMPARISONS:
        yield node.lhs
    else:
        yield node


def labels(node: Any, known: Mapping[str, Labels]) -> Labels | None:
    """Give the labels of the result of an expression; None for a scalar.

    Raises:
        UnknownSeriesError: it uses what is not known, or combines vectors whose labels never match.
    """
    match node:
        case promql.NumberLiteral() | promql.StringLiteral():
            return None
        case promql.VectorSelector():
            return _selected(node, known)
        case promql.AggregateExpr():
            return _aggregated(node, known)
        case promql.BinaryExpr():
            return _combined(node, known)
        case promql.Call():
            found = [of for argument in node.args if (of := labels(argument, known)) is not None]
            gone = {"le"} if node.func.name == "histogram_quantile" else set()
            if found:
                _require(gone, found[0], node)
            return found[0] - gone if found else None
        case _:
            (child,) = _children(node)
            return labels(child, known)


def _selected(node: Any, known: Mapping[str, Labels]) -> Labels:
    if node.name not in known:
        raise UnknownSeriesError(f"there is no {node.name}")
    _require({matcher.name for matcher in node.matchers.matchers}, known[node.name], node)
    return known[node.name]


def _aggregated(node: Any, known: Mapping[str, Labels]) -> Labels:
    inner = labels(node.expr, known) or frozenset()
    if node.modifier is None:
        return frozenset()
    named = frozenset(node.modifier.labels)
    _require(named, inner, node)
    return named if node.modifier.type == promql.AggModifierType.By else inner - named


def _combined(node: Any, known: Mapping[str, Labels]) -> Labels | None:
    left, right = labels(node.lhs, known), labels(node.rhs, known)
    if left is None or right is None:
        return left if right is None else right
    if node.modifier is not None and node.modifier.matching is not None:
        raise NotImplementedError(f"{node}: labels are matched in full, until an expression needs more")
    if left != right:
        raise UnknownSeriesError(f"{node}: {sorted(left)} on the left never match {sorted(right)} on the right")
    return left


def _require(named: set[str] | Labels, there: Labels, node: Any) -> None:
    if lacking := named - there:
        raise UnknownSeriesError(f"{node}: there is no label {', '.join(sorted(lacking))}")


def _children(node: Any) -> list[Any]:
    take: Mapping[type, Callable[[Any], list[Any]]] = {
        promql.MatrixSelector: lambda one: [one.vector_selector],
        promql.Call: lambda one: one.args,
        promql.ParenExpr: lambda one: [one.expr],
        promql.UnaryExpr: lambda one: [one.expr],
        promql.SubqueryExpr: lambda one: [one.expr],
        promql.AggregateExpr: lambda one: [one.expr],
        promql.BinaryExpr: lambda one: [one.lhs, one.rhs],
    }
    return take.get(type(node), lambda _: [])(node)


def in_template(text: str) -> set[str]:
    """Give the labels that a legend of Grafana, or a text of an alert, names."""
    return set(re.findall(r"\{\{\s*(\w+)\s*\}\}", text)) | set(re.findall(r"\$labels\.(\w+)", text))

"""Eight numbers of single precision that are computed with at once, in numba's kernels.

A compiler may only vectorise a sum of floats where it may change the order of its additions, and here that order is
fixed. Written in lanes, the order stands in the code, and every processor follows it: LLVM makes of eight lanes one
instruction or several, and each is rounded by IEEE 754. A product and a sum are never fused.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES = 8
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_NUMBER = ir.IntType(32)
_FLOAT_BYTES = 4


class _Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__(name="lanes")


@register_model(_Lanes)
class _Model(models.PrimitiveModel):  # type: ignore[misc]  # as above
    def __init__(self, manager: Any, kind: Any) -> None:  # noqa: ANN401
        super().__init__(manager, kind, _VECTOR)


_lanes = _Lanes()


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:  # noqa: ANN401
    held = context.make_array(kind)(context, builder, array)
    return builder.bitcast(builder.gep(held.data, [index]), _VECTOR.as_pointer())


@intrinsic
def load(_: Any, array: Any, index: Any) -> Any:  # noqa: ANN401, ARG001
    """Read the eight numbers from array.ravel()[index] on: a contiguous array of float32 that has them."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ANN401
        return builder.load(_place(context, builder, signature.args[0], *values), align=_FLOAT_BYTES)

    return _lanes(array, types.intp), generate


@intrinsic
def store(_: Any, array: Any, index: Any, lanes: Any) -> Any:  # noqa: ANN401, ARG001
    """Write eight numbers to array.ravel()[index] and on: a contiguous array of float32 that has them."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ANN401
        builder.store(values[2], _place(context, builder, signature.args[0], *values[:2]), align=_FLOAT_BYTES)
        return context.get_dummy_value()

    return types.void(array, types.intp, _lanes), generate


@intrinsic
def spread(_: Any, number: Any) -> Any:  # noqa: ANN401, ARG001
    """Give a number in every lane."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:  # noqa: ANN401
        one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), values[0], _NUMBER(0))
        return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_NUMBER, LANES), [0] * LANES))

    return _lanes(types.float32), generate


@intrinsic
def pick(_: Any, array: Any, index: Any) -> Any:  # noqa: ANN401, ARG001
    """Read the number at array.ravel()[index]; unlike `array[index]`, without asking whether the index is negative."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ANN401
        held = context.make_array(signature.args[0])(context, builder, values[0])
        return builder.load(builder.gep(held.data, [values[1]]))

    return array.dtype(array, types.intp), generate


@intrinsic
def put(_: Any, array: Any, index: Any, number: Any) -> Any:  # noqa: ANN401, ARG001
    """Write a number to array.ravel()[index], in the way of `pick`."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ANN401
        held = context.make_array(signature.args[0])(context, builder, values[0])
        builder.store(values[2], builder.gep(held.data, [values[1]]))
        return context.get_dummy_value()

    return types.void(array, types.intp, array.dtype), generate


@intrinsic
def total(_: Any, lanes: Any) -> Any:  # noqa: ANN401, ARG001
    """Add up the lanes: ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)), by their numbers."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:  # noqa: ANN401
        (left,) = values
        for width in (4, 2, 1):
            halves = [
                builder.shuffle_vector(
                    left, left, ir.Constant(ir.VectorType(_NUMBER, width), list(range(start, start + width)))
                )
                for start in (0, width)
            ]
            left = builder.fadd(*halves)
        return builder.extract_element(left, _NUMBER(0))

    return types.float32(_lanes), generate


@intrinsic
def least(_: Any, one: Any, other: Any) -> Any:  # noqa: ANN401, ARG001
    """Give the smaller number of each lane; the other one's where one is not a number."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:  # noqa: ANN401
        return builder.select(builder.fcmp_ordered("<", *values), *values)

    return _lanes(_lanes, _lanes), generate


@intrinsic
def greatest(_: Any, one: Any, other: Any) -> Any:  # noqa: ANN401, ARG001
    """Give the larger number of each lane; the other one's where one is not a number."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:  # noqa: ANN401
        return builder.select(builder.fcmp_ordered(">", *values), *values)

    return _lanes(_lanes, _lanes), generate


def _operate(operation: Callable[[Any, Any], Any], name: str) -> None:
    """Teach numba an operation on lanes."""

    @type_callable(operation)
    def _typed(_: Any) -> Callable[[Any, Any], Any]:  # noqa: ANN401
        return lambda one, other: _lanes if one == other == _lanes else None

    @lower_builtin(operation, _Lanes, _Lanes)
    def _generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:  # noqa: ANN401
        return getattr(builder, name)(*values)


for _operation, _name in (
    (operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv"),
):  # fmt: skip
    _operate(_operation, _name)

"""Asking for memory before it is needed: a table of gigabytes lies far from the processor."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_READ, _KEEP, _DATA = 0, 3, 1  # as LLVM counts them: to read, wanted in every cache, data


@intrinsic
def prefetch(_: Any, address: Any) -> Any:  # noqa: ANN401, ARG001 - numba's types of types
    """Have the memory at an address fetched, without waiting for it; changes nothing, whatever the address.

    A number, not an array: numba counts references to an array that is handed over, which takes longer than this.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:  # noqa: ANN401, ARG001
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        place = builder.inttoptr(values[0], byte)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [place, number(_READ), number(_KEEP), number(_DATA)])
        return context.get_dummy_value()

    return types.void(types.intp), generate

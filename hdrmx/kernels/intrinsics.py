"""Unaligned loads and stores and bit operations that numba does not offer.

The functions of this module are the only code of hdrmx that reads or writes memory without
numba's knowledge. None of them checks an index: every caller tests its bounds first, or works in
a buffer padded by `PAD_BYTES`. With `NUMBA_BOUNDSCHECK=1` (and a cache folder of its own, since
numba's cache does not know of the variable) plain indexing stands in for each of them, so that
a run of the tests checks every access.

Indices count elements of the array that is passed: bytes for a uint8 array.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

PAD_BYTES = 64  # beyond the end of a buffer into which (or from which) wild copies are made

_I1, _I8, _I16, _I32, _I64 = (ir.IntType(n) for n in (1, 8, 16, 32, 64))


def _at(context: Any, builder: Any, array_type: Any, array: Any, index: Any, kind: Any) -> Any:
    """Pointer to element `index`, to be read as `kind`."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


def _splat(builder: Any, value: Any, n: int) -> Any:
    """A vector of n times `value`."""
    nothing = ir.Constant(ir.VectorType(value.type, n), ir.Undefined)
    one = builder.insert_element(nothing, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(_I32, n), [0] * n))


@intrinsic
def _load8(typing_context, array, index):
    def codegen(context, builder, signature, args):
        return builder.load(_at(context, builder, signature.args[0], args[0], args[1], _I8))

    return types.uint8(array, types.intp), codegen


@intrinsic
def _load64(typing_context, array, index):
    def codegen(context, builder, signature, args):
        return builder.load(_at(context, builder, signature.args[0], args[0], args[1], _I64), align=1)

    return types.uint64(array, types.intp), codegen


@intrinsic
def _store64(typing_context, array, index, value):
    def codegen(context, builder, signature, args):
        builder.store(args[2], _at(context, builder, signature.args[0], args[0], args[1], _I64), align=1)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.uint64), codegen


@intrinsic
def _load16(typing_context, array, index):
    def codegen(context, builder, signature, args):
        return builder.load(_at(context, builder, signature.args[0], args[0], args[1], _I16), align=1)

    return types.uint16(array, types.intp), codegen


def _copier(n_bytes: int) -> Any:
    kind = ir.VectorType(_I8, n_bytes)

    @intrinsic
    def copy(typing_context, target, to, source, start):
        def codegen(context, builder, signature, args):
            value = builder.load(_at(context, builder, signature.args[2], args[2], args[3], kind), align=1)
            builder.store(value, _at(context, builder, signature.args[0], args[0], args[1], kind), align=1)
            return context.get_dummy_value()

        return types.void(target, types.intp, source, types.intp), codegen

    return copy


@intrinsic
def _fill32(typing_context, target, to, value):
    def codegen(context, builder, signature, args):
        kind = ir.VectorType(_I64, 4)
        splat = _splat(builder, args[2], 4)
        builder.store(splat, _at(context, builder, signature.args[0], args[0], args[1], kind), align=1)
        return context.get_dummy_value()

    return types.void(target, types.intp, types.uint64), codegen


@intrinsic
def _count_trailing_zeros(typing_context, value):
    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], cgutils.false_bit)

    return types.uint64(types.uint64), codegen


@intrinsic
def _count_ones(typing_context, value):
    def codegen(context, builder, signature, args):
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), codegen


@intrinsic
def _gather_plane(typing_context, values, index, bit):
    def codegen(context, builder, signature, args):
        element = ir.IntType(signature.args[0].dtype.bitwidth)
        kind = ir.VectorType(element, 64)
        value = builder.load(_at(context, builder, signature.args[0], args[0], args[1], kind), align=1)
        shift = builder.trunc(args[2], element) if element.width < 64 else args[2]
        bits = builder.trunc(builder.lshr(value, _splat(builder, shift, 64)), ir.VectorType(_I1, 64))
        return builder.bitcast(bits, _I64)

    return types.uint64(values, types.intp, types.intp), codegen


@intrinsic
def _above_zero(typing_context, values, index):
    def codegen(context, builder, signature, args):
        dtype = signature.args[0].dtype
        kind = ir.VectorType(ir.IntType(dtype.bitwidth), 64)
        value = builder.load(_at(context, builder, signature.args[0], args[0], args[1], kind), align=1)
        compare = builder.icmp_signed if dtype.signed else builder.icmp_unsigned
        return builder.bitcast(compare(">", value, ir.Constant(kind, [0] * 64)), _I64)

    return types.uint64(values, types.intp), codegen


def _spreader(keep: bool) -> Any:
    """Four bit planes to 64 elements: into what the elements already hold (keep), or in its place."""

    @intrinsic
    def spread(typing_context, values, index, plane0, plane1, plane2, plane3, shift):
        def codegen(context, builder, signature, args):
            element = ir.IntType(signature.args[0].dtype.bitwidth)
            kind = ir.VectorType(element, 64)
            total = zero = ir.Constant(kind, [0] * 64)
            for bit, plane in enumerate(args[2:6]):
                lanes = builder.bitcast(plane, ir.VectorType(_I1, 64))
                total = builder.or_(total, builder.select(lanes, ir.Constant(kind, [1 << bit] * 64), zero))
            pointer = _at(context, builder, signature.args[0], args[0], args[1], kind)
            if keep:
                by = builder.trunc(args[6], element)
                total = builder.shl(total, _splat(builder, by, 64))
                total = builder.or_(total, builder.load(pointer, align=1))
            builder.store(total, pointer, align=1)
            return context.get_dummy_value()

        words = (types.uint64,) * 4
        return types.void(values, types.intp, *words, types.int64), codegen

    return spread


@intrinsic
def _or_rows(typing_context, target, to, words, at, stride, n_rows):
    def codegen(context, builder, signature, args):
        kind = ir.VectorType(_I64, 8)
        total = cgutils.alloca_once_value(builder, ir.Constant(kind, [0] * 8))
        with cgutils.for_range(builder, args[5]) as loop:
            index = builder.add(args[3], builder.mul(loop.index, args[4]))
            row = builder.load(_at(context, builder, signature.args[2], args[2], index, kind), align=1)
            builder.store(builder.or_(builder.load(total), row), total)
        pointer = _at(context, builder, signature.args[0], args[0], args[1], kind)
        builder.store(builder.load(total), pointer, align=1)
        return context.get_dummy_value()

    return types.void(target, types.intp, words, types.intp, types.intp, types.intp), codegen


def _plain_load8(array, index):
    _refuse_negative(index)
    return array[index]


def _plain_load64(array, index):
    _refuse_negative(index)
    value = np.uint64(0)
    for k in range(8):
        value |= np.uint64(array[index + k]) << np.uint64(8 * k)
    return value


def _plain_store64(array, index, value):
    _refuse_negative(index)
    for k in range(8):
        array[index + k] = np.uint8((value >> np.uint64(8 * k)) & np.uint64(255))


def _plain_load16(array, index):
    _refuse_negative(index)
    return np.uint16(array[index]) | np.uint16(array[index + 1]) << np.uint16(8)


def _plain_copy16(target, to, source, start):
    low, high = load64(source, start), load64(source, start + 8)
    store64(target, to, low)
    store64(target, to + 8, high)


def _plain_copy32(target, to, source, start):
    a, b, c, d = (
        load64(source, start),
        load64(source, start + 8),
        load64(source, start + 16),
        load64(source, start + 24),
    )
    store64(target, to, a)
    store64(target, to + 8, b)
    store64(target, to + 16, c)
    store64(target, to + 24, d)


def _plain_fill32(target, to, value):
    for k in range(0, 32, 8):
        store64(target, to + k, value)


def _plain_gather_plane(values, index, bit):
    _refuse_negative(index)
    word = np.uint64(0)
    for k in range(64):
        word |= (np.uint64(values[index + k]) >> np.uint64(bit) & np.uint64(1)) << np.uint64(k)
    return word


def _plain_above_zero(values, index):
    _refuse_negative(index)
    word = np.uint64(0)
    for k in range(64):
        if values[index + k] > 0:
            word |= np.uint64(1) << np.uint64(k)
    return word


def _plain_spread4(values, index, plane0, plane1, plane2, plane3, shift):
    _refuse_negative(index)
    for k in range(64):
        values[index + k] = 0
    add4(values, index, plane0, plane1, plane2, plane3, 0)


def _plain_add4(values, index, plane0, plane1, plane2, plane3, shift):
    _refuse_negative(index)
    for k in range(64):
        at = np.uint64(k)
        value = plane0 >> at & np.uint64(1)
        value |= (plane1 >> at & np.uint64(1)) << np.uint64(1)
        value |= (plane2 >> at & np.uint64(1)) << np.uint64(2)
        value |= (plane3 >> at & np.uint64(1)) << np.uint64(3)
        values[index + k] |= value << np.uint64(shift)


def _plain_or_rows(target, to, words, at, stride, n_rows):
    _refuse_negative(to)
    _refuse_negative(at)
    for k in range(8):
        total = np.uint64(0)
        for row in range(n_rows):
            total |= words[at + row * stride + k]
        target[to + k] = total


@njit
def _refuse_negative(index):
    if index < 0:
        raise IndexError("negative index")


def _pick(plain: Callable, fast: Any) -> Any:
    """The plain version where numba checks bounds."""
    return njit(plain) if getattr(config, "BOUNDSCHECK", None) else fast


count_trailing_zeros: Any = _count_trailing_zeros
count_ones: Any = _count_ones
load8 = _pick(_plain_load8, _load8)
load64 = _pick(_plain_load64, _load64)
store64 = _pick(_plain_store64, _store64)
load16 = _pick(_plain_load16, _load16)
copy16 = _pick(_plain_copy16, _copier(16))
copy32 = _pick(_plain_copy32, _copier(32))
fill32 = _pick(_plain_fill32, _fill32)
above_zero = _pick(_plain_above_zero, _above_zero)
or_rows = _pick(_plain_or_rows, _or_rows)
gather_plane = _pick(_plain_gather_plane, _gather_plane)
spread4 = _pick(_plain_spread4, _spreader(keep=False))
add4 = _pick(_plain_add4, _spreader(keep=True))

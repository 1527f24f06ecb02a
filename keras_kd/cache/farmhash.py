"""FarmHash Fingerprint64 of many byte strings of one length at once, in NumPy.

It gives the numbers of `tf.fingerprint`, so caches are the same with and without TensorFlow. The
names follow Google's code, https://github.com/google/farmhash (`farmhashna`).
"""

import numpy as np

_K0, _K1, _K2 = (
    np.uint64(0xC3A5C85C97CB3127),
    np.uint64(0xB492B66FBE98F273),
    np.uint64(0x9AE16A3B2F90404F),
)
_Pair = tuple[np.ndarray, np.ndarray]


def fingerprint64(rows: np.ndarray) -> np.ndarray:
    """Return the fingerprint of each row.

    Args:
        rows: uint8 (batch, bytes).

    Returns:
        uint64 (batch,).
    """
    with np.errstate(over="ignore"):  # Arithmetic is modulo 2^64.
        length = rows.shape[1]
        if length > 64:
            return _hash_long(rows)
        if length > 32:
            return _hash_33_to_64(rows)
        return _hash_17_to_32(rows) if length > 16 else _hash_0_to_16(rows)


def _hash_0_to_16(s: np.ndarray) -> np.ndarray:
    length = s.shape[1]
    mul = _K2 + _u64(2 * length)
    if length >= 8:
        a, b = _fetch(s, 0) + _K2, _fetch(s, length - 8)
        c, d = _rotate(b, 37) * mul + a, (_rotate(a, 25) + b) * mul
        return _hash_16(c, d, mul)
    if length >= 4:
        a, b = _fetch(s, 0, 4), _fetch(s, length - 4, 4)
        return _hash_16(_u64(length) + (a << _u64(3)), b, mul)
    if length == 0:
        return np.full(len(s), _K2)
    a, b, c = (s[:, i].astype("uint64") for i in (0, length >> 1, length - 1))
    y, z = a + (b << _u64(8)), _u64(length) + (c << _u64(2))
    return _shift_mix(y * _K2 ^ z * _K0) * _K2


def _hash_17_to_32(s: np.ndarray) -> np.ndarray:
    length = s.shape[1]
    mul = _K2 + _u64(2 * length)
    a, b = _fetch(s, 0) * _K1, _fetch(s, 8)
    c, d = _fetch(s, length - 8) * mul, _fetch(s, length - 16) * _K2
    u = _rotate(a + b, 43) + _rotate(c, 30) + d
    return _hash_16(u, a + _rotate(b + _K2, 18) + c, mul)


def _hash_33_to_64(s: np.ndarray) -> np.ndarray:
    length = s.shape[1]
    mul = _K2 + _u64(2 * length)
    a, b = _fetch(s, 0) * _K2, _fetch(s, 8)
    c, d = _fetch(s, length - 8) * mul, _fetch(s, length - 16) * _K2
    y = _rotate(a + b, 43) + _rotate(c, 30) + d
    z = _hash_16(y, a + _rotate(b + _K2, 18) + c, mul)
    e, f = _fetch(s, 16) * mul, _fetch(s, 24)
    g, h = (y + _fetch(s, length - 32)) * mul, (z + _fetch(s, length - 24)) * mul
    u = _rotate(e + f, 43) + _rotate(g, 30) + h
    return _hash_16(u, e + _rotate(f + a, 18) + g, mul)


def _hash_long(s: np.ndarray) -> np.ndarray:
    length, zeros = s.shape[1], np.zeros(len(s), "uint64")
    y = zeros + _u64(81) * _K1 + _u64(113)
    z = _shift_mix(y * _K2 + _u64(113)) * _K2
    v, w = (zeros, zeros), (zeros, zeros)
    x = _u64(81) * _K2 + _fetch(s, 0)
    one, nine = _u64(1), _u64(9)
    for at in range(0, (length - 1) // 64 * 64, 64):
        x, y, z, v, w = _round(s, at, (x, y, z), v, w, (_K1, one))
    mul = _K1 + ((z & _u64(0xFF)) << one)
    w = (w[0] + _u64((length - 1) & 63), w[1])
    v = (v[0] + w[0], v[1])
    w = (w[0] + v[0], w[1])
    x, y, z, v, w = _round(s, length - 64, (x, y, z), v, w, (mul, nine))
    first = _hash_16(v[0], w[0], mul) + _shift_mix(y) * _K0 + z
    return _hash_16(first, _hash_16(v[1], w[1], mul) + x, mul)


def _round(
    s: np.ndarray, at: int, state: tuple, v: _Pair, w: _Pair, factors: tuple
) -> tuple[np.ndarray, np.ndarray, np.ndarray, _Pair, _Pair]:
    """Mix 64 bytes into the state; z and x change places."""
    (x, y, z), (mul, nine) = state, factors
    x = _rotate(x + y + v[0] + _fetch(s, at + 8), 37) * mul
    y = _rotate(y + v[1] + _fetch(s, at + 48), 42) * mul
    x = x ^ (w[1] * nine)
    y = y + v[0] * nine + _fetch(s, at + 40)
    z = _rotate(z + w[0], 33) * mul
    v = _weak_hash_32(s, at, v[1] * mul, x + w[0])
    w = _weak_hash_32(s, at + 32, z + w[1], y + _fetch(s, at + 16))
    return z, y, x, v, w


def _weak_hash_32(s: np.ndarray, at: int, a: np.ndarray, b: np.ndarray) -> _Pair:
    w, x, y, z = (_fetch(s, at + 8 * i) for i in range(4))
    a = a + w
    b = _rotate(b + a + z, 21)
    c = a
    a = a + x + y
    b = b + _rotate(a, 44)
    return a + z, b + c


def _hash_16(u: np.ndarray, v: np.ndarray, mul: np.ndarray) -> np.ndarray:
    a = _shift_mix((u ^ v) * mul)
    return _shift_mix((v ^ a) * mul) * mul


def _shift_mix(value: np.ndarray) -> np.ndarray:
    return value ^ (value >> _u64(47))


def _rotate(value: np.ndarray, shift: int) -> np.ndarray:
    return (value >> _u64(shift)) | (value << _u64(64 - shift))


def _fetch(s: np.ndarray, at: int, size: int = 8) -> np.ndarray:
    """Return little-endian integers of some bytes of each row."""
    part = np.ascontiguousarray(s[:, at : at + size])
    return part.view(f"<u{size}")[:, 0].astype("uint64")


def _u64(value: int) -> np.uint64:
    return np.uint64(value)

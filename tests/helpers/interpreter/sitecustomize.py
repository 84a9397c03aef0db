"""Triton's interpreter without work that it does again for every call and every value.

Each call of a function inside a kernel patches the whole language, which the launch has done, and
the type of each value is made, checked and described anew. Python runs this file at its start. It
changes private parts of Triton, and only of the version in which they are known.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from types import SimpleNamespace

KNOWN = "3.9.0"


def quicken() -> None:
    """Change the interpreter of this process."""
    import triton.language as tl
    from triton.runtime import interpreter

    patch, dtype_of = interpreter._patch_lang, interpreter._get_np_dtype
    describe = tl.block_type.__init__
    # functions of the standard library see `core` alone
    whole = SimpleNamespace(__globals__={"tl": tl, "core": tl.core})
    dtypes, types = {}, {}

    def call(self, *args, **options):
        return self.rewrite()(*args, **options)

    def known_dtype(kind):
        kind = kind.scalar
        if kind.is_ptr():
            return dtype_of(kind)
        if kind not in dtypes:
            dtypes[kind] = dtype_of(kind)
        return dtypes[kind]

    def known_type(self, element_ty, shape):
        key = element_ty.name, *(getattr(size, "value", size) for size in shape)
        if key not in types:
            describe(self, element_ty, shape)
            types[key] = vars(self).copy()
        vars(self).update(types[key])

    interpreter._patch_lang = lambda function: patch(whole)
    interpreter.InterpretedFunction.__call__ = call
    interpreter._get_np_dtype = known_dtype
    tl.block_type.__init__ = known_type


if os.environ.get("TRITON_INTERPRET") == "1" and version("triton") == KNOWN:
    quicken()

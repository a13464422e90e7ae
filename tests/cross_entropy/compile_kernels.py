"""Compiles every kernel for real GPUs, which needs none: run by `test_kernel_compilation.py`.

A process of its own, because the interpreter that the other tests run in takes the kernels' place.
"""

from __future__ import annotations

from itertools import chain

from triton import compile as compile_kernel
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from lwm_loss.cross_entropy import kernels, launch

FLOATS = ("grad", "weight", "weight_sum", "highest", "loss", "corners")
# An integer argument of 1 becomes a constant, which is another type to the compiler.
ONES: tuple[tuple[str, ...], ...] = (
    ("stride_w",),  # contiguous rows
    ("classes", "stride_c"),  # channels_last, a single class
    ("h", "w", "height", "width", "corner_size", "map_size"),
)
CASES = [
    *[("*fp32", "i32", ones, False) for ones in ONES],
    ("*fp32", "i32", tuple(chain(*ONES)), True),
    ("*fp16", "i64", (), True),  # more than 2^31 scores
    ("*bf16", "i32", (), True),
]


def compile_case(
    kernel: JITFunction,
    capabilities: tuple[int, ...],
    scores: str,
    strides: str,
    ones: tuple[str, ...],
    options: bool,
) -> None:
    sizes = {"BLOCK": launch.BLOCK, "CHUNK": launch.CHUNK}
    if kernel is kernels.upsampled_backward_kernel:
        sizes["BLOCK"] = launch.SOURCE_BLOCK
    constants: dict[str, int | bool] = {}
    signature = {}
    for name in kernel.arg_names:
        if name.isupper():
            constants[name] = sizes.get(name, options)
        elif name in ones:
            constants[name] = 1
        types = dict.fromkeys(FLOATS, "*fp32")
        types |= {"logits": scores, "result": scores, "target": "*i64", "wrong": "*u8"}
        types |= {"smoothing": "fp32", "ignore_index": strides, "corner_size": strides}
        types["map_size"] = strides
        kind = types.get(name, strides if name.startswith("stride") else "i32")
        signature[name] = "constexpr" if name in constants else kind
    values = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, signature, constexprs=values)
    for capability in capabilities:
        compile_kernel(source, target=GPUTarget("cuda", capability, 32))


if __name__ == "__main__":
    for kernel in (
        kernels.forward_kernel,
        kernels.backward_kernel,
        kernels.upsampled_backward_kernel,
    ):
        for place, case in enumerate(CASES):
            # The plain case for both; the others, which differ in their types alone, in turn.
            capabilities = (80, 90) if place == 0 else ((80,), (90,))[place % 2]
            compile_case(kernel, capabilities, *case)
            print(kernel.__name__, *capabilities, *case, flush=True)

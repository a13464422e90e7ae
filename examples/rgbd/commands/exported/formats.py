"""The files that `export` writes, ONNX and a program of torch.export, and how each is run."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from examples.rgbd.commands.exported.deployed import Deployed, Inputs
from examples.rgbd.options.groups import OptionError
from examples.rgbd.reason import reason_of

Runner = Callable[[Inputs], Sequence[NDArray[Any]]]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Leave out what the exporters say about themselves; a failure is raised all the same."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logger = logging.getLogger("torch.onnx")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def _free_sizes(fixed: bool) -> dict[int, str]:
    """The dimensions of an image that are free, by name: the batch, and the sides unless fixed."""
    return {0: "batch"} if fixed else {0: "batch", 2: "height", 3: "width"}


def write_program(deployed: Deployed, example: Inputs, *, fixed: bool) -> bytes:
    """Serialise a network as a program of torch.export.

    Raises:
        OptionError: torch.export cannot trace it with free sizes.
    """
    free = dict.fromkeys(_free_sizes(fixed), torch.export.Dim.DYNAMIC)
    try:
        with torch.no_grad():
            program = torch.export.export(
                deployed, example, dynamic_shapes=(free,) * len(example), strict=False
            )
    except Exception as error:
        reason = reason_of(error)
        raise OptionError(
            f"Expected a network that torch.export can trace, but the export failed ({reason}): did "
            "you mean --fixed-size?"
        ) from error
    stream = io.BytesIO()
    torch.export.save(program, stream)
    return stream.getvalue()


def write_onnx(deployed: Deployed, example: Inputs, *, fixed: bool, opset: int) -> bytes:
    """Serialise a network as ONNX.

    Raises:
        OptionError: a package is missing, or ONNX cannot hold the network.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(package)
        except ImportError:
            raise OptionError(
                f"Expected the package {package}, but it is not installed: pip install "
                "'lwm-loss[export]', or --torch, which needs none."
            ) from None
    try:
        program = torch.onnx.export(
            deployed,
            example,
            dynamo=True,
            dynamic_shapes=(_free_sizes(fixed),) * len(example),
            input_names=deployed.input_names,
            output_names=deployed.names,
            opset_version=opset,
            verbose=False,
        )
    except Exception as error:
        reason = reason_of(error)
        raise OptionError(
            f"Expected a network that ONNX's opset {opset} can hold, but the export failed "
            f"({reason}): did you mean --fixed-size, or --torch?"
        ) from error
    if program is None:
        raise OptionError("Expected a program of ONNX, but the exporter gave none.")
    try:
        content: bytes = program.model_proto.SerializeToString()
    except Exception as error:  # its class differs from version to version of protobuf
        raise OptionError(
            "Expected a network of less than 2 GB, which is what one ONNX file holds, but writing "
            "it failed: did you mean --torch?"
        ) from error
    return content


def onnx_runner(content: bytes) -> Runner:
    """Open an ONNX file in onnxruntime, to be called with the inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda inputs: session.run(
        None, {name: each.numpy() for name, each in zip(names, inputs, strict=True)}
    )


def program_runner(content: bytes) -> Runner:
    """Load a program of torch.export, to be called with the inputs."""
    module = torch.export.load(io.BytesIO(content)).module()
    return lambda inputs: [output.detach().numpy() for output in module(*inputs)]

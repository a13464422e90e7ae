"""The command `export`: a trained network as ONNX or as a program of torch.export, and compared."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from examples.rgbd.data import IMAGENET_MEAN, IMAGENET_STD
from examples.rgbd.data.files.atomic import write_atomically
from examples.rgbd.networks import reads_depth
from examples.rgbd.networks.layers import upsample
from examples.rgbd.objectives import ARMS
from examples.rgbd.options.commands import ExportOptions
from examples.rgbd.options.groups import OptionError
from examples.rgbd.run.trained import Trained, load_trained
from lwm_loss import MultiTaskOutput

Outputs = tuple[Tensor, ...]
Runner = Callable[[Tensor], Sequence[NDArray[Any]]]
_LEAST = 64  # pixels a side: torch.export wants the coarsest of the maps to have two
_CLOSE = 1e-3  # of the scores' range; float32 in another order of operations
_SAME = 0.999  # share of pixels whose label must be the same, where two scores nearly tie


class Deployed(nn.Module):
    """A network as it is deployed: RGB in; scores or labels and, if wanted, metres out.

    Args:
        trained: the network.
        outputs: "scores" (B, C, H, W) or "labels" (B, H, W), int64.
        preprocess: images are RGB from 0 to 255; otherwise normalised as in training.
        with_depth: also the depth, (B, H, W): metres, or levels where depth was relative.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, trained: Trained, outputs: str, *, preprocess: bool = True, with_depth: bool = False
    ) -> None:
        super().__init__()
        self.network = trained.network.eval()
        self.outputs = outputs
        self.preprocess = preprocess
        self.with_depth = with_depth
        self.limits = trained.limits
        for name, values in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, 255 * torch.tensor(values)[:, None, None], persistent=False)

    @property
    def names(self) -> list[str]:
        """What the outputs are called."""
        return [self.outputs, "depth"] if self.with_depth else [self.outputs]

    def forward(self, image: Tensor) -> Outputs:
        """Labels or scores, and depth, of images (B, 3, H, W) at their own size."""
        shown = (image - self.mean) / self.std if self.preprocess else image
        output = MultiTaskOutput.of(self.network(shown))
        scores = upsample(output.logits, image.shape[-2:])
        main = scores.argmax(1) if self.outputs == "labels" else scores
        if not self.with_depth or output.log_depth is None:
            return (main,)
        near, far = self.limits
        levels = upsample(output.log_depth[:, None], image.shape[-2:])[:, 0].exp()
        return main, (near + (levels - 1) * ((far - near) / 255)).clamp(near, far)


def export(options: ExportOptions) -> None:
    """Write the file, run it, and compare it with the network before saying so."""
    trained = load_trained(options.checkpoint)
    ending = ".pt2" if options.torch else ".onnx"
    if options.output.suffix != ending:
        raise OptionError(f"Expected a file that ends in {ending}, but got {options.output}.")
    check_exportable(options, trained)
    deployed = Deployed(
        trained, options.outputs, preprocess=options.preprocess, with_depth=options.with_depth
    ).eval()
    height, width = trained.config.data.image_size
    options.output.parent.mkdir(parents=True, exist_ok=True)
    example = _images(2, height, width)
    write = _write_program if options.torch else partial(_write_onnx, opset=options.opset)
    with _quiet():
        content = write(deployed, example, dynamic=not options.fixed_size)
    sizes = sizes_to_compare(height, width, options.fixed_size)
    runner = _program_runner(content) if options.torch else _onnx_runner(content)
    worst, same = compare(deployed, runner, sizes)
    write_atomically(options.output, lambda file: file.write(content))
    kind = "torch.export" if options.torch else "onnxruntime"
    print(f"{options.output}  {len(content) / 2**20:.1f} MiB, {', '.join(deployed.names)}")
    print(f"input    image (B, 3, H, W) float32, {_describe_input(options, trained)}")
    print(
        f"compared {kind} with the network on {len(sizes)} batches of other sizes: largest "
        f"difference {worst:.2g} of the range, {same:.3%} of the labels the same"
    )


def check_exportable(options: ExportOptions, trained: Trained) -> None:
    """See that the network is one of images alone, with the outputs that are asked for.

    Raises:
        OptionError: it is not.
    """
    if reads_depth(trained.network):
        raise OptionError(
            f"Expected a network that reads images alone, but {trained.config.network.network} of "
            f"{trained.path} reads depth too, which --torch and ONNX files of this command have no "
            "input for: did you mean a network that needs depth in training only, such as refinenet?"
        )
    if options.with_depth and not ARMS[trained.config.objective.objective].depth:
        raise OptionError(
            f"Expected a run that predicts depth for --with-depth, but {trained.path} has "
            f"--objective {trained.config.objective.objective}."
        )


def sizes_to_compare(height: int, width: int, fixed: bool) -> list[tuple[int, int, int]]:
    """Batches (B, H, W) that the file is run on; the example that it was made from is another."""
    if fixed:
        return [(2, height, width)]
    less = max(height - 32, _LEAST)
    return [(1, height, width), (3, height, width), (2, less, width + 64), (1, height + 19, width)]


def _describe_input(options: ExportOptions, trained: Trained) -> str:
    height, width = trained.config.data.image_size
    values = "RGB from 0 to 255" if options.preprocess else "RGB normalised as ImageNet's"
    size = "of this size alone" if options.fixed_size else "any size with sides above 32"
    return f"{values}, {size}; trained at {height} x {width}"


def _images(count: int, height: int, width: int) -> Tensor:
    """Smooth random images, 0 to 255."""
    generator = torch.Generator().manual_seed(height * width + count)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    return 255 * upsample(coarse, (height, width)).clamp(0, 1)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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


def _dynamic_shapes(dynamic: bool) -> Any:
    dim = torch.export.Dim
    return ({0: dim.DYNAMIC, 2: dim.DYNAMIC, 3: dim.DYNAMIC},) if dynamic else None


def _write_program(deployed: Deployed, example: Tensor, *, dynamic: bool) -> bytes:
    with torch.no_grad():
        program = torch.export.export(
            deployed, (example,), dynamic_shapes=_dynamic_shapes(dynamic), strict=False
        )
    stream = io.BytesIO()
    torch.export.save(program, stream)
    return stream.getvalue()


def _write_onnx(deployed: Deployed, example: Tensor, *, dynamic: bool, opset: int) -> bytes:
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
            (example,),
            dynamo=True,
            dynamic_shapes=_dynamic_shapes(dynamic),
            input_names=["image"],
            output_names=deployed.names,
            opset_version=opset,
            verbose=False,
        )
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
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


def _onnx_runner(content: bytes) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {session.get_inputs()[0].name: images.numpy()})


def _program_runner(content: bytes) -> Runner:
    module = torch.export.load(io.BytesIO(content)).module()
    return lambda images: [output.detach().numpy() for output in module(images)]


@torch.no_grad()
def compare(
    deployed: Deployed, runner: Runner, sizes: Sequence[tuple[int, int, int]]
) -> tuple[float, float]:
    """Largest difference, as a share of the values' range, and the share of equal labels.

    Raises:
        OptionError: the file gives something else than the network.
    """
    worst, same = 0.0, 1.0
    for size in sizes:
        images = _images(*size)
        if not deployed.preprocess:
            images = (images - deployed.mean) / deployed.std
        try:
            results = runner(images)
        except Exception as error:  # of the runtime, whatever it raises
            reason = " ".join(str(error).split())[-160:]
            raise OptionError(
                f"Expected the exported network to take images of {' x '.join(map(str, size[1:]))}, "
                f"but it does not ({reason}): did you mean --fixed-size?"
            ) from error
        for name, wanted, got in zip(deployed.names, deployed(images), results, strict=True):
            expected = wanted.numpy()
            if got.shape != expected.shape:
                raise OptionError(
                    f"Expected {name} of shape {expected.shape} from the exported network, but got "
                    f"{got.shape}: did you mean --fixed-size?"
                )
            if name == "labels":
                same = min(same, float((got == expected).mean()))
                continue
            if not np.isfinite(expected).all():
                raise OptionError(
                    f"Expected finite {name} of the network, but they are not: did its training "
                    "diverge?"
                )
            spread = max(float(np.ptp(expected)), 1e-6)
            difference = float(np.abs(got - expected).max()) / spread
            worst = max(worst, difference if np.isfinite(difference) else np.inf)
            if name == "scores":
                same = min(same, float((got.argmax(1) == expected.argmax(1)).mean()))
    if worst > _CLOSE or same < _SAME:
        raise OptionError(
            "Expected the exported network to give what the network gives, but the values differ "
            f"by {worst:.2g} of their range, and {same:.3%} of the labels are the same."
        )
    return worst, same

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
from examples.rgbd.evaluation.predicted_depth import log_depth_in_metres
from examples.rgbd.networks import EFFICIENTNET_LITES, reads_depth, run_network
from examples.rgbd.networks.layers import upsample
from examples.rgbd.options.commands import ExportOptions
from examples.rgbd.options.groups import OptionError
from examples.rgbd.run.trained import Trained, load_trained
from lwm_loss import MultiTaskOutput

Outputs = tuple[Tensor, ...]
Inputs = tuple[Tensor, ...]  # the image and, for a network that reads it, depth
Runner = Callable[[Inputs], Sequence[NDArray[Any]]]
_LEAST = 64  # pixels a side: torch.export wants the coarsest of the maps to have two
_CLOSE = 1e-3  # of the scores' range; float32 in another order of operations
_SAME = 0.999  # share of pixels whose label must be the same, where two scores nearly tie


class Deployed(nn.Module):
    """A network as it is deployed: RGB and what else it reads in; scores or labels, and metres, out.

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
    def input_names(self) -> list[str]:
        """What the inputs are called."""
        return ["image", "depth"] if reads_depth(self.network) else ["image"]

    def example(self, count: int, height: int, width: int) -> Inputs:
        """Smooth random inputs: images from 0 to 255 (or normalised), depth and HHA in their units."""
        channels = {"rgb": 0, "rgbd": 1}.get(getattr(self.network, "input", "rgb"), 4)
        generator = torch.Generator().manual_seed(height * width + count)
        coarse = torch.rand(count, 3 + channels, 8, 8, generator=generator)
        values = upsample(coarse, (height, width)).clamp(0, 1)
        image = 255 * values[:, :3]
        if not self.preprocess:
            image = (image - self.mean) / self.std
        if not channels:
            return (image,)
        metres, hha = 1 + 4 * values[:, 3:4], (255 * values[:, 4:]).round()
        return image, torch.cat([metres, hha], dim=1)

    @property
    def names(self) -> list[str]:
        """What the outputs are called; no output has the name of an input, which ONNX refuses."""
        if not self.with_depth:
            return [self.outputs]
        return [self.outputs, "predicted_depth" if reads_depth(self.network) else "depth"]

    def forward(self, image: Tensor, depth: Tensor | None = None) -> Outputs:
        """Labels or scores, and depth, of images (B, 3, H, W) at their own size.

        A network that reads depth has it as a second input: (B, 1, H, W), metres, or (B, 4, H, W),
        metres and HHA.
        """
        shown = (image - self.mean) / self.std if self.preprocess else image
        output = MultiTaskOutput.of(run_network(self.network, shown, depth))
        scores = upsample(output.logits, image.shape[-2:])
        main = scores.argmax(1) if self.outputs == "labels" else scores
        if not self.with_depth or output.log_depth is None:
            return (main,)
        log_depth = upsample(output.log_depth[:, None], image.shape[-2:])[:, 0]
        return main, log_depth_in_metres(log_depth, self.limits)


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
    example = deployed.example(2, height, width)
    write = _write_program if options.torch else partial(_write_onnx, opset=options.opset)
    with _quiet():
        content = write(deployed, example, fixed=options.fixed_size)
    sizes = sizes_to_compare(height, width, options.fixed_size)
    runner = _program_runner(content) if options.torch else _onnx_runner(content)
    worst, same = compare(deployed, runner, sizes)
    write_atomically(options.output, lambda file: file.write(content))
    kind = "torch.export" if options.torch else "onnxruntime"
    print(f"{options.output}  {len(content) / 2**20:.1f} MiB, {', '.join(deployed.names)}")
    print(f"input    image (B, 3, H, W) float32, {_describe_input(options, trained)}")
    if len(example) > 1:
        what = (
            "metres" if example[1].shape[1] == 1 else "metres, disparity, height and angle of HHA"
        )
        print(f"input    depth (B, {example[1].shape[1]}, H, W) float32, {what}; 0 where missing")
    print(
        f"compared {kind} with the network on {len(sizes)} other batches: largest "
        f"difference {worst:.2g} of the range, {same:.3%} of the labels the same"
    )


def check_exportable(options: ExportOptions, trained: Trained) -> None:
    """See that the network has the outputs and takes the sizes that are asked for.

    Raises:
        OptionError: it has or does not.
    """
    if options.with_depth and not trained.predicts_depth:
        raise OptionError(
            f"Expected a run that predicts depth for --with-depth, but {trained.path} has "
            f"--objective {trained.config.objective.objective}."
        )
    backbone = trained.config.network.backbone
    if not options.fixed_size and backbone in EFFICIENTNET_LITES:
        raise OptionError(
            f"Expected --fixed-size for {backbone}, whose padding follows the parity of every size "
            "and cannot be exported for all of them in bearable time, but got free sizes."
        )
    if not options.fixed_size and trained.config.network.network == "ls_deconvnet":
        raise OptionError(
            "Expected --fixed-size for ls_deconvnet, whose maps are cropped where a size is odd and "
            "cannot be exported for all of them, but got free sizes."
        )


def sizes_to_compare(height: int, width: int, fixed: bool) -> list[tuple[int, int, int]]:
    """Batches (B, H, W) that the file is run on; the example that it was made from is another."""
    if fixed:
        return [(1, height, width), (3, height, width)]
    less = max(height - 32, _LEAST)
    return [(1, height, width), (3, height, width), (2, less, width + 64), (1, height + 19, width)]


def _describe_input(options: ExportOptions, trained: Trained) -> str:
    height, width = trained.config.data.image_size
    values = "RGB from 0 to 255" if options.preprocess else "RGB normalised as ImageNet's"
    size = "of this size alone" if options.fixed_size else "any size with sides above 32"
    return f"{values}, {size}; trained at {height} x {width}"


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


def _free_sizes(fixed: bool) -> dict[int, str]:
    """The dimensions of an image that are free, by name: the batch, and the sides unless fixed."""
    return {0: "batch"} if fixed else {0: "batch", 2: "height", 3: "width"}


def _write_program(deployed: Deployed, example: Inputs, *, fixed: bool) -> bytes:
    free = dict.fromkeys(_free_sizes(fixed), torch.export.Dim.DYNAMIC)
    with torch.no_grad():
        program = torch.export.export(
            deployed, example, dynamic_shapes=(free,) * len(example), strict=False
        )
    stream = io.BytesIO()
    torch.export.save(program, stream)
    return stream.getvalue()


def _write_onnx(deployed: Deployed, example: Inputs, *, fixed: bool, opset: int) -> bytes:
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
    names = [each.name for each in session.get_inputs()]
    return lambda inputs: session.run(
        None, {name: each.numpy() for name, each in zip(names, inputs, strict=True)}
    )


def _program_runner(content: bytes) -> Runner:
    module = torch.export.load(io.BytesIO(content)).module()
    return lambda inputs: [output.detach().numpy() for output in module(*inputs)]


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
        inputs = deployed.example(*size)
        try:
            results = runner(inputs)
        except Exception as error:  # of the runtime, whatever it raises
            reason = " ".join(str(error).split())[-160:]
            raise OptionError(
                f"Expected the exported network to take images of {' x '.join(map(str, size[1:]))}, "
                f"but it does not ({reason}): did you mean --fixed-size?"
            ) from error
        for name, wanted, got in zip(deployed.names, deployed(*inputs), results, strict=True):
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

"""The command `export`: a trained network as ONNX or as a program of torch.export, and compared."""

from __future__ import annotations

from functools import partial

from examples.rgbd.commands.exported.comparison import compare, sizes_to_compare
from examples.rgbd.commands.exported.deployed import Deployed
from examples.rgbd.commands.exported.formats import (
    onnx_runner,
    program_runner,
    quiet,
    write_onnx,
    write_program,
)
from examples.rgbd.data.files.atomic import write_atomically
from examples.rgbd.networks import EFFICIENTNET_LITES
from examples.rgbd.options.commands import ExportOptions
from examples.rgbd.options.groups import OptionError
from examples.rgbd.run.trained import Trained, load_trained


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
    write = write_program if options.torch else partial(write_onnx, opset=options.opset)
    with quiet():
        content = write(deployed, example, fixed=options.fixed_size)
    sizes = sizes_to_compare(height, width, options.fixed_size)
    runner = program_runner(content) if options.torch else onnx_runner(content)
    found = compare(deployed, runner, sizes)
    write_atomically(options.output, lambda file: file.write(content))
    kind = "torch.export" if options.torch else "onnxruntime"
    print(f"{options.output}  {len(content) / 2**20:.1f} MiB, {', '.join(deployed.names)}")
    print(f"input    image (B, 3, H, W) float32, {_describe_input(options, trained)}")
    if len(example) > 1:
        what = (
            "metres" if example[1].shape[1] == 1 else "metres, disparity, height and angle of HHA"
        )
        print(f"input    depth (B, {example[1].shape[1]}, H, W) float32, {what}; 0 where missing")
    rounding = f" (float32 against float64: {found.rounding:.2g})" if found.rounding else ""
    print(
        f"compared {kind} with the network on {len(sizes)} other batches: largest "
        f"difference {found.difference:.2g} of the range{rounding}, {found.same:.3%} of the labels "
        "the same"
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


def _describe_input(options: ExportOptions, trained: Trained) -> str:
    height, width = trained.config.data.image_size
    values = "RGB from 0 to 255" if options.preprocess else "RGB normalised as ImageNet's"
    size = "of this size alone" if options.fixed_size else "any size with sides above 32"
    return f"{values}, {size}; trained at {height} x {width}"

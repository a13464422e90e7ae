"""Deploy a network of your own: colour in, scores out, `python -m examples.recipes.deploy`.

Three traps. Depth and side outputs are for training: leave them out of what is exported, and the
exporter drops the layers that lead to them alone. Cameras have other sizes than training had: say which
sizes vary. A file that was written is not a file that is right: run it, and compare.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor, nn

from examples.recipes.small import SmallNetwork


class RGBOnly(nn.Module):
    """What is deployed: the network, its preprocessing, and the scores alone."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", 255 * torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.register_buffer("std", 255 * torch.tensor([0.229, 0.224, 0.225])[:, None, None])

    def forward(self, image: Tensor) -> Tensor:
        """Scores (B, C, H, W) of RGB from 0 to 255, (B, 3, H, W)."""
        logits: Tensor = self.network((image - self.mean) / self.std).logits
        return logits


def export_program(network: nn.Module, image: Tensor) -> torch.export.ExportedProgram:
    """Export for torch: any batch, any height, any width."""
    dim = torch.export.Dim
    sizes = {0: dim.DYNAMIC, 2: dim.DYNAMIC, 3: dim.DYNAMIC}
    with torch.no_grad():
        return torch.export.export(network, (image,), dynamic_shapes=(sizes,))


def as_onnx(program: torch.export.ExportedProgram) -> bytes:
    """Translate the program to ONNX (extra `export`)."""
    model = torch.onnx.export(
        program, dynamo=True, input_names=["image"], output_names=["scores"], verbose=False
    )
    assert model is not None
    content: bytes = model.model_proto.SerializeToString()
    return content


def largest_difference(content: bytes, network: nn.Module, image: Tensor) -> float:
    """Run the ONNX model by onnxruntime, and compare it with the network."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        return float(np.abs(scores - network(image).numpy()).max())


def main() -> None:
    """Export, run and compare."""
    torch.manual_seed(0)
    deployed = RGBOnly(SmallNetwork()).eval()
    program = export_program(deployed, 255 * torch.rand(2, 3, 32, 48))
    torch.export.save(program, io.BytesIO())  # or a path: net.pt2
    other = 255 * torch.rand(1, 3, 40, 64)
    with torch.no_grad():
        difference = float((program.module()(other) - deployed(other)).abs().max())
    print(f"torch.export: largest difference {difference:.1e}")
    content = as_onnx(program)  # Path("net.onnx").write_bytes(content)
    print(f"ONNX, {len(content)} bytes: {largest_difference(content, deployed, other):.1e}")


if __name__ == "__main__":
    main()

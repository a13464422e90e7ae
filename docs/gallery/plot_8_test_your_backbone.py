"""
Test your backbone
==================

A network with a common fault, and what the test kit says about it.
"""

import torch
from torch import nn
from torch.nn import functional as F

from lwm_loss import MultiTaskOutput
from lwm_loss.testing import ContractError, checks


class Leaky(nn.Module):
    """Normalises an image by the batch that it came in: the fault."""

    def __init__(self, num_classes=5):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        self.head = nn.Conv2d(8, num_classes + 1, 1)

    def forward(self, image):
        image = image - image.mean()  # should be image.mean((1, 2, 3), keepdim=True)
        output = F.interpolate(self.head(self.body(image)), image.shape[2:], mode="bilinear")
        return MultiTaskOutput(output[:, 1:], output[:, 0])


# %%
# ``check_backbone(network, num_classes=5)`` runs every check and prints a table. To keep this page
# quick, here are three of them by themselves.

torch.manual_seed(0)
network = Leaky()
for check in (
    checks.check_output_shapes,
    checks.check_depth_not_needed_at_test_time,
    checks.check_sample_alone_equals_sample_in_batch,
):
    try:
        check(network, num_classes=5, image_size=(24, 32))
        print(f"passed  {check.__name__}")
    except ContractError as error:
        print(f"FAILED  {check.__name__}\n\n{error}\n")

# %%
# The message holds the finding, the usual cause, and code that shows the fault by itself.
# How to test your own network in pytest: :doc:`/testing_your_backbone`.

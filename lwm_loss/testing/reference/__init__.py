"""Equations 1 to 9 of the paper, one pixel at a time.

The oracle of the tests, written to be read beside the paper: plain Python loops over images and
pixels, float64 throughout, numpy and `math` only. It shares no code with the library and is as slow
as it is plain. Names and order follow the equations.

Shapes: logits ``(B, C, *S)``, target ``(B, *S)``, depth ``(B, *S)`` or ``(B, 1, *S)``, where ``S``
is ``(H, W)`` or ``(D, H, W)``. Target depth is missing where it is not finite or not positive.
"""

# The pages of the documentation are in the order of these imports, which is that of the paper.
# isort: skip_file
# ruff: noqa: F403

from .pixel_sets import *
from .segmentation_loss import *
from .depth_error import *
from .segmentation_error import *
from .weighting import *
from .objective import *
from .rivals import *

__all__ = [
    name
    for name, value in globals().items()
    if getattr(value, "__module__", "").startswith(f"{__name__}.")
]

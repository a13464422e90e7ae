"""The library as pure functions. Each is defined in the same file as its Module form."""

from .curriculum import curriculum_threshold
from .depth_edges import depth_edges
from .depth_error import depth_prediction_error, log_depth_mse_loss, rescale_depth
from .fusion import fuse
from .label_boundaries import label_boundaries
from .regions import depth_aware_regions
from .segmentation_error import depth_aware_segmentation_error

__all__ = [
    "curriculum_threshold",
    "depth_aware_regions",
    "depth_aware_segmentation_error",
    "depth_edges",
    "depth_prediction_error",
    "fuse",
    "label_boundaries",
    "log_depth_mse_loss",
    "rescale_depth",
]

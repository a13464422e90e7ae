"""Hard pixel mining for depth-privileged semantic segmentation.

Depth that exists only at training time finds the pixels that a segmentation network finds hard,
and weights its loss by them (Gu, Niu, Zhao, Zhang, arXiv 1906.11437).
"""

from . import functional
from .curriculum import SelfPacedCurriculum
from .depth_edges import DepthEdgeWeighting
from .depth_error import DepthPredictionError, LogDepthMSELoss
from .fusion import Fusion
from .hard_pixel_loss import HardPixelLoss
from .label_boundaries import LabelBoundaryWeighting
from .normalizers import Normalizers, global_normalizers
from .objective import HardPixelMiningLoss, LossTerms
from .output import MultiTaskOutput
from .rivals import FocalWeighting, LossMaxPoolingWeighting, OHEMWeighting
from .segmentation_error import DepthAwareSegmentationError
from .validation import BatchReport, DepthWarning, validate
from .weighting import LossWeightModule, Weighting, WeightMaps

__version__ = "0.1.0"

__all__ = [
    "BatchReport",
    "DepthAwareSegmentationError",
    "DepthEdgeWeighting",
    "DepthPredictionError",
    "DepthWarning",
    "FocalWeighting",
    "Fusion",
    "HardPixelLoss",
    "HardPixelMiningLoss",
    "LabelBoundaryWeighting",
    "LogDepthMSELoss",
    "LossMaxPoolingWeighting",
    "LossTerms",
    "LossWeightModule",
    "MultiTaskOutput",
    "Normalizers",
    "OHEMWeighting",
    "SelfPacedCurriculum",
    "WeightMaps",
    "Weighting",
    "functional",
    "global_normalizers",
    "validate",
]

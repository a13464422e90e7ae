"""What the pages of the reference add to a docstring: the paper's equation, and what to see also."""

from __future__ import annotations

L_S = r"L_s = -\frac{1}{n} \sum_{i \in V_y} \log p_i(S^*_i)"
L_D = r"L_d = \frac{1}{n} \sum_{i \in V_d} (\log D_i - \log D^*_i)^2"
R = r"R_i = \frac{|\log D_i - \log D^*_i|}{\max_j |\log D_j - \log D^*_j|}"
B_T = r"B_t = \{ i : \lfloor (D^*_i - lo) / d \rfloor = t \}"
Z = r"Z_i = \frac{1}{|P_k \cap B_t|} \sum_{j \in P_k \cap B_t} \Delta_j, \quad i \in P_k \cap B_t"
M = r"M = F(R, Z)"
L_H = r"L_h = \frac{1}{n} \sum_{i \in V_y} M_i \, L(S_i, S^*_i)"
L_HPM = r"L_{HPM} = L_s + L_d + \alpha L_h + \beta \sum_k L_{h_k}"
ETA = r"\eta_e = u_1 + \frac{e}{E} (u_2 - u_1)"
KEPT = r"\delta(M_i < \eta_e) \, M_i"
LEVELS = r"D^* = lo + (hi - lo) \, \frac{depth - near}{far - near}"

REFERENCE = "lwm_loss.testing.reference"

EQUATIONS: dict[str, tuple[str, str]] = {
    "lwm_loss.LogDepthMSELoss": ("Eq. 2", L_D),
    "lwm_loss.DepthPredictionError": ("section III-B1", R),
    "lwm_loss.DepthAwareSegmentationError": ("Eq. 3", Z),
    "lwm_loss.Fusion": ("section III-B3", M),
    "lwm_loss.functional.fuse": ("section III-B3", M),
    "lwm_loss.functional.rescale_depth": ("section III-A", LEVELS),
    "lwm_loss.LossWeightModule": ("Fig. 4, section III-B", f"{M}, \\quad {R}, \\quad {Z}"),
    "lwm_loss.OHEMWeighting": ("Table IV", r"M_i = \delta(p_i(S^*_i) < t)"),
    f"{REFERENCE}.rescale_depth": ("section III-A", LEVELS),
    f"{REFERENCE}.cross_entropy": ("Eq. 1", L_S),
    f"{REFERENCE}.log_depth_mse": ("Eq. 2", L_D),
    f"{REFERENCE}.depth_prediction_error": ("section III-B1", R),
    f"{REFERENCE}.depth_aware_regions": ("section III-B2", B_T),
    f"{REFERENCE}.depth_aware_segmentation_error": ("Eq. 3", Z),
    f"{REFERENCE}.fuse": ("section III-B3", M),
    f"{REFERENCE}.loss_weight": ("Fig. 4", M),
    f"{REFERENCE}.weighted_loss": ("Eq. 4", L_H),
    f"{REFERENCE}.total_loss": ("Eqs. 5 and 9", L_HPM),
    f"{REFERENCE}.curriculum_threshold": ("Eq. 8", ETA),
    f"{REFERENCE}.curriculum_filter": ("Eq. 8", KEPT),
}
"""Of objects whose docstring does not show it: where the paper has the equation, and the equation."""

SEE_ALSO: dict[str, str] = {
    "lwm_loss.HardPixelLoss": "HardPixelMiningLoss LossWeightModule SelfPacedCurriculum"
    " reference.weighted_loss /wrapping /coming_from",
    "lwm_loss.HardPixelMiningLoss": "HardPixelLoss LossTerms LossWeightModule SelfPacedCurriculum"
    " global_normalizers reference.total_loss /quickstart",
    "lwm_loss.LossTerms": "HardPixelMiningLoss /recipes",
    "lwm_loss.LogDepthMSELoss": "functional.log_depth_mse_loss reference.log_depth_mse",
    "lwm_loss.MultiTaskOutput": "HardPixelMiningLoss /testing_your_backbone",
    "lwm_loss.Weighting": "LossWeightModule HardPixelLoss /coming_from",
    "lwm_loss.LossWeightModule": "HardPixelLoss WeightMaps functional.depth_prediction_error"
    " functional.depth_aware_segmentation_error functional.fuse plotting.plot_weight_maps"
    " reference.loss_weight /auto_gallery/plot_1_weight_maps /auto_gallery/plot_3_options",
    "lwm_loss.WeightMaps": "LossWeightModule plotting.plot_weight_maps",
    "lwm_loss.SelfPacedCurriculum": "functional.curriculum_threshold reference.curriculum_filter"
    " /api/integrations /auto_gallery/plot_2_curriculum",
    "lwm_loss.OHEMWeighting": "FocalWeighting LossMaxPoolingWeighting reference.ohem_weight"
    " /coming_from",
    "lwm_loss.FocalWeighting": "OHEMWeighting LossMaxPoolingWeighting reference.focal_weight"
    " /coming_from",
    "lwm_loss.LossMaxPoolingWeighting": "OHEMWeighting FocalWeighting"
    " reference.loss_max_pooling_weight /coming_from",
    "lwm_loss.DepthEdgeWeighting": "functional.depth_edges LabelBoundaryWeighting HardPixelLoss"
    " /study",
    "lwm_loss.LabelBoundaryWeighting": "functional.label_boundaries DepthEdgeWeighting"
    " OHEMWeighting HardPixelLoss /study",
    "lwm_loss.functional.depth_edges": "DepthEdgeWeighting functional.rescale_depth",
    "lwm_loss.functional.label_boundaries": "LabelBoundaryWeighting functional.depth_edges",
    "lwm_loss.DepthPredictionError": "functional.depth_prediction_error LossWeightModule"
    " reference.depth_prediction_error",
    "lwm_loss.DepthAwareSegmentationError": "functional.depth_aware_segmentation_error"
    " LossWeightModule reference.depth_aware_segmentation_error",
    "lwm_loss.Fusion": "functional.fuse LossWeightModule reference.fuse",
    "lwm_loss.validate": "BatchReport DepthWarning functional.rescale_depth /quickstart",
    "lwm_loss.BatchReport": "validate DepthWarning",
    "lwm_loss.DepthWarning": "validate BatchReport functional.rescale_depth",
    "lwm_loss.global_normalizers": "Normalizers HardPixelMiningLoss /recipes",
    "lwm_loss.Normalizers": "global_normalizers HardPixelMiningLoss",
    "lwm_loss.functional.rescale_depth": "validate functional.log_depth_mse_loss"
    " reference.rescale_depth",
    "lwm_loss.functional.log_depth_mse_loss": "LogDepthMSELoss functional.rescale_depth"
    " reference.log_depth_mse",
    "lwm_loss.functional.depth_prediction_error": "DepthPredictionError LossWeightModule"
    " reference.depth_prediction_error",
    "lwm_loss.functional.depth_aware_regions": "functional.depth_aware_segmentation_error"
    " reference.depth_aware_regions",
    "lwm_loss.functional.depth_aware_segmentation_error": "DepthAwareSegmentationError"
    " functional.depth_aware_regions LossWeightModule reference.depth_aware_segmentation_error",
    "lwm_loss.functional.fuse": "Fusion LossWeightModule reference.fuse",
    "lwm_loss.functional.curriculum_threshold": "SelfPacedCurriculum"
    " reference.curriculum_threshold",
    "lwm_loss.analysis.segmentation_error_by_depth_gap": "analysis.BinnedErrors"
    " functional.depth_prediction_error /when",
    "lwm_loss.analysis.BinnedErrors": "analysis.segmentation_error_by_depth_gap",
    "lwm_loss.plotting.plot_weight_maps": "LossWeightModule WeightMaps"
    " /auto_gallery/plot_1_weight_maps",
    "lwm_loss.testing.check_backbone": "testing.check_loss testing.parametrize_with_checks"
    " testing.Report /testing_your_backbone",
    "lwm_loss.testing.check_loss": "testing.check_backbone testing.parametrize_with_checks"
    " testing.Report /testing_your_backbone",
    "lwm_loss.testing.parametrize_with_checks": "testing.check_backbone testing.check_loss",
    "lwm_loss.testing.Report": "testing.CheckResult testing.check_backbone testing.check_loss",
    "lwm_loss.testing.CheckResult": "testing.Report",
    "lwm_loss.testing.CheckSkipped": "testing.ContractError testing.CheckResult",
    "lwm_loss.testing.ContractError": "testing.CheckSkipped testing.check_backbone",
    "lwm_loss.testing.Resized": "testing.check_backbone",
    "lwm_loss.testing.mining_loss": "testing.check_backbone",
    "lwm_loss.testing.warm_up": "testing.check_backbone",
}
"""Of each public object: names below ``lwm_loss`` (``reference.`` is the oracle), and pages."""


def equation_of(name: str) -> list[str]:
    """The equation of an object as markup, or nothing."""
    if name not in EQUATIONS:
        return []
    place, formula = EQUATIONS[name]
    return ["", f"In the paper, {place}:", "", f".. math:: {formula}", ""]


def see_also(name: str) -> list[str]:
    """What to see beside an object, as markup, or nothing."""
    targets = SEE_ALSO.get(name, "").split()
    if not targets:
        return []
    links = [
        f":doc:`{target}`"
        if target.startswith("/")
        else f":py:obj:`~lwm_loss.{target.replace('reference.', 'testing.reference.')}`"
        for target in targets
    ]
    return ["", ".. seealso::", "", f"   {', '.join(links)}", ""]

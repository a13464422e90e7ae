"""Every check by itself.

A check of a backbone is called as ``check(model, num_classes, image_size)``, a check of a loss as
``check(criterion, num_classes)``. It returns None if the contract in its first line holds, raises
:class:`~lwm_loss.testing.ContractError` if it does not, and
:class:`~lwm_loss.testing.CheckSkipped` if it does not apply.
"""

from .copies import (
    check_deep_copy,
    check_pickle,
    check_state_dict_round_trip,
)
from .curriculum import (
    check_curriculum_kept_share_grows,
    check_curriculum_masked_pixels_do_not_count,
    check_curriculum_state_dict,
)
from .deployment import (
    check_bfloat16_autocast,
    check_torch_compile,
)
from .evaluation import (
    check_depth_not_needed_at_test_time,
    check_eval_is_deterministic,
    check_eval_keeps_running_statistics,
    check_no_state_between_calls,
    check_sample_alone_equals_sample_in_batch,
)
from .gradients import (
    check_every_parameter_receives_a_gradient,
    check_finite_gradients,
    check_outputs_carry_gradient,
)
from .learning import check_learns_one_batch
from .loss_deployment import (
    check_loss_torch_compile,
    check_low_precision,
)
from .loss_direction import (
    check_hard_pixels_weigh_no_less,
    check_right_predictions_cost_less,
)
from .loss_invariances import (
    check_batch_permutation,
    check_class_permutation,
    check_images_do_not_influence_each_other,
)
from .loss_pixels import (
    check_all_ignored_is_zero,
    check_ignored_pixels_do_not_count,
    check_ignored_pixels_get_no_gradient,
    check_missing_depth_does_not_leak,
)
from .loss_process import (
    check_loss_deep_copy,
    check_loss_inputs_are_not_modified,
    check_loss_is_deterministic,
    check_loss_keeps_global_state,
)
from .loss_values import (
    check_labelled_pixels_get_a_gradient,
    check_loss_output,
    check_reductions_agree,
    check_saturated_logits_stay_finite,
)
from .outputs import (
    check_finite_outputs,
    check_logits_are_scores,
    check_output_dtypes,
    check_output_shapes,
)
from .privileged import (
    check_ignored_pixels_send_no_gradient,
    check_missing_depth_stays_local,
)
from .side_effects import (
    check_forward_keeps_global_state,
    check_forward_keeps_parameters,
    check_input_is_not_modified,
)
from .weight_map import (
    check_error_rate_is_constant_on_regions,
    check_weight_map_is_bounded,
    check_weight_map_is_detached,
    check_weight_map_is_non_negative,
    check_weight_map_matches_reference,
)

__all__ = [
    "check_all_ignored_is_zero",
    "check_batch_permutation",
    "check_bfloat16_autocast",
    "check_class_permutation",
    "check_curriculum_kept_share_grows",
    "check_curriculum_masked_pixels_do_not_count",
    "check_curriculum_state_dict",
    "check_deep_copy",
    "check_depth_not_needed_at_test_time",
    "check_error_rate_is_constant_on_regions",
    "check_eval_is_deterministic",
    "check_eval_keeps_running_statistics",
    "check_every_parameter_receives_a_gradient",
    "check_finite_gradients",
    "check_finite_outputs",
    "check_forward_keeps_global_state",
    "check_forward_keeps_parameters",
    "check_hard_pixels_weigh_no_less",
    "check_ignored_pixels_do_not_count",
    "check_ignored_pixels_get_no_gradient",
    "check_ignored_pixels_send_no_gradient",
    "check_images_do_not_influence_each_other",
    "check_input_is_not_modified",
    "check_labelled_pixels_get_a_gradient",
    "check_learns_one_batch",
    "check_logits_are_scores",
    "check_loss_deep_copy",
    "check_loss_inputs_are_not_modified",
    "check_loss_is_deterministic",
    "check_loss_keeps_global_state",
    "check_loss_output",
    "check_loss_torch_compile",
    "check_low_precision",
    "check_missing_depth_does_not_leak",
    "check_missing_depth_stays_local",
    "check_no_state_between_calls",
    "check_output_dtypes",
    "check_output_shapes",
    "check_outputs_carry_gradient",
    "check_pickle",
    "check_reductions_agree",
    "check_right_predictions_cost_less",
    "check_sample_alone_equals_sample_in_batch",
    "check_saturated_logits_stay_finite",
    "check_state_dict_round_trip",
    "check_torch_compile",
    "check_weight_map_is_bounded",
    "check_weight_map_is_detached",
    "check_weight_map_is_non_negative",
    "check_weight_map_matches_reference",
]

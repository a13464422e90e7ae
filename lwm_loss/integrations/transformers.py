"""The curriculum under the ``Trainer`` of Hugging Face's transformers."""

from __future__ import annotations

import math
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..curriculum import SelfPacedCurriculum
from . import require_curriculum

__all__ = ["CurriculumCallback"]


class CurriculumCallback(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Set the epoch of a curriculum from the trainer's own state.

    A resumed run needs nothing else: the trainer restores its epoch, also in the middle of one.

    Args:
        curriculum: the one that the loss holds.

    Raises:
        TypeError: ``curriculum`` is something else, such as the loss itself.

    Example:
        >>> from lwm_loss import SelfPacedCurriculum
        >>> from lwm_loss.integrations.transformers import CurriculumCallback
        >>> curriculum = SelfPacedCurriculum(epochs=120)
        >>> callback = CurriculumCallback(curriculum)      # Trainer(..., callbacks=[callback])
    """

    def __init__(self, curriculum: SelfPacedCurriculum) -> None:
        self.curriculum = require_curriculum(curriculum)

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        # Before every step, since a run that is resumed within an epoch announces none. The share of
        # an epoch is a quotient of whole numbers, whose last step may round to just below 1.
        epoch = math.floor((state.epoch or 0.0) + 1e-6)
        self.curriculum.set_epoch(epoch)

"""The curriculum under the ``Trainer`` of Lightning (``lightning`` or ``pytorch_lightning``)."""

from __future__ import annotations

from typing import Any

try:
    from lightning.pytorch import Callback
except ImportError:
    from pytorch_lightning import Callback

from ..curriculum import SelfPacedCurriculum
from . import require_curriculum

__all__ = ["CurriculumCallback"]


class CurriculumCallback(Callback):  # type: ignore[misc, unused-ignore]
    """Set the epoch of a curriculum from the trainer's own epoch, which a resumed run restores.

    Args:
        curriculum: the one that the loss holds.

    Raises:
        TypeError: ``curriculum`` is something else, such as the loss itself.
    """

    def __init__(self, curriculum: SelfPacedCurriculum) -> None:
        super().__init__()
        self.curriculum = require_curriculum(curriculum)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.curriculum.set_epoch(trainer.current_epoch)

"""Callbacks that set the curriculum from a trainer's state."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lwm_loss as lwm


class Net(nn.Module):
    """One number to learn; it notes at which epoch of the curriculum it was called."""

    def __init__(self, curriculum: lwm.SelfPacedCurriculum) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.curriculum = curriculum
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, Any]:
        self.seen.append(int(self.curriculum.epoch))
        return {"loss": (self.scale * x).square().mean()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_transformers_run_that_is_stopped_and_resumed(tmp_path: Path, accumulation: int) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from lwm_loss.integrations.transformers import CurriculumCallback

    class Stop(transformers.TrainerCallback):  # type: ignore[misc, name-defined]
        def __init__(self, at: int) -> None:
            self.at = at

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == self.at:
                control.should_training_stop = control.should_save = True

    data = [{"x": torch.tensor([float(i)]), "labels": torch.tensor(0)} for i in range(6)]

    def trainer(*callbacks: Any) -> Any:
        curriculum = lwm.SelfPacedCurriculum(4)
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path),
            num_train_epochs=3,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=accumulation,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        return transformers.Trainer(
            model=Net(curriculum),
            args=arguments,
            train_dataset=data,
            callbacks=[CurriculumCallback(curriculum), *callbacks],
        )

    whole = trainer()
    whole.train()
    assert whole.model.seen == [0] * 6 + [1] * 6 + [2] * 6
    steps_an_epoch = 6 // accumulation
    stopped = trainer(Stop(steps_an_epoch + 1))  # within the second epoch
    stopped.train()
    resumed = trainer()
    resumed.model.curriculum.set_epoch(9)  # whatever it was before
    resumed.train(resume_from_checkpoint=True)
    assert stopped.model.seen + resumed.model.seen == whole.model.seen


def test_a_lightning_epoch_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        import lightning.pytorch  # noqa: F401
    except ImportError:  # its base class alone, which does nothing
        stand_in = types.ModuleType("pytorch_lightning")
        stand_in.Callback = type("Callback", (), {})  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "pytorch_lightning", stand_in)
    monkeypatch.delitem(sys.modules, "lwm_loss.integrations.lightning", raising=False)
    from lwm_loss.integrations.lightning import CurriculumCallback

    curriculum = lwm.SelfPacedCurriculum(4)
    CurriculumCallback(curriculum).on_train_epoch_start(
        types.SimpleNamespace(current_epoch=3), None
    )
    assert int(curriculum.epoch) == 3
    monkeypatch.delitem(sys.modules, "lwm_loss.integrations.lightning")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_lightning_run_that_is_resumed(tmp_path: Path) -> None:
    pl = pytest.importorskip("lightning.pytorch", reason="lightning is not installed")
    from lwm_loss.integrations.lightning import CurriculumCallback

    class Module(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.curriculum = lwm.SelfPacedCurriculum(4)
            self.net = Net(self.curriculum)

        def training_step(self, batch: Any, index: int) -> Any:
            return self.net(batch)["loss"]

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    def run(epochs: int, resume: str | None = None) -> Module:
        module = Module()
        trainer = pl.Trainer(
            max_epochs=epochs,
            default_root_dir=tmp_path,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            callbacks=[CurriculumCallback(module.curriculum)],
        )
        trainer.fit(module, torch.utils.data.DataLoader(torch.ones(3, 1)), ckpt_path=resume)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return module

    run(1)
    assert run(3, str(tmp_path / "last.ckpt")).net.seen == [1] * 3 + [2] * 3


@pytest.mark.parametrize("framework", ["transformers", "lightning"])
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "got int 3"),
        (None, "got NoneType"),
        (lwm.SelfPacedCurriculum, "did you mean SelfPacedCurriculum(...)?"),
        (
            lwm.HardPixelMiningLoss(num_sides=0, curriculum=lwm.SelfPacedCurriculum(4)),
            "got HardPixelMiningLoss: did you mean its `curriculum`?",
        ),
        (nn.Identity(), "got Identity."),
    ],
)
def test_a_callback_refuses_what_has_no_epoch_when_it_is_built(
    framework: str, value: Any, said: str
) -> None:
    modules = {"transformers": ["transformers"], "lightning": ["lightning", "pytorch_lightning"]}
    if not any(importlib.util.find_spec(module) for module in modules[framework]):
        pytest.skip(f"{framework} is not installed")
    callbacks = importlib.import_module(f"lwm_loss.integrations.{framework}")
    with pytest.raises(TypeError) as caught:
        callbacks.CurriculumCallback(value)
    assert str(caught.value).startswith(
        "Expected `curriculum` to be a SelfPacedCurriculum, but got"
    )
    assert str(caught.value).endswith(said if said[-1] in ".?" else f"{said}.")


@pytest.mark.slow
def test_the_library_imports_no_framework() -> None:
    import subprocess

    code = (
        "import sys, lwm_loss, lwm_loss.integrations\n"
        "assert not {'transformers', 'lightning', 'pytorch_lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""Fig. 8: what is found hard, and what the curriculum keeps of it."""

from __future__ import annotations

from typing import Any

from examples.analysis.frames import load_with_depth, open_source
from examples.analysis.options import Maps
from examples.rgbd.options.groups import OptionError
from examples.rgbd.report.panels import draw_curriculum, draw_panels
from examples.rgbd.run.accelerator import pick_device


def maps(options: Maps) -> None:
    """Fig. 8: panels of R, Z and M, and strips of what the curriculum keeps."""
    trained = load_with_depth(options.checkpoint)
    run = trained.config
    length = run.objective.curriculum_epochs or run.optimisation.epochs
    epochs = options.epochs or tuple(sorted({length * part // 4 for part in (1, 2, 3, 4)}))
    if max(epochs) > length:
        raise OptionError(
            f"Expected --epochs of the curriculum, which has {length}, but got {max(epochs)}."
        )
    if min(epochs) < 0 or options.count < 1:
        raise OptionError(
            f"Expected --epochs of at least 0 and --count of at least 1, but got {epochs} and "
            f"{options.count}."
        )
    device = pick_device(options.source.device)
    trained.network.to(device)
    options.output.mkdir(parents=True, exist_ok=True)
    dataset = open_source(trained, options.source)
    shared: dict[str, Any] = {
        "count": options.count,
        "image_size": run.data.image_size,
        "limits": trained.limits,
        "objective": run.objective,
        "device": device,
    }
    caption = f"{options.source.split} split, weights of epoch {trained.epoch}"
    files = draw_panels(
        trained.network, dataset, options.output, "maps", caption,
        classes=trained.classes, palette=trained.palette, metric=trained.metric, **shared,
    )  # fmt: skip
    files += draw_curriculum(
        trained.network, dataset, options.output, caption, epochs=epochs, length=length, **shared
    )
    print("\n".join(map(str, files)))

"""The command `run`: options, frames, features, and the runs."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from examples.rgbd.data import NYUDV2, SUNRGBD, DataError, GeneratedRooms, RGBDDataset, Sample
from examples.rgbd.networks import build_encoder
from examples.rgbd.progress import progress_bar
from examples.study.arms import ARMS, BASELINE, CANDIDATES, CONTROL, GROUPS, MAIN
from examples.study.features import Material, Regions, Split, encode, frame_at, read_truth
from examples.study.options import ArmsOptions, RunOptions
from examples.study.recipe import FINETUNE, Recipe
from examples.study.runs import Results, Work, do_runs, runs_of
from examples.study.trial import Progress, Run, run_trial

QUICK_ARMS = (BASELINE, "rz", CONTROL)
_QUICK_ROOMS = {"train": 24, "test": 12}
_QUICK_SIZE = (64, 96)


def list_arms(options: ArmsOptions) -> None:
    """The command `arms`."""
    width = max(map(len, ARMS))
    for title, group in GROUPS.items():
        print(title)
        for name, arm in group.items():
            marks = "".join(
                letter if name in chosen else "-"
                for letter, chosen in (("m", MAIN), ("c", CANDIDATES))
            )
            print(f"  {name:<{width}}  {marks}  {arm.title}: {arm.source}")


@dataclass(frozen=True)
class Workshop:
    """Opens what the runs are made from and gives what does one; can be sent to a process."""

    options: RunOptions
    recipe: Recipe

    def __call__(self) -> Work:
        """Read the frames, and encode them if nobody has."""
        material = open_material(self.options, self.recipe)

        def work(run: Run, progress: Progress) -> dict[str, Any]:
            saved = None
            if self.recipe.stage == "finetune":
                saved = Results(self.options.output, self.recipe).saved(run)
            return run_trial(run, self.recipe, material, self.encoder, saved, progress)

        return work

    def encoder(self) -> nn.Module:
        """A fresh encoder."""
        return encoder_of(self.options, self.recipe)


def encoder_of(options: RunOptions, recipe: Recipe) -> nn.Module:
    """The encoder by name, with the weights that the options name; given ones have their norm folded."""
    pretrained = None if options.weights == "none" else options.weights
    try:
        # Random weights have no statistics to fold.
        return build_encoder(
            recipe.encoder, pretrained=pretrained, fold_norm=pretrained is not None
        )
    except ValueError as error:
        raise DataError(str(error)) from None


class QuickRooms(GeneratedRooms):
    """Generated rooms, each drawn once: they are read for their truth and for their features."""

    @functools.lru_cache(maxsize=sum(_QUICK_ROOMS.values()))  # noqa: B019 (there are two of them)
    def __getitem__(self, index: int) -> Sample:
        return super().__getitem__(index)


def open_datasets(options: RunOptions) -> dict[str, RGBDDataset]:
    """Training and test frames."""
    if options.quick:
        return {
            split: QuickRooms(split, number, size=_QUICK_SIZE)  # type: ignore[arg-type]
            for split, number in _QUICK_ROOMS.items()
        }
    if options.data is None:
        raise DataError(
            "Expected --data with the folder of the data set, but got none: did you mean --quick?"
        )
    spec = NYUDV2 if options.dataset == "nyudv2" else SUNRGBD
    return {"train": spec.open(options.data, "train"), "test": spec.open(options.data, "test")}


def recipe_of(options: RunOptions) -> Recipe:
    """The recipe that the options describe."""
    given = {
        name: value
        for name in ("image_size", "epochs", "learning_rate", "encoder_rate", "batch_size")
        if (value := getattr(options, name)) is not None
    }
    recipe = Recipe(
        stage=options.stage, dataset=options.dataset, encoder=options.encoder, score=options.score,
        points=options.points, **(FINETUNE if options.stage == "finetune" else {}),
    )  # fmt: skip
    if options.quick:
        recipe = dataclasses.replace(
            recipe, dataset="rooms", image_size=_QUICK_SIZE, epochs=2, width=16, batch_size=8
        )
    return dataclasses.replace(recipe, **given)


def chosen_arms(names: tuple[str, ...]) -> list[str]:
    """Names of arms; the baseline and the control come first, unless the baseline alone is named.

    A recipe is chosen by the baseline alone.

    Raises:
        DataError: an arm is unknown.
    """
    groups = {"main": MAIN, "candidates": CANDIDATES, "all": tuple(ARMS)}
    wanted = [arm for name in (names or ("main",)) for arm in groups.get(name, (name,))]
    unknown = [arm for arm in wanted if arm not in ARMS]
    if unknown:
        raise DataError(
            f"Expected arms among {', '.join([*groups, *ARMS])}, but got {', '.join(unknown)}."
        )
    if set(wanted) == {BASELINE}:
        return [BASELINE]
    return list(dict.fromkeys([BASELINE, CONTROL, *wanted]))


def open_material(options: RunOptions, recipe: Recipe) -> Material:
    """Truth and features (or images) of all frames, from the cache or made now."""
    datasets = open_datasets(options)
    train, test = datasets["train"], datasets["test"]
    height, width = size = recipe.image_size
    cache = options.cache or options.output / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    name = f"{recipe.dataset}-{len(train)}-{len(test)}-{height}x{width}"
    kept = cache / f"truth-{name}.npz"
    if kept.exists():
        with np.load(kept) as found:
            parts = {key: found[key] for key in found.files}
        splits = [Split(parts[f"{key}_label"], parts[f"{key}_depth"]) for key in ("train", "test")]
        regions = Regions(*(parts[key] for key in Regions._fields))
    else:
        *splits, regions = read_truth(train, test, size, train.depth_limits)
        parts = {
            f"{key}_{field}": value
            for key, split in zip(("train", "test"), splits)
            for field, value in split._asdict().items()
        }
        part = cache / f".truth-{name}.npz"
        np.savez(part, **parts, **regions._asdict())
        part.replace(kept)
    material = Material(train.classes, splits[0], splits[1], regions)
    if recipe.stage == "frozen":
        identity = {"frames": name, "encoder": recipe.encoder, "weights": options.weights}
        folder = cache / f"features-{name}-{recipe.encoder}"
        fine, coarse = encode(folder, lambda: encoder_of(options, recipe), datasets, size, identity)
        return dataclasses.replace(material, fine=fine, coarse=coarse)
    images = {
        key: np.stack(
            [
                frame_at(dataset, index, size).image
                for index in progress_bar(range(len(dataset)), f"{key} images", unit="frame")
            ]
        )
        for key, dataset in datasets.items()
    }
    rows = [images["train"], images["train"][:, :, ::-1], images["test"]]
    return dataclasses.replace(material, images=np.concatenate(rows))


def run(options: RunOptions) -> None:
    """The command `run`."""
    if options.quick:
        options = dataclasses.replace(
            options, seeds=min(options.seeds, 2), arms=options.arms or QUICK_ARMS, weights="none"
        )
    for name in ("seeds", "processes", "threads"):
        if getattr(options, name) < 1:
            raise DataError(f"Expected --{name} of at least 1, but got {getattr(options, name)}.")
    recipe = recipe_of(options)
    if any(side % 32 or side < 64 for side in recipe.image_size):
        raise DataError(
            "Expected --image-size with height and width of at least 64 that 32 divides, but got "
            f"{recipe.image_size}."
        )
    arms = chosen_arms(options.arms)
    runs = runs_of(arms, range(options.first_seed, options.first_seed + options.seeds))
    results = Results(options.output, recipe)
    print(
        f"{len(runs)} runs of {len(arms)} arms, {len(results.missing(runs))} to do; "
        f"{recipe.epochs} epochs, batch {recipe.batch_size}, peak rate {recipe.learning_rate:g}"
    )
    workshop = Workshop(options, recipe)
    if options.cluster != "none":
        from examples.study.cluster import submit

        submit(runs, results, workshop, options)
        return
    do_runs(runs, results, workshop, options.processes, options.threads)
    print(f"{options.output / 'results.csv'}: {len(runs)} runs")

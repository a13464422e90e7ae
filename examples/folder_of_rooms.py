"""Write generated rooms as a folder of PNG files: `python -m examples.folder_of_rooms DIR`.

For those who want to follow the page "Your own data" before they have data of their own. Images are in
`rgb/`, labels in `seg/` (0 void, 1 to 13), depth in `depth/` (16 bits, millimetres, 0 missing).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def write_rooms(
    folder: Path, number: int, *, seed: int = 0, size: tuple[int, int] = (96, 128)
) -> None:
    """Write `number` rooms below `folder`, and the names of their classes to `classes.txt`."""
    # Here and not above, so that --help does not wait for torch.
    import numpy as np
    from PIL import Image

    from examples.rgbd.data import SAMPLE_VOID, GeneratedRooms
    from examples.rgbd.data.files.units import to_sixteen_bits
    from examples.rgbd.progress import progress_bar

    rooms = GeneratedRooms("train", number, size=size, seed=seed)
    for name in ("rgb", "seg", "depth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in rooms.classes))
    for index in progress_bar(range(number), "drawing rooms", unit="room"):
        image, label, metres = rooms[index][:3]
        name = f"room{index:03}.png"
        stored = np.where(label == SAMPLE_VOID, 0, label + 1).astype(np.uint8)
        Image.fromarray(image).save(folder / "rgb" / name)
        Image.fromarray(stored).save(folder / "seg" / name)
        Image.fromarray(to_sixteen_bits(metres, 1000)).save(folder / "depth" / name)
    print(f"{number} rooms of {size[0]} x {size[1]} in {folder}: rgb/, seg/, depth/, classes.txt")


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line, and write the folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("--rooms", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    write_rooms(options.folder, options.rooms, seed=options.seed)


if __name__ == "__main__":
    main()

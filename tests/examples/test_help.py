"""Command lines are parsed before anything heavy is imported."""

from __future__ import annotations

import io
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from examples.rgbd import launch, networks
from examples.rgbd.networks import FAMILIES, NETWORKS, names
from examples.rgbd.options import backbones

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import importlib, io, sys, contextlib
for line in sys.argv[1:]:
    module, *args = line.split()
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        importlib.import_module(module).main([*args, "--help"])
    assert "usage" in said.getvalue().lower(), line
heavy = {"torch", "transformers", "accelerate", "matplotlib", "PIL", "h5py", "lwm_loss", "scipy"}
print("loaded", *sorted(heavy & set(sys.modules)))
"""


READ_WHOLE = {  # texts to copy from, which begin with their imports; most have no options
    "examples.imperfect_rooms", "examples.minimal_train", "examples.property_test_backbone",
    "examples.wrap_existing_loss", "benchmarks.defaults_that_train", "benchmarks.diagnosis",
    "benchmarks.first_gradient",
}  # fmt: skip
MORE = [
    "examples.rgbd.train --network fcn", "examples.nyudv2.train --network trl --data x",
    "examples.analysis.__main__ maps", "examples.study.__main__ run",
    "examples.study.__main__ report",
]  # fmt: skip


def commands() -> list[str]:
    """Every module that can be run, but for the recipes and what else is read whole."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in ("examples", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if 'if __name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    assert modules >= READ_WHOLE
    return sorted(name for name in modules - READ_WHOLE if not name.startswith("examples.recipes."))


def test_help_of_every_command_imports_nothing_heavy() -> None:
    names = commands()
    assert {"examples.rgbd.init", "examples.study.__main__", "benchmarks.__main__"} <= {*names}
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names, *MORE],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert said.stdout.split() == ["loaded"], said.stdout


def test_help_into_a_pipe_that_closes_ends_quietly() -> None:
    command = [sys.executable, "-m", "examples.rgbd.evaluate", "--help"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 1


def test_no_file_of_the_networks_is_called_as_one_of_their_names() -> None:
    """Which come late: the file would stand in the name's place."""
    files = {path.stem for path in (ROOT / "examples/rgbd/networks").iterdir()}
    assert not files & {*names.__all__}
    assert all(getattr(networks, name) is getattr(names, name) for name in names.__all__)
    with pytest.raises(AttributeError, match=r"'examples\.rgbd\.networks' has no"):
        networks.Nothing  # noqa: B018


def test_names_of_encoders_are_those_that_the_networks_have() -> None:
    """The command line knows them without torch: the two places have to agree."""
    for family, known in backbones.FAMILIES.items():
        assert tuple(FAMILIES[family]) == known
    bound = {
        name: (kind.families, kind.backbone) for name, kind in NETWORKS.items() if kind.families
    }
    assert dict(backbones.BOUND) == bound


def test_no_module_of_the_networks_has_the_name_of_what_they_export() -> None:
    """Once it is imported, the module would stand in the place of the function of that name."""
    modules = {module.name for module in pkgutil.iter_modules(networks.__path__)}
    assert not modules & set(names.__all__)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x --image a", "Unrecognized options: --image, a: did you mean --images?"),
        ("x --seed a", "Error parsing --seed: invalid literal for int() with base 10: 'a'."),
        ("x --preset a", "invalid choice 'a' for argument '--preset'."),
        ("x --images {0} {0}", "is a pattern not quoted, so that the shell put names"),
    ],
)
def test_a_line_that_cannot_be_read_ends_in_one_sentence(
    line: str, message: str, encoding: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Whether or not the terminal can show the frame that is drawn around it."""
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    with pytest.raises(SystemExit) as stop:
        launch.init(line.format(__file__).split())
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("error: ")
    assert said.endswith(" See python -m examples.rgbd.init --help.\n")
    assert "--- " not in said

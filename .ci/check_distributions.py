"""Build sdist and wheel, and check what they hold: `make dist`.

The wheel holds the library alone. The sdist also holds tests, documentation, examples and
benchmarks, so that whoever packages the library can run them: some tests are run from it here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SDIST = (
    "lwm_loss/py.typed",
    "tests/test_fusion.py",
    "tests/kit",
    "docs/conf.py",
    "docs/index.rst",
    "examples/wrap_existing_loss.py",
    "examples/rgbd/__init__.py",
    "benchmarks/__main__.py",
    "constraints.txt",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
)
JUNK = ("__pycache__", ".pyc", "_build", "auto_gallery", "/runs/")


def run(*command: str, cwd: Path) -> None:
    """Run a command without this checkout on the path; its failure is ours."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(command, cwd=cwd, check=True, env=environment)


def check_wheel(wheel: Path) -> None:
    """The library, typed, and nothing else."""
    names = zipfile.ZipFile(wheel).namelist()
    strangers = [n for n in names if not n.startswith(("lwm_loss/", "lwm_loss-"))]
    if "lwm_loss/py.typed" not in names or strangers:
        sys.exit(f"the wheel must hold py.typed and nothing but the library, but holds {strangers}")
    print(f"{wheel.name}: {len(names)} files")


def check_sdist(sdist: Path, folder: Path) -> None:
    """Everything that a packager needs to test and document; some of the tests pass from it."""
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    missing = [name for name in SDIST if not (unpacked / name).exists()]
    junk = [name for name in names if any(part in name for part in JUNK)]
    if missing or junk:
        sys.exit(f"the sdist lacks {missing} and holds {junk}")
    print(f"{sdist.name}: {len(names)} files")
    chosen = ("tests/test_fusion.py", "tests/test_public.py")
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen, cwd=unpacked)


def check_installed(wheel: Path, folder: Path) -> None:
    """The wheel installs and imports where nothing of the checkout is."""
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        ".",
        str(wheel),
        cwd=folder,
    )
    code = (
        "import sys; sys.path.insert(0, '.'); import lwm_loss, importlib.metadata as m; "
        "print('lwm-loss', m.version('lwm-loss'), 'from', lwm_loss.__path__[0])"
    )
    run(sys.executable, "-c", code, cwd=folder)


def main() -> None:
    """Build both in a temporary folder, and check them."""
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        for name in ("dist", "sdist", "installed"):
            (work / name).mkdir()
        run(sys.executable, "-m", "build", "-q", "--outdir", str(work / "dist"), cwd=ROOT)
        (wheel,) = (work / "dist").glob("*.whl")
        (sdist,) = (work / "dist").glob("*.tar.gz")
        check_wheel(wheel)
        check_sdist(sdist, work / "sdist")
        check_installed(wheel, work / "installed")


if __name__ == "__main__":
    main()

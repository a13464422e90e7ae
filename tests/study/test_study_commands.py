"""The command as a user has it: a quick study without data, its report, resuming, its messages."""

import json
import os
import threading

import numpy as np
import pytest

from examples.rgbd.data import DataError
from examples.study import report as report_module
from examples.study import runs as runs_module
from examples.study.__main__ import main
from examples.study.arms import BASELINE, CONTROL, MAIN
from examples.study.cluster import submit
from examples.study.commands import chosen_arms, recipe_of
from examples.study.figures import draw_depth_bins
from examples.study.options import RunOptions
from examples.study.recipe import Recipe
from examples.study.report import interval, main_rows, read_table, summary_rows
from examples.study.runs import Results, do_runs, read_rows, rows_as_csv, runs_of
from examples.study.trial import Run
from tests.study.pretended import Pretended

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:torch")


@pytest.mark.slow
def test_quick_study_is_reported_and_goes_on_after_a_kill(tmp_path, capsys):
    output = tmp_path / "study"
    command = ["run", "--quick", "--output", str(output), "--encoder", "efficientnet_lite0"]
    main(command)
    rows = read_rows(output / "results.csv")
    assert [(row["seed"], row["arm"]) for row in rows] == [
        (seed, arm) for seed in (0, 1) for arm in sorted((BASELINE, CONTROL, "rz"))
    ]
    assert all(0 <= row["miou"] <= 100 and len(row["curve"]) == 2 for row in rows)
    # A killed study lacks its last runs: they are done again, to the same bits, and no others.
    lost = output / "runs" / "rz-1.json"
    before = {path.name: path.stat().st_mtime_ns for path in output.glob("runs/*.json")}
    was = json.loads(lost.read_text())
    lost.unlink()
    main(command)
    after = {path.name: path.stat().st_mtime_ns for path in output.glob("runs/*.json")}
    assert {name for name in before if after[name] != before[name]} == {"rz-1.json"}
    now = json.loads(lost.read_text())
    for name in ("seconds", "cpu_seconds"):
        was.pop(name), now.pop(name)
    assert repr(was) == repr(now)
    main(["report", str(output)])
    said = capsys.readouterr().out
    assert "6 runs of 3 arms" in said
    assert {path.name for path in output.glob("*.png")} == {"forest.png", "curves.png", "fig6.png"}
    text = (output / "report.md").read_text()
    assert "| rz | L_s + L_d + L_h(R + Z) | +3.06 | 2 |" in text
    assert text.index("## Table II\n") < text.index("## Controls of equal mass\n")
    assert {path.stem for path in output.glob("groups/*.csv")} == {
        "table-ii",
        "controls-of-equal-mass",
    }


@pytest.mark.slow
def test_quick_study_fine_tunes(tmp_path):
    command = ["run", "--quick", "--output", str(tmp_path), "--encoder", "efficientnet_lite0"]
    command += ["--stage", "finetune", "--seeds", "1", "--arms", "rz", "--encoder-rate", "0.5"]
    main(command)
    rows = read_rows(tmp_path / "results.csv")
    assert [row["arm"] for row in rows] == ["rz", "sd", "uniform"]
    assert all(len(row["curve"]) == 2 and 0 < row["miou"] < 100 for row in rows)
    assert json.loads((tmp_path / "recipe.json").read_text())["encoder_rate"] == 0.5


def row(arm, seed, miou, **more):
    values = dict.fromkeys(report_module.MEASURES, 50.0 + seed)
    gaps = {"depth_gap_wrong": [1] * 10, "depth_gap_total": [2 + seed] * 10}
    return {"arm": arm, "seed": seed, **values, **gaps, "class_iou": [1.0, float("nan")],
            "curve": [2.0, 1.0], **more, "miou": miou}  # fmt: skip


def write(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(4):
        shared = rng.normal(0, 3)
        for arm, gain in (
            (BASELINE, 0),
            (CONTROL, 0.1),
            ("rz", -0.5),
            ("hpm", 0),
            ("hpm:alpha=10", 1),
        ):
            rows.append(row(arm, seed, 30 + shared + gain + rng.normal(0, 0.05)))
    (tmp_path / "results.csv").write_text(rows_as_csv(rows))
    return rows


@pytest.mark.slow
def test_table_is_that_of_the_csv(tmp_path):
    rows = write(tmp_path)
    main(["report", str(tmp_path), "--to", str(tmp_path / "page")])
    assert (tmp_path / "page" / "fig7.png").exists()
    table = read_table(tmp_path)
    found = {r["arm"]: r for r in summary_rows(table) if r["measure"] == "miou"}
    by_arm = {
        arm: np.array([r["miou"] for r in rows if r["arm"] == arm]) for arm in (BASELINE, "rz")
    }
    difference = by_arm["rz"] - by_arm[BASELINE]
    assert found["rz"]["vs_sd"] == pytest.approx(difference.mean(), abs=1e-4)
    # t(0.975, 3) = 3.182446
    reach = 3.182446 * difference.std(ddof=1) / 2
    assert found["rz"]["vs_sd_high"] - found["rz"]["vs_sd"] == pytest.approx(reach, abs=1e-3)
    assert found["rz"]["deviation"] > 1 > reach  # pairing takes what the seeds share
    shown = {r["arm"]: r for r in main_rows(table)}
    assert shown["rz"]["against L_s + L_d"].startswith(f"{difference.mean():+.2f} [")
    assert shown[BASELINE]["against L_s + L_d"] == ""
    assert float(shown["rz"]["p (Holm, L_s + L_d)"]) < 0.05


def test_runs_go_seed_by_seed():
    assert [run.key for run in runs_of(["sd", "cw*m"], [0, 1])] == [
        "sd-0",
        "cwxm-0",
        "sd-1",
        "cwxm-1",
    ]


@pytest.mark.slow
def test_processes_share_the_runs_and_leave_what_is_done(tmp_path):
    runs = runs_of(["sd", "rz"], range(3))
    results = Results(tmp_path, Recipe())
    results.add(runs[0], {"arm": "sd", "seed": 0, "miou": -1.0, "process": 0})
    do_runs(runs, results, Pretended(), processes=2, threads=1)
    rows = read_rows(tmp_path / "results.csv")
    assert [(row["arm"], row["seed"]) for row in rows] == [
        (arm, seed) for seed in range(3) for arm in ("rz", "sd")
    ]
    assert [row["miou"] for row in rows] == [0.0, -1.0, 10.0, 10.0, 20.0, 20.0]
    assert {0, os.getpid()}.isdisjoint(
        {row["process"] for row in rows if (row["arm"], row["seed"]) != ("sd", 0)}
    )


def test_two_jobs_that_end_together_both_have_their_row(tmp_path, monkeypatch):
    """The first one is held between its look at the folder and its writing of the table."""
    first, second = Results(tmp_path, Recipe()), Results(tmp_path, Recipe())
    looked, ended = threading.Event(), threading.Event()

    def hold(rows):
        if len(rows) == 1:
            looked.set()
            ended.wait(0.3)
        return rows_as_csv(rows)

    monkeypatch.setattr(runs_module, "rows_as_csv", hold)
    slow = threading.Thread(target=first.add, args=(Run("sd", 0), row("sd", 0, 30.0)))
    slow.start()
    assert looked.wait(10)
    second.add(Run("rz", 0), row("rz", 0, 31.0))
    ended.set()
    slow.join()
    assert [r["arm"] for r in read_rows(tmp_path / "results.csv")] == ["rz", "sd"]


SBATCH = """#!/bin/sh
cp "$1" {kept}
echo "Submitted batch job 42"
"""


def test_slurm_gets_an_array_of_the_runs_that_are_missing(tmp_path, monkeypatch, capsys):
    """A pretended sbatch keeps what it is given."""
    pytest.importorskip("submitit")
    tools = tmp_path / "bin"
    tools.mkdir()
    kept = tmp_path / "given.sh"
    for name, text in (("sbatch", SBATCH.format(kept=kept)), ("srun", "#!/bin/sh\n")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    options = RunOptions(
        tmp_path / "study", cluster="slurm", cluster_partition="gpu", cluster_minutes=30,
        processes=2, threads=3,
    )  # fmt: skip
    results = Results(options.output, Recipe())
    results.add(Run("sd", 0), row("sd", 0, 30.0))
    submit(runs_of(["sd", "rz", "r"], range(2)), results, Pretended(), options)
    assert "5 jobs of slurm" in capsys.readouterr().out
    said = kept.read_text()
    for line in ("array=0-4%2", "time=30", "partition=gpu", "cpus-per-task=3"):
        assert f"#SBATCH --{line}\n" in said


@pytest.mark.slow
def test_local_jobs_do_the_runs(tmp_path):
    pytest.importorskip("submitit")
    options = RunOptions(tmp_path / "study", cluster="local")
    results = Results(options.output, Recipe())
    submit(runs_of(["sd", "rz"], range(1)), results, Pretended(), options)
    rows = read_rows(options.output / "results.csv")
    assert [(r["arm"], r["seed"], r["miou"]) for r in rows] == [("rz", 0, 0.0), ("sd", 0, 0.0)]
    assert os.getpid() not in {r["process"] for r in rows}


def test_a_study_of_another_recipe_is_refused(tmp_path):
    Results(tmp_path, Recipe()).add(Run("sd", 0), row("sd", 0, 30.0))
    assert Results(tmp_path, Recipe()).missing([Run("sd", 0), Run("rz", 0)]) == [Run("rz", 0)]
    with pytest.raises(
        DataError,
        match=rf"those in it have epochs {Recipe().epochs}: did you mean another --output",
    ):
        Results(tmp_path, Recipe(epochs=9))


def test_two_pairs_have_no_interval_to_read():
    found = report_module.paired_difference({0: 1.0, 1: 2.0}, {0: 0.0, 1: 0.0})
    assert interval(found) == "+1.50"


def test_two_pairs_have_no_p_value_and_no_band(tmp_path):
    """They count in no correction either: that of the others is as without them."""
    rows = write(tmp_path)

    def table_of(kept):
        (tmp_path / "results.csv").write_text(rows_as_csv([row for row in rows if kept(row)]))
        return read_table(tmp_path)

    def p_values(table):
        return {row["arm"]: row["p (Holm, L_s + L_d)"] for row in main_rows(table)}

    def bands(table):
        right = draw_depth_bins(table).axes[1]
        return sum(bool(band.get_paths()) for band in right.collections)

    two = table_of(lambda row: row["arm"] != "rz" or row["seed"] < 2)
    without = table_of(lambda row: row["arm"] != "rz")
    assert p_values(two) == {**p_values(without), "rz": ""}
    (kept,) = (r for r in summary_rows(two) if (r["arm"], r["measure"]) == ("rz", "miou"))
    assert np.isnan(kept["vs_sd_p_holm"])
    assert bands(two) == bands(without) == bands(table_of(lambda row: True)) - 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["run", "--output", "o", "--data", "d", "--arms", "nonsense"], "but got nonsense"),
        (["run", "--output", "o"], "did you mean --quick"),
        (["run", "--output", "o", "--quick", "--seeds", "0"], "--seeds of at least 1"),
        (["run", "--output", "o", "--quick", "--image-size", "100", "100"], "that 32 divides"),
        (["run", "--output", "o", "--data", "nowhere"], "nowhere"),
        (["run", "--output", "o", "--data", "nowhere", "--stage", "finetune"], "nowhere"),
        (["run", "--output", "o", "--quick", "--cluster", "slurm"], "Expected SLURM"),
        (["report", "nowhere"], "no such file"),
    ],
)
def test_messages(tmp_path, monkeypatch, capsys, options, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(options)
    assert stop.value.code == 1
    message = capsys.readouterr().err
    assert said in message
    assert message.count("\n") == 1


def test_the_baseline_and_the_control_come_first_unless_the_baseline_is_all_that_is_asked_for():
    assert chosen_arms(("rz", "sd", "rz")) == ["sd", "uniform", "rz"]
    assert chosen_arms(("sd",)) == ["sd"]
    assert set(chosen_arms(())) == set(MAIN)


def test_a_stage_has_a_recipe_of_its_own_and_options_outdo_it(tmp_path):
    frozen, tuned = (
        recipe_of(RunOptions(tmp_path, stage=stage)) for stage in ("frozen", "finetune")
    )
    assert (frozen.image_size, frozen.learning_rate) == ((480, 640), 0.015)
    assert (tuned.image_size, tuned.learning_rate, tuned.encoder_rate) == ((192, 256), 6e-3, 0.03)
    given = recipe_of(RunOptions(tmp_path, stage="finetune", image_size=(64, 96), encoder_rate=1.0))
    assert (given.image_size, given.learning_rate, given.encoder_rate) == ((64, 96), 6e-3, 1.0)


def test_arms_are_listed(capsys):
    main(["arms"])
    said = capsys.readouterr().out
    assert "Eq. 4; Table II, row 7" in said

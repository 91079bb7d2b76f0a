"""The claims board: verdicts follow from intervals, numbers agree with plain ones, missing arms are said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import claims, inference, tables
from analysis.claims import measured
from engine import config, record
from engine.demo import claims as command
from engine.plan import plans
from engine.record import RecordError
from tests.synthetic import Shape, write_store

SHAPE = Shape(languages=5, seeds=3, items=200, levels=(0.8, 0.9, 0.95))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("claims"), SHAPE)


@pytest.fixture(scope="module")
def rows(store: Path) -> dict[str, dict]:
    return {row["name"]: row for row in claims.board(store, "synthetic")["rows"]}


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.1, 0.2, "holds"), (-0.2, -0.1, "does not hold"), (-0.1, 0.1, "undecided"), (0.0, 0.1, "undecided")]
)  # fmt: skip
def test_the_verdict_is_what_the_interval_says(low: float, high: float, said: str) -> None:
    assert claims.verdict(low, high) == said


def test_students_interval_is_scipys() -> None:
    values = np.array([0.3, 0.1, 0.25])
    mean, low, high, degrees = claims.student(values)
    assert degrees == 2
    test = stats.ttest_1samp(values, 0.0).confidence_interval()
    assert (mean, low, high) == pytest.approx((values.mean(), test.low, test.high))
    assert claims.student(values[:1]) == (0.3, -np.inf, np.inf, 0)
    assert all(np.isnan(claims.student(np.array([]))[:3]))


@pytest.mark.parametrize("values", [[0.3, 0.1, 0.25], [-0.3, -0.29, -0.31], [0.1, -0.2, 0.3, 0.05]])
def test_the_p_value_of_an_interval_is_that_of_its_test(values: list[float]) -> None:
    assert claims.interval_p(claims.student(np.array(values))) == pytest.approx(stats.ttest_1samp(values, 0.0).pvalue)


@pytest.mark.parametrize(
    "interval", [(0.1, 0.001, 0.3), (0.1, -0.001, 0.15), (-0.2, -0.5, -0.0001), (-0.2, -0.3, 0.01)]
)
def test_the_p_value_agrees_with_the_verdict(interval: tuple[float, float, float]) -> None:
    decided = claims.verdict(*interval[1:]) != "undecided"
    assert (claims.interval_p(interval) < 0.05) is decided


def test_p_values_at_the_edges() -> None:
    assert claims.interval_p((0.3, -np.inf, np.inf)) == claims.interval_p((0.0, 0.0, 0.0)) == 1.0
    assert claims.interval_p((0.3, 0.3, 0.3)) == 0.0
    mean, half = 0.4, 0.1
    assert claims.interval_p((mean, mean - half, mean + half)) == pytest.approx(2 * stats.norm.sf(1.959964 * mean / half), rel=1e-4)  # fmt: skip


def test_holm_is_over_the_directions_that_were_tested(store: Path, rows: dict[str, dict]) -> None:
    tested = [row for row in rows.values() if row["p"] is not None]
    assert 3 < len(tested) < len(rows)
    assert [row["p_holm"] for row in tested] == pytest.approx(inference.holm([row["p"] for row in tested]))
    assert all(row["p_holm"] is None for row in rows.values() if row["p"] is None)


def test_a_planted_effect_is_found_and_measured_on_the_same_items(store: Path, rows: dict[str, dict]) -> None:
    row = rows["cc-over-magnitude"]
    frame = tables.scores(store, "synthetic", ["accuracy"])
    frame = frame[(frame["split"] == "test") & (frame["language"] != "en") & (frame["sparsity"] == 0.95)]
    means = frame.groupby("method")["value"].mean()
    assert row["effect"] == pytest.approx(means["sdp_cc"] - means["magnitude"])
    assert row["verdict"] == "holds" and row["low"] > 0 and "points" in row["text"]


def test_an_arm_that_is_missing_is_named(rows: dict[str, dict]) -> None:
    row = rows["pins-over-platon"]
    assert row["verdict"] == "not tested" and "pins-alone" in row["text"] and row["effect"] is None


def test_a_level_that_was_not_run_is_not_replaced_by_another(store: Path) -> None:
    evidence = claims.Evidence(store, "synthetic")
    assert evidence.state("magnitude", 0.9).sparsity == 0.9
    with pytest.raises(KeyError, match="magnitude: has no finished level near 0.6"):
        evidence.state("magnitude", 0.6)
    for method, level in (("magnitude", 0.6), ("pins", 0.9)):
        with pytest.raises(KeyError, match=f"{method}: has no finished level near"):
            evidence.per_seed(evidence.weights, "hoyer", (method, level), ("sdp_cc", 0.9))


def test_states_are_paired_on_the_seeds_that_both_have(tmp_path: Path) -> None:
    shape = Shape(languages=3, seeds=3, items=80, levels=(0.95,), methods=("magnitude", "sdp_cc"))
    store = write_store(tmp_path, shape)
    for run in ("magnitude-s1", "sdp_cc-s0"):
        shutil.rmtree(tmp_path / shape.study / run)
    evidence = claims.Evidence(store, shape.study)
    a, b = evidence.state("sdp_cc", 0.95), evidence.state("magnitude", 0.95)
    assert (a.seeds, b.seeds) == ((1, 2), (0, 2))
    wanted = evidence.mean_score(a.on([2])).mean() - evidence.mean_score(b.on([2])).mean()
    assert evidence.gap(("sdp_cc", 0.95), ("magnitude", 0.95))[0] == pytest.approx(wanted)


def test_a_study_of_another_metric_has_no_board(tmp_path: Path) -> None:
    store = write_store(tmp_path, Shape(**{**SHAPE.__dict__, "seeds": 1, "methods": ("magnitude",), "levels": (0.9,)}))
    for path in store.rglob("config.json"):
        path.write_text(path.read_text().replace('"metric": "accuracy"', '"metric": "macro_f1"'))
    with pytest.raises(
        RecordError, match="study: must have accuracy as its metric, which the claims are of; .* has macro_f1"
    ):
        claims.board(store, SHAPE.study)


def test_noise_alone_does_not_change_a_ranking() -> None:
    # The criteria differ by the same order in both languages; the second is noisier.
    rng = np.random.default_rng(0)
    quality = np.array([0.9, 0.86, 0.82, 0.78, 0.5])
    lows = []
    for _ in range(12):
        source = (rng.random((5, 3, 192)) < quality[:, None, None]).astype(float)
        other = (rng.random((5, 3, 192)) < 0.2 + 0.4 * quality[:, None, None]).astype(float)
        lows.append(measured.ranking_gap(source, [other], 1))
    assert abs(np.mean([gap for gap, _, _ in lows])) < 0.15
    assert sum(low > 0 for _, low, _ in lows) <= 1


def test_a_ranking_that_turns_round_is_seen() -> None:
    rng = np.random.default_rng(1)
    quality = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    source, other = ((rng.random((5, 3, 400)) < q[:, None, None]).astype(float) for q in (quality, quality[::-1]))
    gap, low, _ = measured.ranking_gap(source, [other], 1)
    assert gap > 1.5 and low > 0


def test_weights_and_states_are_compared_seed_by_seed(store: Path, rows: dict[str, dict]) -> None:
    frame = tables.weights(store, "synthetic")
    frame = frame[frame["sparsity"] == 0.9].groupby(["method", "seed"])["hoyer"].mean().unstack(0)
    assert rows["cc-survivors-sparser"]["effect"] == pytest.approx((frame["sdp_cc"] - frame["magnitude"]).mean())
    assert rows["cc-separability"]["verdict"] in claims.VERDICTS


def test_a_shuffled_study_gives_the_same_board(store: Path, tmp_path: Path, rows: dict[str, dict]) -> None:
    other = write_store(tmp_path, Shape(**{**SHAPE.__dict__, "shuffle": True}))
    again = {
        row["name"]: row
        for row in claims.board(other, "synthetic", ["cc-over-magnitude", "zero-shot-drops-more"])["rows"]
    }
    for name, row in again.items():
        assert row["effect"] == pytest.approx(rows[name]["effect"]), name


def test_languages_that_lose_alike_are_not_told_apart(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = claims.Evidence(store, "synthetic")
    state = evidence.state("magnitude", 0.9)
    same = dict.fromkeys(evidence.items.languages, state.score["en"])
    assert evidence.items.dense is not None
    flat = dict.fromkeys(evidence.items.languages, evidence.items.dense.score["en"])
    object.__setattr__(state, "score", same)
    object.__setattr__(evidence.items.dense, "score", flat)
    effect, low, high = measured.language_spread(evidence)
    assert effect <= 0 and claims.verdict(low, high) != "holds"


def test_the_shipped_study_has_every_arm_that_a_claim_reads(tmp_path: Path) -> None:
    study = config.load(command.STUDY)
    arms = {method.label: plan for method, plan in plans(study)}
    read: set[str] = set()

    class Spy(claims.Evidence):
        def state(self, method: str, level: float) -> None:  # type: ignore[override]
            read.add(method)
            raise KeyError(method)

        def per_seed(self, frame, column, a, b):  # type: ignore[no-untyped-def]
            read.update((a[0], b[0]))
            raise KeyError(a)

    spy = Spy(tmp_path, "x")
    for name in ("weights", "states", "recoveries"):
        spy.__dict__[name] = pd.DataFrame()
    spy.__dict__["probing"] = pd.DataFrame({"kind": ["probe"]})
    for claim in claims.CLAIMS.values():
        with pytest.raises((KeyError, AttributeError, record.RecordError)):
            claim.test.run(spy)
        assert claim.test.arm in arms
    # Gaps stop at their first arm; the others are compared by name.
    assert read - {"dense_continued"} <= set(arms)
    assert len(study.study.seeds) >= 3 and all(len(plan.values) for plan in arms.values())


def test_fewer_seeds_have_another_name_and_leave_the_stored_board(tmp_path: Path) -> None:
    text = command.study_text("bundled-claims-1-seeds", [0])
    study = config.parse(text, command.FOLDER)
    assert study.study.name == "bundled-claims-1-seeds" and study.study.seeds == [0]


def test_the_stored_board_is_of_the_shipped_claims() -> None:
    if not command.OUTCOME.is_file():
        pytest.fail("engine/demo/claims.json must ship with the bundled study: make claims")
    stored = json.loads(command.OUTCOME.read_text(encoding="utf-8"))
    assert [row["name"] for row in stored["rows"]] == list(claims.CLAIMS)
    assert all(row["what"] == claims.CLAIMS[row["name"]].what for row in stored["rows"])
    for row in stored["rows"]:
        if row["effect"] is not None:
            low, high = (np.inf * sign if row[key] is None else row[key] for key, sign in (("low", -1), ("high", 1)))
            assert row["verdict"] == claims.verdict(low, high)
            assert row["other"] == claims.CLAIMS[row["name"]].test.other
            assert row["p_holm"] >= row["p"] and (row["p"] < 0.05) is (row["verdict"] != "undecided")


def test_markdown_has_a_line_per_claim(store: Path) -> None:
    outcome = claims.board(store, "synthetic")
    assert len(claims.markdown(outcome).splitlines()) == 2 + len(claims.CLAIMS)
    assert claims.number(-0.0123, "points") == "−1.2" and claims.number(float("inf"), "Hoyer") == "∞"


@pytest.mark.parametrize("there", [False, True])
def test_links_of_the_board_open_the_arm_where_its_runs_are(there: bool) -> None:
    from pages.ui import claims as shown

    rows = json.loads(command.OUTCOME.read_text(encoding="utf-8"))["rows"]
    row = rows[0]
    query = f"?study=bundled-claims&method={row['arm']}&level={row['level']:g}" if there else ""
    assert shown._link(row, shown.STUDY if there else "") == f"[Degradation]({row['view']}{query})"
    small = next(row for row in rows if row["name"] == "cc-over-small")
    query = "?studies=s&arms=s/sdp_cc&arms=s/small&reference=s/small&view=size" if there else ""
    assert shown._link(small, "s" if there else "") == f"[Compare](compare{query})"

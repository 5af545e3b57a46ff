"""Learning end to end on a slice of the data, and the promises that tie prediction to scikit-learn."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA, ROOT
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score

from bounceml import Classifier, artefact, explain, tables
from bounceml.classifier import judge
from bounceml.cli import main
from bounceml.errors import DataError
from bounceml.labelled import Example, read_file
from bounceml.learning import (
    augment,
    calibration,
    corpus,
    crossval,
    dataset,
    evaluate,
    export,
    metrics,
    papers,
    pipeline,
    settings,
    studies,
    train,
)
from bounceml.learning.calibration import Scaling
from bounceml.model import FAMILIES
from bounceml.tables import policy
from bounceml.values import Voice

SETTINGS = settings.read(DATA)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return dataset.load(DATA)


def data_of(folder: Path, examples: list[Example]) -> Path:
    (folder / "examples").mkdir()
    for name in ("train.toml", "augment.toml"):
        shutil.copy(DATA / name, folder / name)
    kept = [{"text": e.text, "category": e.category, "language": e.language, "provider": e.provider, "source": e.source} for e in examples]
    (folder / "examples" / "some.jsonl").write_text("\n".join(json.dumps(row) for row in kept) + "\n")
    return folder


@pytest.fixture(scope="module")
def small(examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with every fifth row."""
    return data_of(tmp_path_factory.mktemp("data"), examples[::5])


@pytest.fixture(scope="module")
def tiny(examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with every eighth real row; it is learnt in ten seconds."""
    return data_of(tmp_path_factory.mktemp("data"), [e for e in examples if e.measured][::8])


def test_plain_scorer_equals_the_pipeline(examples: list[Example], tmp_path: Path) -> None:
    examples = examples[::5]  # all take a minute
    fitted = crossval.fit(corpus.prepare(examples, SETTINGS), np.arange(len(examples)), SETTINGS)
    export.calibrate_and_round(fitted, Scaling(5.0, 0.5))
    manifest = {"name": "t", "version": "0", "thresholds": {"model": 0.5, "suppress": 0.9, "rules": 0.5, "codes": 0.5}}
    export.write(tmp_path / "model", fitted, manifest, {})
    plain = Classifier.load(tmp_path / "model").model
    labels = list(fitted.classes_)
    expected = fitted.predict_proba([e.template for e in examples])
    for example, row in zip(examples, expected, strict=True):
        scores = dict(plain.scores(example.template))
        assert max(abs(scores[label] - p) for label, p in zip(labels, row, strict=True)) < 1e-6, example.place
    reloaded = artefact.load_pipeline(tmp_path / "model")
    assert np.array_equal(reloaded.predict_proba([examples[0].template]), expected[:1])


def test_same_data_and_seed_give_the_same_model(small: Path, tmp_path: Path) -> None:
    reports = [train.train(small, tmp_path / name) for name in ("a", "b")]
    first, second = (Classifier.load(tmp_path / name) for name in ("a", "b"))
    assert reports[0] == reports[1]
    for text in ("552 5.2.2 mailbox full", "对方邮箱已满", "550 relay not permitted", ""):
        for one, other in zip(first.model.scores(text), second.model.scores(text), strict=True):
            assert one.category == other.category
            assert abs(one.probability - other.probability) < 1e-9


def test_training_takes_a_users_own_rows(small: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.jsonl"
    rows = [
        {"text": f"zq{word} zblorp", "category": "greylisted", "language": "en", "provider": "mine", "source": "mine"}
        for word in ("alpha", "beta", "gamma", "delta", "eps", "zeta")
    ]
    mine.write_text("".join(json.dumps(row) + "\n" for row in rows))
    train.train(small, tmp_path / "model", [mine])
    assert Classifier.load(tmp_path / "model").model.scores("zqtheta zblorp")[0].category == "greylisted"


@pytest.fixture(scope="module")
def model(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the tiny folder, and no row besides."""
    folder = tmp_path_factory.mktemp("models") / "mine"
    train.train(tiny, folder)
    return folder


@pytest.fixture
def again(model: Path, tmp_path: Path) -> Path:
    """The same model, to be trained anew in its folder."""
    return Path(shutil.copytree(model, tmp_path / "again"))


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Six rows of a user: a wording that no model knows, and five that any does."""
    known = [
        example(f"552 5.2.2 mailbox of the {word} is full", "mailbox_full") for word in ("wizard", "gnome", "dragon", "knight", "troll")
    ]
    return write(tmp_path / "mine.jsonl", example("zqalpha zblorp fnord", "greylisted"), *known)


def test_training_again_on_the_same_rows_changes_nothing(tiny: Path, again: Path, tmp_path: Path) -> None:
    found = train.train(tiny, again)["comparison"]
    assert found["own"] == {"rows": 0, "was": 0, "now": 0}
    assert [row["name"] for row in found["figures"]] == ["macro-F1", "accuracy", "accuracy with rules and codes", "false suppressions"]
    assert all(row["was"] == row["now"] and not row["worse"] for row in found["figures"])
    assert "Nothing is worse beyond the 95 % interval." in (again / "card.md").read_text()


def test_a_users_rows_are_not_among_those_that_are_compared(tiny: Path, again: Path, mine: Path) -> None:
    before = papers.earlier(again)
    report = train.train(tiny, again, [mine])
    assert before is not None
    assert report["rows"] == before["rows"] + 6
    assert report["fixed"]["rows"] == report["comparison"]["rows"] == before["rows"]
    assert report["comparison"]["since"] == before["signature"]
    assert report["comparison"]["own"]["rows"] == 6
    assert all(abs(row["was"] - row["now"]) < 0.01 for row in report["comparison"]["figures"][:3]), report["comparison"]
    assert report["comparison"]["own"]["was"] == 5
    assert "your own rows                  of 6 it gets 5 right" in papers.as_text(report)
    third = train.train(tiny, again, [mine])  # its like: figures on the fixed rows stand in the report
    assert third["comparison"]["since"] == report["fixed"]["signature"]
    assert third["comparison"]["figures"][0]["was"] == pytest.approx(report["fixed"]["headline"]["model"]["macro_f1"][0])


def test_what_got_worse_is_told(tiny: Path, again: Path, mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    better = json.loads((again / "report.json").read_text())
    better["headline"]["model"]["accuracy"] = [0.999, 0.998, 1.0]
    better["suppression"]["false_suppressions"] = -1
    full = next(row for row in better["per_category"] if row["category"] == "mailbox_full")
    full["f1"] = 1.5
    (again / "report.json").write_text(json.dumps(better))
    assert main(["train", "--data", str(tiny), "--out", str(again), "--add", str(mine)]) == 0
    told = capsys.readouterr()
    worse = [line for line in told.err.splitlines() if line.startswith("bounceml: worse than default")]
    assert [line.split(": ")[2].split(" was ")[0] for line in worse] == ["accuracy", "false suppressions", "F1 of mailbox_full"]
    assert told.out.count("WORSE") == 3
    assert "accuracy was 0.999 and is 0." in worse[0]
    assert "**Worse beyond the 95 % interval:** accuracy was 0.999" in (again / "card.md").read_text()


def test_figures_on_other_rows_are_not_compared(model: Path) -> None:
    report = papers.earlier(model)
    assert report is not None
    assert report["comparison"]["figures"] == []
    assert "against default 0.1.0: no figures, as its report is on other rows" in papers.as_text(report)


def test_bad_data_writes_nothing(small: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "x"}\n')
    with pytest.raises(DataError, match=r"bad\.jsonl:1: field 'category' is missing or empty"):
        train.train(small, tmp_path / "model", [bad])
    assert not (tmp_path / "model").exists()


# --- data -------------------------------------------------------------------------------------------------------


def example(text: str, category: str, **more: object) -> dict[str, object]:
    return {"text": text, "category": category, "language": "en", "provider": "p", "source": "s", **more}


def write(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_two_labels_for_one_template_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", example("550 <a@example.com> no", "user_unknown"), example("550 <b@example.net> no", "virus"))
    with pytest.raises(DataError, match=r"x\.jsonl:2: labelled virus, but .*x\.jsonl:1 labels the same template user_unknown; decide"):
        dataset.distinct(read_file(path))


def test_an_accepted_second_label_is_no_conflict(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", example("550 no", "user_unknown", accept=["virus"]), example("550 no", "virus"))
    assert len(dataset.distinct(read_file(path))) == 1


def test_near_duplicates_share_a_group(examples: list[Example]) -> None:
    examples = [e for e in examples if e.measured]  # wordings of our own are compared with these only
    twins = [e._replace(template=e.template + " again") for e in examples if len(e.template.split()) > 8]
    groups = dataset.groups([*examples, *twins])
    own = {e.template: group for e, group in zip(examples, groups, strict=False)}
    together = [own[twin.template.removesuffix(" again")] == group for twin, group in zip(twins, groups[len(examples) :], strict=True)]
    assert len(twins) > 500
    assert np.mean(together) > 0.98


def test_texts_without_likeness_do_not_share_a_group(examples: list[Example]) -> None:
    sizes = np.bincount(dataset.groups(examples))
    assert sizes.max() < len(examples) / 50


@pytest.fixture(scope="module")
def rows(examples: list[Example]) -> corpus.Corpus:
    return corpus.prepare(examples[::4], SETTINGS)


def test_no_relative_of_a_test_row_is_trained_on(rows: corpus.Corpus) -> None:
    kinds = [studies.languages(rows.examples), studies.providers(rows, dataset.families(DATA))]
    splits = crossval.by_group(rows, SETTINGS) + [split for kind in kinds for split in crossval.leaving_out(rows, kind)]
    assert len(splits) > 15
    for split in splits:
        assert not set(rows.groups[split.train]) & set(rows.groups[split.test])
        assert all(rows.examples[row].measured for row in split.test)


def test_added_rows_leave_the_others_in_their_folds(rows: corpus.Corpus) -> None:
    whole = corpus.prepare(
        [*rows.examples, *(e._replace(template=e.template + " again") for e in rows.examples[:40] if e.measured)], SETTINGS
    )
    fixed, added = len(rows.examples), len(whole.examples) - len(rows.examples)
    before, after = crossval.by_group(rows, SETTINGS), crossval.by_group(whole, SETTINGS, added)
    for was, now in zip(before, after, strict=True):
        assert was.test.tolist() == [row for row in now.test if row < fixed]
        assert not set(whole.groups[now.train]) & set(whole.groups[now.test])
    assert sorted(row for split in after for row in split.test if row >= fixed) == list(range(fixed, fixed + added))


def test_what_is_left_out_never_trains(rows: corpus.Corpus) -> None:
    for split in crossval.leaving_out(rows, studies.languages(rows.examples)):
        assert not any(rows.examples[row].language.startswith(split.name) for row in split.train)
    known = dataset.families(DATA)
    for split in crossval.leaving_out(rows, studies.providers(rows, known)):
        if not split.name.startswith("small"):
            assert {dataset.family(rows.examples[row].provider, known) for row in split.test} == {split.name}
            measured = [rows.examples[row] for row in split.train if rows.examples[row].measured]
            assert not any(dataset.family(e.provider, known) == split.name for e in measured)


def test_likeness_is_that_of_the_nearest_training_row(examples: list[Example]) -> None:
    some = [examples[0], examples[0]._replace(template=examples[0].template + " again"), examples[1]]
    found = dataset.nearest(some, [(np.array([0, 2]), np.array([1]))])
    assert found[1] > 0.8
    assert np.isnan(found[[0, 2]]).all()


# --- fitting ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def few(examples: list[Example]) -> corpus.Corpus:
    return corpus.prepare([e for e in examples if e.measured][::6], SETTINGS)


def test_counts_of_the_whole_corpus_teach_what_the_templates_alone_do(few: corpus.Corpus) -> None:
    split = crossval.by_group(few, SETTINGS)[0]
    learnt_from = crossval.training(few, split.train, SETTINGS)
    templates = [few.texts[row].template for row in learnt_from.rows]
    anew = pipeline.build(SETTINGS.model).fit(templates, learnt_from.categories, linear__sample_weight=learnt_from.weights)
    shared = crossval.fit(few, split.train, SETTINGS)
    unseen = [few.examples[row].template for row in split.test]
    np.testing.assert_allclose(shared.decision_function(unseen), anew.decision_function(unseen), atol=1e-9)
    held = crossval.out_of_fold(few, [split], SETTINGS)
    np.testing.assert_allclose(held.margins[:, np.isin(held.labels, anew.classes_)], anew.decision_function(unseen), atol=1e-9)


def test_variants_train_with_their_parents_only(few: corpus.Corpus) -> None:
    chosen = np.arange(0, len(few.examples), 3)
    learnt_from = crossval.training(few, chosen, SETTINGS)
    synthetic = learnt_from.rows[len(chosen) :] - len(few.examples)
    assert learnt_from.rows[: len(chosen)].tolist() == chosen.tolist()
    assert synthetic.tolist() == [number for number, (parent, _) in enumerate(few.variants) if parent % 3 == 0]
    assert learnt_from.weights[len(chosen) :].max() == SETTINGS.synthetic_weight * SETTINGS.documented_weight


def test_runs_in_one_queue_keep_their_own_answers(few: corpus.Corpus) -> None:
    splits = crossval.by_group(few, SETTINGS)
    wordless = SETTINGS._replace(model=SETTINGS.model._replace(concept_weight=0.0))
    told: list[str] = []
    runs = [crossval.Run("two", few, splits[:2], SETTINGS), crossval.Run("one", few, splits[2:3], wordless)]
    for run, found in zip(runs, crossval.out_of_folds(runs, told.append), strict=True):
        alone = crossval.out_of_fold(few, run.splits, run.settings)
        assert np.array_equal(found.rows, alone.rows)
        assert np.array_equal(found.margins, alone.margins)
    assert told == ["two", "one"]


def test_the_pipeline_fitted_beside_the_folds_is_that_of_all_rows(few: corpus.Corpus) -> None:
    held, fitted = crossval.out_of_fold_and_fitted(few, crossval.by_group(few, SETTINGS)[:1], SETTINGS)
    alone = crossval.fit(few, np.arange(len(few.examples)), SETTINGS)
    assert np.array_equal(fitted.named_steps["linear"].coef_, alone.named_steps["linear"].coef_)
    assert len(held.rows) == len(crossval.by_group(few, SETTINGS)[0].test)


def test_values_are_those_of_scikit_learn_shortened_by_what_is_new() -> None:
    templates = ["mailbox is full", "mailbox is full full", "mailbox unknown", "user unknown"]
    counter = pipeline.FeatureCounts()
    tfidf = pipeline.OpenTfidf(family="words", min_df=2).fit(counter.fit_transform(templates))
    own = TfidfVectorizer(analyzer=FAMILIES["words"], min_df=2, sublinear_tf=True, norm=None)
    expected = own.fit(templates).transform(["full full mailbox postfach"]).toarray()[0]
    names = [list(counter.vocabulary_["words"])[column] for column in tfidf.columns_]
    assert sorted(names) == sorted(own.vocabulary_)
    expected = expected[[own.vocabulary_[name] for name in names]]
    new = 4 * own.idf_.max() ** 2  # "postfach" and three pairs of words
    found = tfidf.transform(counter.transform(["full full mailbox postfach"])).toarray()[0]
    np.testing.assert_allclose(found, expected / np.sqrt(np.sum(expected**2) + new))


# --- variants ---------------------------------------------------------------------------------------------------


def test_variants_are_drawn_from_the_seed(examples: list[Example]) -> None:
    chosen = examples[:50]
    assert augment.augment(chosen, SETTINGS.recipe, 1) == augment.augment(chosen, SETTINGS.recipe, 1)
    assert augment.augment(chosen, SETTINGS.recipe, 1) != augment.augment(chosen, SETTINGS.recipe, 2)


def test_variants_keep_label_and_parent_and_are_new_templates(examples: list[Example]) -> None:
    real = {e.template for e in examples}
    made = augment.augment(examples, SETTINGS.recipe, 7)
    assert len(made) > 5000
    for parent, variant in made:
        assert variant.category == examples[parent].category
        assert variant.template not in real
        assert variant.source == f"variant of {examples[parent].place}"


def test_every_rewrite_happens(examples: list[Example]) -> None:
    for name, rewrite in augment.REWRITES.items():
        import random

        draw = random.Random(1)
        changed = sum(rewrite(e.text, e.category, SETTINGS.recipe, draw) != e.text for e in examples[:400])
        assert changed > 0, name


def test_codes_are_those_of_the_category(examples: list[Example]) -> None:
    assert set(SETTINGS.recipe.codes) <= set(tables.taxonomy().categories)


# --- figures ----------------------------------------------------------------------------------------------------


def test_macro_f1_by_hand() -> None:
    truth, said = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2])
    assert metrics.macro_f1(truth, said, np.array([0, 1])) == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_calibration_error_by_hand() -> None:
    confidence, correct = np.array([0.6, 0.6, 0.9, 0.9]), np.array([1.0, 0.0, 1.0, 1.0])
    assert metrics.expected_calibration_error(confidence, correct, bins=2) == pytest.approx((0.1 + 0.1) / 2)


def test_risk_coverage_by_hand() -> None:
    curve = metrics.risk_coverage(np.array([0.9, 0.8, 0.7, 0.6]), np.array([1.0, 1.0, 0.0, 1.0]))
    assert curve.risk.tolist() == pytest.approx([0, 0, 1 / 3, 1 / 4])
    assert curve.coverage_at(0.01) == 0.5
    assert curve.risk_at(1.0) == 0.25


def test_macro_f1_is_that_of_scikit_learn() -> None:
    truth, said = np.random.default_rng(0).integers(0, 6, (2, 500))
    classes = np.array([0, 1, 2, 3, 4, 7])  # nothing is said to be 7
    assert metrics.macro_f1(truth, said, classes) == f1_score(truth, said, labels=classes, average="macro", zero_division=0.0)


def test_interval_is_that_of_drawing_rows() -> None:
    draw = np.random.default_rng(0)
    truth, said, groups = draw.integers(0, 5, 300), draw.integers(0, 5, 300), draw.integers(0, 90, 300) * 7
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    again = np.random.default_rng(3)
    samples = [np.concatenate([members[n] for n in again.integers(0, len(members), len(members))]) for _ in range(500)]
    expected = [metrics.macro_f1(truth[rows], said[rows], np.arange(5)) for rows in samples]
    found = metrics.over_groups(metrics.mean_f1, metrics.f1_tallies(truth, said, np.arange(5)), groups, seed=3)
    assert found == pytest.approx((metrics.macro_f1(truth, said, np.arange(5)), *np.percentile(expected, [2.5, 97.5])), abs=1e-12)


def test_interval_is_wider_where_rows_come_in_groups() -> None:
    tallies = metrics.share_tallies(np.repeat(np.random.default_rng(0).integers(0, 2, 40), 10).astype(float))
    alone = metrics.over_groups(metrics.share, tallies, np.arange(400), 1)
    grouped = metrics.over_groups(metrics.share, tallies, np.repeat(np.arange(40), 10), 1)
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_scaling_finds_its_way_back() -> None:
    random = np.random.default_rng(0)
    margins = random.normal(size=(4000, 4))
    probabilities = Scaling(2.0, -0.5).probabilities(margins)
    drawn = np.array([random.choice(4, p=row) for row in probabilities])
    found = calibration.fit_scaling(margins, np.eye(4, dtype=bool)[drawn])
    assert found.slope == pytest.approx(2.0, rel=0.15)


def test_report_figures_agree_with_each_other(small: Path) -> None:
    report = train.cross_validate(small)
    assert report["signature"].split("|")[2] == "split:group5"
    assert sum(report["decided_by"].values()) == report["rows"]
    assert sum(map(sum, report["confusion"]["counts"])) == report["rows"]
    assert sum(row["rows"] for row in report["per_category"]) == report["rows"]
    for arm in report["headline"].values():
        value, low, high = arm["macro_f1"]
        assert low <= value <= high
    assert set(report["headline"]) == {"model", "rules", "both"}
    assert report["top_2"] >= report["headline"]["model"]["accuracy"][0]
    kept = [row["missed_suppression_rate"] for row in report["suppression_sweep"]]
    assert kept == sorted(kept)
    parts = report["studies"]["parts"]
    assert parts["both"]["accuracy"] == pytest.approx(report["headline"]["model"]["accuracy"][0], abs=0.01)
    assert parts["codes only"]["accuracy"] < parts["text only"]["accuracy"]
    assert sum(row["rows"] for row in report["studies"]["likeness"]) == report["rows"]


def test_suppression_in_the_report_is_what_prediction_does(examples: list[Example], classifier: Classifier) -> None:
    some = [e for e in examples if e.measured][::3]
    scores = [classifier.model.scores(e.template) for e in some]
    held = evaluate.HeldOut(some, evaluate.readings_of(some), np.arange(len(some)), scores, classifier.thresholds, "file", 0)
    told = [judge(row, reading, held.thresholds) for row, reading in zip(scores, held.readings, strict=True)]
    for figures in evaluate.report(held)["suppression_sweep"]:
        thresholds = held.thresholds._replace(suppress=figures["threshold"])
        suppressed = [
            explain.general(reading, decision, thresholds, Voice(), "", policy.default()).suppress
            for reading, decision in zip(held.readings, told, strict=True)
        ]
        missed = round(figures["missed_suppression_rate"] * figures["dead"])
        assert sum(suppressed) == figures["false_suppressions"] + figures["dead"] - missed


def test_changes_tell_what_moved() -> None:
    now = papers.earlier(ROOT / "models" / "default")
    assert now is not None
    before = json.loads(json.dumps(now)) | {"signature": "other", "rows": 1}
    before["per_category"][0]["f1"] -= 0.1
    found = evaluate.changes(now, before)
    assert found is not None
    assert found["since"] == "other"
    moved = {row["name"]: (row["was"], row["now"]) for row in found["figures"] if row["was"] != row["now"]}
    assert moved == {
        "rows": (1, now["rows"]),
        f"F1 of {now['per_category'][0]['category']}": (before["per_category"][0]["f1"], now["per_category"][0]["f1"]),
    }
    assert evaluate.changes(now, now | {"changes": found}) == found


def test_evaluation_of_a_file_uses_the_finished_model(examples: list[Example], tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", *(example(e.text, e.category) for e in examples if e.documented and not e.accept))
    assert train.evaluate_file(path)["headline"]["both"]["accuracy"][0] == 1.0

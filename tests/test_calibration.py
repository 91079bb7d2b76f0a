from __future__ import annotations

import math

import numpy as np
import pytest

from analysis import calibration
from tests import reference


def predictions(n=97, classes=4, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = np.array([rng.choice(classes, p=row) for row in probabilities])
    return probabilities.astype(dtype), labels


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("bins", [1, 7, 10, 500])
@pytest.mark.parametrize("n", [1, 9, 97])
def test_ece_equals_the_plain_definition(n, bins, dtype):
    probabilities, labels = predictions(n, dtype=dtype)
    assert calibration.ece(probabilities, labels, bins) == pytest.approx(
        reference.ece(probabilities, labels, bins), abs=1e-12
    )


def test_ties_are_never_split():
    rng = np.random.default_rng(0)
    confidence = rng.choice([0.6, 0.7, 0.9], size=200)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    labels = rng.integers(2, size=200)
    value = calibration.ece(probabilities, labels)
    by_confidence = sum(
        (confidence == c).sum() * abs((labels[confidence == c] == 0).mean() - c) for c in (0.6, 0.7, 0.9)
    )
    assert value == pytest.approx(by_confidence / 200)
    order = rng.permutation(200)
    assert calibration.ece(probabilities[order], labels[order]) == pytest.approx(value, abs=1e-15)
    assert calibration.ece(np.full((50, 2), 0.5), np.arange(50) % 2) == 0.0


def test_ece_of_known_cases():
    sure = np.eye(3)[[0, 1, 2, 0]]
    assert calibration.ece(sure, [0, 1, 2, 0]) == 0
    assert calibration.ece(sure, [1, 1, 2, 0]) == 0.25
    calibrated, labels = predictions(20_000)
    assert calibration.ece(calibrated, labels) < 0.02
    sharpened = calibrated**3 / (calibrated**3).sum(1, keepdims=True)
    assert calibration.ece(sharpened, labels) == pytest.approx(calibration.overconfidence(sharpened, labels), abs=0.01)
    assert calibration.overconfidence(sharpened, labels) > 0.1


def test_brier():
    probabilities, labels = predictions()
    assert calibration.brier(probabilities, labels) == pytest.approx(reference.brier(probabilities, labels))
    assert calibration.brier(np.eye(2), [0, 1]) == 0
    assert calibration.brier(np.eye(2), [1, 0]) == 2
    strided = np.zeros((194, 8))
    strided[::2, ::2] = probabilities
    assert calibration.brier(strided[::2, ::2], list(labels)) == pytest.approx(calibration.brier(probabilities, labels))


@pytest.mark.parametrize("measure", [calibration.ece, calibration.brier, calibration.overconfidence])
def test_bad_arguments_name_the_argument(measure):
    probabilities, labels = predictions(5)
    broken = probabilities.copy()
    broken[1, 2] = math.nan
    with pytest.raises(ValueError, match=r"probabilities: must be finite; got nan at \(1, 2\)"):
        measure(broken, labels)
    with pytest.raises(ValueError, match=r"rows must be from 0 to 1 and sum to 1; .* in row 2"):
        measure(np.where(np.arange(5)[:, None] == 2, 2.0, probabilities), labels)
    with pytest.raises(ValueError, match="rows must be from 0 to 1"):
        measure(np.array([[1.5, -0.5]]), [0])
    with pytest.raises(ValueError, match=r"one per row of probabilities \(5\); got 4"):
        measure(probabilities, labels[1:])
    for wrong in (4, -1, 0.5):
        with pytest.raises(ValueError, match="labels: must be class indices from 0 to 3"):
            measure(probabilities, [wrong, 0, 0, 0, 0])
    with pytest.raises(ValueError, match="probabilities: must not be empty"):
        measure(probabilities[:0], labels[:0])


def test_bins_must_be_a_count():
    for bins in (0, -1, 2.5):
        with pytest.raises(ValueError, match="bins: must be a whole number"):
            calibration.ece(*predictions(5), bins=bins)


def test_rows_name_functions_of_the_module():
    assert all(hasattr(calibration, row.name) and row.section == "M§6.9" for row in calibration.ROWS)

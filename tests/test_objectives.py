"""Objectives against plain loops and autograd in float64; identities of the methods reference; the table's contract."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from engine import objectives
from engine.mask import select
from engine.objectives import OBJECTIVES
from engine.objectives import weights as weight_space
from tests import reference

REGULARIZERS = {
    "cosine per unit": (objectives.alignreg_cosine, reference.alignreg_cosine, {"per": "unit"}),
    "cosine per layer": (objectives.alignreg_cosine, reference.alignreg_cosine, {"per": "layer"}),
    "frobenius squared": (objectives.alignreg_frobenius, reference.alignreg_frobenius, {"squared": True}),
    "frobenius": (objectives.alignreg_frobenius, reference.alignreg_frobenius, {"squared": False}),
    "l2_sp": (objectives.l2_sp, reference.l2_sp, {}),
}
EACH = pytest.mark.parametrize("function, slow, shape", REGULARIZERS.values(), ids=REGULARIZERS.keys())


def case(seed=0, size=(5, 7), drift=0.3, density=0.6):
    generator = torch.Generator().manual_seed(seed)
    w0 = torch.randn(size, generator=generator, dtype=torch.float64)
    w = w0 + drift * torch.randn(size, generator=generator, dtype=torch.float64)
    return w0, w, torch.rand(size, generator=generator) < density


def awkward():
    """(w0, w, mask): drifted, unmoved, a dead row, all dead, constant, half precision, non-contiguous, one unit."""
    w0, w, mask = case()
    dead = mask.clone()
    dead[2] = False
    turned, turned_w, turned_m = (x.t() for x in case(1))
    return {
        "drifted": (w0, w, mask),
        "unmoved": (w0, w0, torch.ones_like(mask)),
        "dead row": (w0, w, dead),
        "all dead": (w0, w, torch.zeros_like(mask)),
        "zero row kept": (w0, w * dead, torch.ones_like(mask)),
        "zero reference row": (w0 * dead, w, mask),
        "constant": (torch.ones_like(w0), torch.ones_like(w0) / 2, mask),
        "half": (w0.half(), w.half(), mask),
        "bfloat16": (w0.bfloat16(), w.bfloat16(), mask),
        "single": (w0.float(), w.float(), mask.float()),
        "non-contiguous": (turned, turned_w, turned_m),
        "one unit": (w0[:1], w[:1], mask[:1]),
        "one weight": (w0[:1, :1], w[:1, :1], torch.ones(1, 1, dtype=torch.bool)),
    }


@EACH
@pytest.mark.parametrize("name", awkward())
def test_regularizers_match_reference(function, slow, shape, name):
    w0, w, mask = awkward()[name]
    value, gradient = function(w0, w, mask, **shape)
    assert float(value) == pytest.approx(slow(w0, w, mask, **shape), rel=1e-4, abs=1e-6)
    assert gradient.shape == w.shape and gradient.isfinite().all()
    assert (gradient[~mask.bool()] == 0).all()


def objective(name, shape, w0, w, mask):
    """R as an autograd expression, written out plainly."""
    kept = mask * w
    if name == "l2_sp":
        return (mask * (w0 - w)).square().sum()
    if "frobenius" in name:
        ratio = (w0 - kept).square().sum() / w0.square().sum()
        return len(w0) * (ratio if shape["squared"] else ratio.sqrt())
    a, b = (w0, kept) if shape["per"] == "unit" else (w0.reshape(1, -1), kept.reshape(1, -1))
    live = b.detach().norm(dim=1) > 0
    return (1 - functional.cosine_similarity(a[live], b[live], dim=1, eps=0)).sum() + (~live).sum()


@pytest.mark.parametrize("name", REGULARIZERS)
@pytest.mark.parametrize("which", ["drifted", "dead row", "all dead", "constant", "non-contiguous", "one unit"])
def test_gradients_match_autograd(name, which):
    function, _, shape = REGULARIZERS[name]
    w0, w, mask = awkward()[which]
    w = w.clone().requires_grad_(True)
    value = objective(name, shape, w0, w, mask)
    expected = torch.autograd.grad(value, w, allow_unused=True)[0] if value.requires_grad else None
    found_value, found = function(w0, w, mask, **shape)
    torch.testing.assert_close(found, torch.zeros_like(w) if expected is None else expected, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found_value, value.detach(), rtol=1e-9, atol=1e-12)
    assert not found.requires_grad


@EACH
def test_gradient_vanishes_where_nothing_moved(function, slow, shape):
    w0, _, mask = case()
    value, gradient = function(w0, w0, torch.ones_like(mask), **shape)
    assert float(value) == pytest.approx(0, abs=1e-12)
    assert gradient.abs().max() < 1e-12


def test_dead_rows_count_one_and_pull_nothing():
    w0, w, mask = case()
    mask[1] = False
    value, gradient = objectives.alignreg_cosine(w0, w, mask)
    rest, _ = objectives.alignreg_cosine(w0[[0, 2, 3, 4]], w[[0, 2, 3, 4]], mask[[0, 2, 3, 4]])
    assert float(value - rest) == pytest.approx(1.0)
    assert (gradient[1] == 0).all()


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
def test_identity_right_after_the_first_mask(sparsity):
    """cos(w0, ŵ) = ‖ŵ‖/‖w0‖ = √(1 − ‖w0−ŵ‖²/‖w0‖²) when nothing has moved yet; not afterwards."""
    w0, _, _ = case(size=(9, 14))
    mask = select({"a": w0.abs()}, sparsity)["a"]
    cosine = 1 - float(objectives.alignreg_cosine(w0, w0, mask, per="layer")[0])
    distance = float(objectives.alignreg_frobenius(w0, w0, mask)[0]) / len(w0)
    assert cosine == pytest.approx(float((mask * w0).norm() / w0.norm()), rel=1e-12)
    assert cosine == pytest.approx(math.sqrt(1 - distance), rel=1e-12)
    longer = 1.5 * w0  # moved since: the angle stays, the distance does not
    assert 1 - float(objectives.alignreg_cosine(w0, longer, mask, per="layer")[0]) == pytest.approx(cosine, rel=1e-12)
    assert float(objectives.alignreg_frobenius(w0, longer, mask)[0]) / len(w0) != pytest.approx(distance, rel=0.1)


def test_small_angles_do_not_cancel_in_single_precision():
    w0 = torch.randn(4, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64).float().double()
    w = (
        (w0 + 1e-4 * torch.randn(4, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
        .float()
        .double()
    )
    mask = torch.ones_like(w0)
    for shape in ({"per": "unit"}, {"per": "layer"}):
        exact = objectives.alignreg_cosine(w0, w, mask, **shape)
        single = objectives.alignreg_cosine(w0.float(), w.float(), mask.float(), **shape)
        assert float(single[0]) == pytest.approx(
            float(exact[0]), rel=1e-2
        )  # 1 − cos, taken plainly, would be off by 1000%
        torch.testing.assert_close(single[1].double(), exact[1], rtol=0.02, atol=float(exact[1].abs().max()) * 0.01)


def test_regularizers_leave_their_arguments_alone():
    w0, w, mask = case()
    before = [x.clone() for x in (w0, w, mask)]
    for function, _, shape in REGULARIZERS.values():
        function(w0, w, mask, **shape)
    assert all(torch.equal(a, b) for a, b in zip(before, (w0, w, mask), strict=True))


STEPS = {
    "alignreg_cosine": [{"per": "unit"}, {"per": "layer"}],
    "alignreg_frobenius": [{"squared": True}, {"squared": False}],
    "l2_sp": [{}],
}


@pytest.mark.parametrize("name, shape", [(name, shape) for name, shapes in STEPS.items() for shape in shapes])
@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_step_is_the_sum_over_matrices(monkeypatch, name, shape, stacked, known):
    monkeypatch.setattr(weight_space, "TILE", 20)
    if stacked:  # the way of accelerators, on the CPU
        monkeypatch.setattr(weight_space, "_tiles", weight_space._stacks)
    sizes = {"a": (5, 7), "b": (9, 4), "c": (5, 7)}
    cases = {key: tuple(x.float() for x in case(i, size)) for i, (key, size) in enumerate(sizes.items())}
    grads = {key: torch.ones(size) for key, size in sizes.items()}
    references, weights, masks = ({key: found[i] for key, found in cases.items()} for i in range(3))
    before = math.sqrt(sum(grad.numel() for grad in grads.values()))
    constants = objectives.alignreg_constants(name, references, **shape) if known else None
    value, norm, task = objectives.alignreg_step(name, references, weights, masks, grads, 0.5, constants, **shape)
    assert float(task) == pytest.approx(before, rel=1e-6)
    single = {key: OBJECTIVES[name].function(*found, **shape) for key, found in cases.items()}
    assert float(value) == pytest.approx(sum(float(v) for v, _ in single.values()), rel=1e-5)
    assert float(norm) == pytest.approx(math.sqrt(sum(float(g.square().sum()) for _, g in single.values())), rel=1e-5)
    for key in sizes:
        torch.testing.assert_close(grads[key], 1 + 0.5 * single[key][1])


def test_step_takes_trained_parameters_and_half_precision_gradients():
    w0, w, mask = (x.float() for x in case())
    parameter = torch.nn.Parameter(w)
    parameter.grad = torch.zeros_like(w)
    objectives.alignreg_step("alignreg_cosine", {"a": w0}, {"a": parameter}, {"a": mask}, {"a": parameter.grad}, 1.0)
    torch.testing.assert_close(parameter.grad, objectives.alignreg_cosine(w0, w, mask)[1])
    low = torch.zeros_like(w, dtype=torch.bfloat16)
    objectives.alignreg_step("l2_sp", {"a": w0}, {"a": parameter}, {"a": mask}, {"a": low}, 1.0)
    torch.testing.assert_close(low.float(), parameter.grad * 0 + objectives.l2_sp(w0, w, mask)[1], rtol=0.01, atol=0.01)


# --- cross-correlation ----------------------------------------------------------------------------------------------


def states(batch=16, width=6, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    teacher = torch.randn(batch, width, generator=generator, dtype=torch.float64) + 1.5
    return (teacher + 0.5 * torch.randn(batch, width, generator=generator, dtype=torch.float64)).to(dtype), teacher.to(
        dtype
    )


def awkward_states():
    student, teacher = states()
    flat, flat_teacher = student.clone(), teacher.clone()
    flat[:, 2] = 0.1
    flat_teacher[:, 4] = -3.0
    tied, tied_teacher = student.clone(), teacher.clone()
    tied[::2], tied_teacher[::2] = tied[0], tied_teacher[0]
    return {
        "plain": (student, teacher),
        "same": (teacher, teacher),
        "constant features": (flat, flat_teacher),
        "constant features in single": (flat.float(), flat_teacher.float()),
        "all constant": (torch.ones_like(student), teacher),
        "tied rows": (tied, tied_teacher),
        "half": states(dtype=torch.float16),
        "non-contiguous": tuple(x.t() for x in states(6, 16)),
        "wide": states(4, 20),
        "one feature": (student[:, :1], teacher[:, :1]),
        "two rows": (student[:2], teacher[:2]),
    }


@pytest.mark.parametrize("name", awkward_states())
@pytest.mark.parametrize("normalise", [True, False])
def test_cross_correlation_matches_reference(name, normalise):
    student, teacher = awkward_states()[name]
    found = objectives.cross_correlation(student, teacher, 0.2, normalise)
    assert found.dim() == 0
    assert float(found) == pytest.approx(
        reference.cross_correlation(student, teacher, 0.2, normalise), rel=1e-4, abs=1e-9
    )
    on, off = objectives.cross_correlation_parts(student, teacher, normalise)
    assert float(on + 0.2 * off) == pytest.approx(float(found), rel=1e-6)


def test_independent_states_leave_the_same_loss_at_every_size():
    """The reason for normalising: on independent features both parts are near 1, whatever B and D."""
    for batch, width in ((16, 32), (64, 32), (64, 256)):
        generator = torch.Generator().manual_seed(batch + width)
        pair = (torch.randn(batch, width, generator=generator) for _ in range(2))
        on, off = objectives.cross_correlation_parts(*pair)
        assert float(on) == pytest.approx(1 + 1 / (batch - 1), abs=0.25)
        assert float(off) == pytest.approx(1, abs=0.1)


def test_cross_correlation_is_not_zero_at_the_teacher():
    _, teacher = states()
    on, off = objectives.cross_correlation_parts(teacher, teacher)
    assert float(on) == pytest.approx(0, abs=1e-12)
    assert float(off) > 0.1


def test_cross_correlation_ignores_scale_and_shift_of_each_feature():
    student, teacher = states()
    moved = student * torch.linspace(0.1, 9, 6, dtype=torch.float64) + 4
    assert float(objectives.cross_correlation(moved, teacher)) == pytest.approx(
        float(objectives.cross_correlation(student, teacher))
    )


def test_cross_correlation_gradient_reaches_the_student_only():
    student, teacher = (x.requires_grad_(True) for x in states())
    assert torch.autograd.gradcheck(lambda s: objectives.cross_correlation(s, teacher.detach()), student)
    objectives.cross_correlation(student, teacher).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0
    constant = torch.ones(8, 3, dtype=torch.float64, requires_grad=True)
    objectives.cross_correlation(constant, torch.randn(8, 3, dtype=torch.float64)).backward()
    assert (constant.grad == 0).all()


def test_autocast_does_not_round_the_products():
    student, teacher = states(64, 32, dtype=torch.float32)
    exact = objectives.cross_correlation(student, teacher)
    positives = torch.eye(64, dtype=torch.bool)
    contrast = objectives.contrastive(student, teacher, positives, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(objectives.cross_correlation(student, teacher), exact)
        assert torch.equal(objectives.contrastive(student, teacher, positives, 0.1), contrast)


# --- contrast -------------------------------------------------------------------------------------------------------


def contrast_case(seed=0, anchors=5, candidates=9, width=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(anchors, width, generator=generator, dtype=torch.float64).to(dtype)
    c = torch.randn(candidates, width, generator=generator, dtype=torch.float64).to(dtype)
    positives = torch.rand(anchors, candidates, generator=generator) < 0.3
    positives[1] = False
    return a, c, positives, torch.rand(anchors, candidates, generator=generator) < 0.8


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("limited", [False, True])
def test_contrastive_matches_reference(seed, dtype, limited):
    a, c, positives, valid = contrast_case(seed, dtype=dtype)
    valid = valid if limited else None
    found = objectives.contrastive(a, c, positives, 0.3, valid)
    assert found == objectives.contrastive(a, c, positives.float(), 0.3, valid)
    expected = reference.contrastive(a, c, positives.tolist(), 0.3, None if valid is None else valid.tolist())
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_one_positive_is_info_nce():
    a, c, _, _ = contrast_case()
    labels = torch.tensor([3, 0, 8, 8, 1])
    positives = functional.one_hot(labels, 9).bool()
    logits = functional.normalize(a, dim=1) @ functional.normalize(c, dim=1).T / 0.1
    assert float(objectives.contrastive(a, c, positives, 0.1)) == pytest.approx(
        float(functional.cross_entropy(logits, labels))
    )


def test_invalid_candidates_do_not_matter():
    a, c, positives, valid = contrast_case()
    changed = c.clone()
    only = valid.clone()
    only[:, 4] = False
    changed[4] *= -1
    pair = [objectives.contrastive(a, x, positives, 0.1, only) for x in (c, changed)]
    assert torch.equal(*pair)


def test_contrastive_without_positives_is_zero_with_a_gradient():
    a, c, _, _valid = contrast_case()
    a.requires_grad_(True)
    loss = objectives.contrastive(a, c, torch.zeros(5, 9, dtype=torch.bool), 0.1)
    loss.backward()
    assert float(loss.detach()) == 0 and (a.grad == 0).all()
    nothing_valid = objectives.contrastive(
        a, c, torch.ones(5, 9, dtype=torch.bool), 0.1, torch.zeros(5, 9, dtype=torch.bool)
    )
    assert float(nothing_valid.detach()) == 0


def test_contrastive_gradients_are_finite_and_right():
    a, c, positives, valid = contrast_case()
    valid[2] = False  # an anchor without any candidate
    a.requires_grad_(True)
    c.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x, y: objectives.contrastive(x, y, positives, 0.5, valid), (a, c))
    objectives.contrastive(a, c, positives, 0.5, valid).backward()
    assert a.grad.isfinite().all() and (a.grad[1] == 0).all() and (a.grad[2] == 0).all()


# --- distillation ---------------------------------------------------------------------------------------------------


def logits(rows=6, classes=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    pair = torch.randn(2, rows, classes, generator=generator, dtype=torch.float64) * 2
    return pair[0].to(dtype), pair[1].to(dtype), torch.randint(0, classes, (rows,), generator=generator)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("weight", [None, 0.0, 0.3, 1.0])
def test_self_regularised_matches_reference(dtype, temperature, weight):
    student, teacher, labels = logits(dtype=dtype)
    labels[2] = -100
    found = objectives.self_regularised(student, teacher, labels, temperature, weight)
    assert float(found) == pytest.approx(
        reference.self_regularised(student, teacher, labels.tolist(), temperature, weight), rel=1e-5
    )


def test_self_regularised_limits():
    student, teacher, labels = logits()
    entropy_loss = float(functional.cross_entropy(student, labels))
    assert float(objectives.self_regularised(student, teacher, labels, weight=0.0)) == pytest.approx(entropy_loss)
    full = float(objectives.self_regularised(student, teacher, labels, weight=1.0))
    assert full == pytest.approx(float(objectives.distillation_kl(student, teacher, 2.0)))
    unsure = torch.zeros_like(student)  # uniform: a = 0, labels only
    assert float(objectives.self_regularised(unsure, teacher, labels)) == pytest.approx(math.log(4))
    sure = 80 * functional.one_hot(labels, 4).double()  # certain: a = 1, teacher only
    assert float(objectives.self_regularised(sure, sure, labels)) == pytest.approx(0, abs=1e-9)


def test_self_regularised_detaches_its_weight():
    student, teacher, labels = logits()
    student.requires_grad_(True)
    loss = objectives.self_regularised(student, teacher, labels)
    shares = [1 + sum(p * math.log(p) for p in reference.softmax(row)) / math.log(4) for row in student.tolist()]
    a = torch.tensor(shares, dtype=torch.float64)
    divergence = 4 * functional.kl_div(
        functional.log_softmax(student / 2, 1),
        functional.log_softmax(teacher / 2, 1),
        reduction="none",
        log_target=True,
    ).sum(1)
    by_hand = (a * divergence + (1 - a) * functional.cross_entropy(student, labels, reduction="none")).mean()
    for found, expected in zip(torch.autograd.grad(loss, student), torch.autograd.grad(by_hand, student), strict=True):
        torch.testing.assert_close(found, expected)


def test_self_regularised_over_tokens():
    student, teacher, labels = logits(rows=12)
    flat = objectives.self_regularised(student, teacher, labels)
    shaped = objectives.self_regularised(student.view(3, 4, 4), teacher.view(3, 4, 4), labels.view(3, 4))
    assert float(flat) == pytest.approx(float(shaped))
    nothing = torch.full_like(labels, -100)
    assert float(objectives.self_regularised(student, teacher, nothing)) == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_distances_match_reference(dtype):
    student, teacher, _ = logits(dtype=dtype)
    assert float(objectives.distillation_kl(student, teacher, 3.0)) == pytest.approx(
        reference.distillation_kl(student, teacher, 3.0), rel=1e-4
    )
    assert float(objectives.state_mse(student, teacher)) == pytest.approx(
        reference.state_mse(student, teacher), rel=1e-4
    )
    assert float(objectives.state_cosine(student, teacher)) == pytest.approx(
        reference.state_cosine(student, teacher), rel=1e-4
    )
    for distance in (
        lambda x: objectives.distillation_kl(x, x, 2.0),
        lambda x: objectives.state_mse(x, x),
        lambda x: objectives.state_cosine(x, x),
    ):
        assert float(distance(student)) == pytest.approx(0, abs=1e-6)


def test_distances_have_the_right_gradients():
    student, teacher, _ = logits()
    student.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda s: objectives.distillation_kl(s, teacher, 2.0), student)
    assert torch.autograd.gradcheck(lambda s: objectives.state_mse(s, teacher), student)
    assert torch.autograd.gradcheck(lambda s: objectives.state_cosine(s, teacher), student)


def test_teachers_get_no_gradient():
    student, teacher, labels = logits()
    teacher.requires_grad_(True)
    student.requires_grad_(True)
    total = objectives.self_regularised(student, teacher, labels) + objectives.distillation_kl(student, teacher, 2.0)
    (total + objectives.state_mse(student, teacher) + objectives.state_cosine(student, teacher)).backward()
    assert teacher.grad is None and student.grad.isfinite().all()


# --- errors ---------------------------------------------------------------------------------------------------------

W0, W, M = case()
STUDENT, TEACHER = states()
A, C, P, V = contrast_case()
S, T, L = logits()
NAN = float("nan")


def broken(x):
    out = x.clone()
    out[0, 0] = NAN
    return out


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: objectives.alignreg_cosine(W0, W, M, per="row"), "per: must be one of unit, layer; got 'row'"),
        (lambda: objectives.alignreg_cosine(W0[:2], W, M), "reference: must have the weight's shape"),
        (lambda: objectives.alignreg_cosine(W0, W, M[:, :2]), "mask: must have the weight's shape"),
        (lambda: objectives.alignreg_cosine(W0[0], W[0], M[0]), "weight: must have 2 axes"),
        (lambda: objectives.alignreg_cosine(broken(W0), W, M), "reference: must be finite; got 1"),
        (lambda: objectives.alignreg_frobenius(W0, broken(W), M), "weight: must be finite; got 1"),
        (lambda: objectives.alignreg_frobenius(W0 * 0, W, M), "reference: must not be all zero"),
        (lambda: objectives.l2_sp(W0[:0], W[:0], M[:0]), "reference: must not be empty"),
        (lambda: objectives.alignreg_step("none", {"a": W0}, {"a": W}, {"a": M}, {"a": W}, 1.0), "name: must be one of alignreg_cosine"),
        (lambda: objectives.alignreg_step("l2_sp", {"a": W0}, {"a": W}, {"a": M}, {"a": W}, -1.0), "strength: must be a number from 0; got -1"),
        (lambda: objectives.cross_correlation(STUDENT, TEACHER[:, :3]), "teacher: must have the student's shape"),
        (lambda: objectives.cross_correlation(STUDENT[:1], TEACHER[:1]), "student: must have at least 2 rows to correlate over; got 1"),
        (lambda: objectives.cross_correlation(STUDENT[:0], TEACHER[:0]), "student: must not be empty"),
        (lambda: objectives.cross_correlation(STUDENT[0], TEACHER[0]), "student: must have 2 axes"),
        (lambda: objectives.cross_correlation(broken(STUDENT), TEACHER), "student: must be finite"),
        (lambda: objectives.cross_correlation(STUDENT, broken(TEACHER)), "teacher: must be finite"),
        (lambda: objectives.cross_correlation(STUDENT, TEACHER, -0.1), "off_diagonal: must be a number from 0; got -0.1"),
        (lambda: objectives.contrastive(A, C, P, 0.0), "temperature: must be a number above 0; got 0.0"),
        (lambda: objectives.contrastive(A, C[:, :2], P, 0.1), r"candidates: must have the anchors' width: \(9, 4\); got \(9, 2\)"),
        (lambda: objectives.contrastive(A, C, P.T, 0.1), r"positives: must have one flag per anchor and candidate: \(5, 9\)"),
        (lambda: objectives.contrastive(A, C, P, 0.1, V[:2]), "valid: must have one flag per anchor and candidate"),
        (lambda: objectives.contrastive(broken(A), C, P, 0.1), "anchors: must be finite"),
        (lambda: objectives.contrastive(A, broken(C), P, 0.1), "candidates: must be finite"),
        (lambda: objectives.contrastive(A[:0], C, P[:0], 0.1), "anchors: must not be empty"),
        (lambda: objectives.self_regularised(S, T[:, :2], L), "teacher_logits: must have the student's shape"),
        (lambda: objectives.self_regularised(S, T, L[:2]), "labels: must have one label per row"),
        (lambda: objectives.self_regularised(S, T, L + 4), "labels: must be from 0 to 3 or -100; got"),
        (lambda: objectives.self_regularised(S[:, :1], T[:, :1], L * 0), "student_logits: must have rows of at least 2 classes"),
        (lambda: objectives.self_regularised(broken(S), T, L), "student_logits: must be finite"),
        (lambda: objectives.self_regularised(S, broken(T), L), "teacher_logits: must be finite"),
        (lambda: objectives.self_regularised(S, T, L, 0.0), "temperature: must be a number above 0"),
        (lambda: objectives.self_regularised(S, T, L, 2.0, 1.5), "weight: must be a number from 0 to 1; got 1.5"),
        (lambda: objectives.distillation_kl(S[:, :1], T[:, :1], 2.0), "student_logits: must have rows of at least 2 classes"),
        (lambda: objectives.distillation_kl(S, T, -1.0), "temperature: must be a number above 0"),
        (lambda: objectives.state_mse(S, T[:2]), "teacher: must have the student's shape"),
        (lambda: objectives.state_cosine(S[:0], T[:0]), "student: must not be empty"),
    ],
)  # fmt: skip
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- the table ------------------------------------------------------------------------------------------------------

WEIGHT_SPACE = [name for name, row in OBJECTIVES.items() if "reference" in row.needs]
REMEMBERING = [name for name, row in OBJECTIVES.items() if row.needs & {"latest_teacher", "banks"}]
OUTPUT_SPACE = [name for name in OBJECTIVES if name not in WEIGHT_SPACE + REMEMBERING]


def outputs(name, rows=16):
    """What a row of output space is given: only what it needs, None for the rest."""
    student, teacher, _ = logits(rows, 5)
    inner, inner_teacher = states(rows)
    needs = OBJECTIVES[name].needs
    given = [torch.tensor(1.25, dtype=torch.float64, requires_grad=True)]
    for pair, need in (((student, teacher), "teacher_logits"), ((inner, inner_teacher), "teacher_states")):
        given.append((pair[0].requires_grad_(True), pair[1]) if need in needs else (None, None))
    return given[0], given[1][0], given[2][0], given[1][1], given[2][1]


@pytest.mark.parametrize("name", WEIGHT_SPACE)
def test_every_weight_space_row_keeps_the_contract(name):
    row, (w0, w, mask) = OBJECTIVES[name], case()
    shape = {key: row.defaults()[key] for key in row.options["shape"]}
    value, gradient = row.function(w0, w, mask, **shape)
    assert value.dim() == 0 and gradient.shape == w.shape
    assert row.defaults().keys() - shape.keys() - {"before_mask"} == {"strength", "reference"}
    assert name in weight_space.KERNELS


@pytest.mark.parametrize("name", OUTPUT_SPACE)
def test_every_output_space_row_keeps_the_contract(name):
    row, given = OBJECTIVES[name], outputs(name)
    loss, logged = row.function(*given, **row.defaults())
    loss.backward()
    assert loss.dim() == 0 and given[0].grad is not None
    assert all(not value.requires_grad and value.dim() == 0 for value in logged.values())
    assert all(x.grad.abs().sum() > 0 for x in given[1:3] if x is not None)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_row_is_described(name):
    row = OBJECTIVES[name]
    assert row.title and row.what.endswith(".") and row.section.startswith("M§") and row.source
    assert row.needs <= {"reference", "teacher_logits", "teacher_states", "latest_teacher", "banks"}
    assert all(parameter.problem(parameter.default) is None for parameter in row.parameters)


@pytest.mark.parametrize("name", [name for name in OUTPUT_SPACE if "alpha" in OBJECTIVES[name].defaults()])
def test_alpha_zero_is_the_task_loss(name):
    row, given = OBJECTIVES[name], outputs(name)
    loss, _ = row.function(*given, **{**row.defaults(), "alpha": 0.0})
    assert float(loss.detach()) == 1.25


def test_a_single_output_is_distilled_by_its_squared_error() -> None:
    student, teacher = torch.randn(6, 1, requires_grad=True), torch.randn(6, 1)
    loss, logged = OBJECTIVES["sdp_kld"].function(torch.tensor(2.0), student, None, teacher, None, alpha=0.25)
    expected = float(((student.detach() - teacher) ** 2).mean())
    assert float(logged["divergence"]) == pytest.approx(expected)
    assert float(loss.detach()) == pytest.approx(0.75 * 2 + 0.25 * expected)
    assert torch.equal(objectives.soft_target_loss(S, T, 2.0), objectives.distillation_kl(S, T, 2.0))


def test_sdp_totals():
    task, student, _, teacher, _ = outputs("sdp_kld")
    loss, logged = OBJECTIVES["sdp_kld"].function(task, student, None, teacher, None, alpha=0.3, temperature=3.0)
    assert float(loss.detach()) == pytest.approx(0.7 * 1.25 + 0.3 * reference.distillation_kl(student, teacher, 3.0))
    assert float(logged["divergence"]) == pytest.approx(reference.distillation_kl(student, teacher, 3.0))
    task, _, inner, _, inner_teacher = outputs("sdp_cc")
    loss, logged = OBJECTIVES["sdp_cc"].function(task, None, inner, None, inner_teacher, alpha=0.3, off_diagonal=0.2)
    assert float(loss.detach()) == pytest.approx(1.25 + 0.3 * reference.cross_correlation(inner, inner_teacher, 0.2))
    assert set(logged) == {"on_diagonal", "off_diagonal"}
    for name, slow in (("sdp_mse", reference.state_mse), ("sdp_cos", reference.state_cosine)):
        loss, _ = OBJECTIVES[name].function(task, None, inner, None, inner_teacher, alpha=0.3)
        assert float(loss.detach()) == pytest.approx(1.25 + 0.3 * slow(inner, inner_teacher))


@pytest.mark.parametrize("rows, added", [(7, False), (8, True)])
def test_a_small_batch_has_no_cross_correlation(rows, added):
    loss, logged = OBJECTIVES["sdp_cc"].function(*outputs("sdp_cc", rows))
    assert (float(loss.detach()) != 1.25) is added
    assert bool(logged) is added


def test_non_finite_states_reach_the_loss():
    for name in ("sdp_cc", "sdp_kld", "sdp_mse", "sdp_cos"):
        given = [broken(x.detach()) if x is not None and x.dim() == 2 else x for x in outputs(name)]
        assert not OBJECTIVES[name].function(*given)[0].isfinite(), name


def test_alignreg_has_the_size_of_a_clipped_gradient():
    """M§4.1: summed over units, R's gradient is of the size of a clipped task gradient; a mean would vanish."""
    generator = torch.Generator().manual_seed(0)
    w0 = torch.randn(768, 768, generator=generator) * 0.04
    mask = select({"a": w0.abs()}, 0.5)["a"]
    moved = w0 + 0.004 * torch.randn(768, 768, generator=generator)
    _, gradient = objectives.alignreg_cosine(w0, moved, mask)
    assert 0.1 < np.linalg.norm(gradient.numpy()) < 100


# --- contrast with banks (M§4.4) --------------------------------------------------------------------------------------


def bank_case(per_example=2, rows=(3, 0, 5), others=(1, 6, 4)):
    generator = torch.Generator().manual_seed(4)
    anchors = torch.randn(len(rows), 4, generator=generator, dtype=torch.float64, requires_grad=True)
    bank = torch.randn(8, per_example, 4, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 1, 2, 0, 1, 2])
    return anchors, bank, torch.tensor(rows), torch.tensor(others), labels


@pytest.mark.parametrize("per_example", [1, 2])
def test_contrast_with_a_bank_is_the_plain_loop_over_its_candidates(per_example):
    anchors, bank, rows, others, labels = bank_case(per_example)
    found = objectives.bank_contrast(anchors, bank, rows, others, labels, 0.2)
    plain = reference.bank_contrast(anchors.detach(), bank, rows.tolist(), others.tolist(), labels.tolist(), 0.2)
    assert [float(value.detach()) for value in found] == pytest.approx(plain, rel=1e-12)


def test_contrast_with_one_stored_copy_is_infonce():
    """One positive per anchor: cross-entropy of the similarities with the anchor's own row as the class (M§4.4)."""
    anchors, bank, rows, others, labels = bank_case(1)
    by_example, _ = objectives.bank_contrast(anchors, bank, rows, others, labels, 0.5)
    z = functional.normalize(anchors.detach(), dim=1)
    stored = functional.normalize(bank[torch.cat([rows, others]), 0], dim=1)
    logits = torch.cat([z @ z.T, z @ stored.T], dim=1) / 0.5
    logits[:, : len(rows)].fill_diagonal_(-float("inf"))
    target = len(rows) + torch.arange(len(rows))
    assert float(by_example.detach()) == pytest.approx(float(functional.cross_entropy(logits, target)))


def test_the_batch_is_a_candidate_but_learns_nothing_from_it():
    anchors, bank, rows, others, labels = bank_case()
    loss = sum(objectives.bank_contrast(anchors, bank, rows, others, labels, 0.2))
    (gradient,) = torch.autograd.grad(loss, anchors)
    frozen = anchors.detach().clone()
    step, numeric = 1e-6, torch.zeros_like(frozen)
    for i in range(len(frozen)):
        for j in range(frozen.shape[1]):
            sides = []
            for sign in (1, -1):
                moved = frozen.clone()
                moved[i, j] += sign * step
                # Only anchor i moves; as a candidate it stays where it was.
                sides.append(
                    reference.bank_contrast(moved, bank, rows.tolist(), others.tolist(), labels.tolist(), 0.2, frozen)
                )
            numeric[i, j] = (sum(sides[0]) - sum(sides[1])) / (2 * step)
    assert torch.allclose(gradient, numeric, atol=1e-6)


def test_cap_without_contrast_is_distillation():
    student, teacher, _ = logits(3, 5)
    anchors, bank, rows, others, labels = bank_case()
    total, logged = objectives.cap(
        torch.tensor(1.25), student, anchors, teacher, {"pretrained": bank}, rows, {"pretrained": others}, labels,
        unsupervised=0.0, supervised=0.0, task=0.3, distillation=0.7, temperature_kd=2.0,
    )  # fmt: skip
    assert float(total.detach()) == pytest.approx(0.3 * 1.25 + 0.7 * reference.distillation_kl(student, teacher, 2.0))
    assert set(logged) == {"divergence", "contrast_pretrained", "contrast_labels_pretrained"}


def test_cap_adds_every_bank():
    student, teacher, _ = logits(3, 5)
    anchors, bank, rows, others, labels = bank_case()
    banks, drawn = {"pretrained": bank, "snapshots": bank.flip(0)}, {"pretrained": others, "snapshots": others}
    total, _ = objectives.cap(torch.tensor(0.0), student, anchors, teacher, banks, rows, drawn, labels, task=0.0,
                                   distillation=0.0, unsupervised=2.0, supervised=3.0, temperature=0.2)  # fmt: skip
    plain = [
        reference.bank_contrast(anchors.detach(), values, rows.tolist(), others.tolist(), labels.tolist(), 0.2)
        for values in banks.values()
    ]
    assert float(total.detach()) == pytest.approx(sum(2 * a + 3 * b for a, b in plain))

"""Criteria against plain loops, over awkward inputs; the derivation of PINS by enumeration; the table's contract."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from engine import criteria
from engine.criteria import CRITERIA, Movement, Pins, Platon
from tests import reference


def weights() -> dict[str, torch.Tensor]:
    """4×6 matrices (but for the last): the inputs that break careless code."""
    generator = torch.Generator().manual_seed(2)
    plain = torch.randn(4, 6, generator=generator)
    return {
        "plain": plain,
        "double": plain.double() * 1e-3,
        "half": plain.half(),
        "bfloat16": plain.bfloat16(),
        "turned": torch.randn(6, 4, generator=generator).t(),
        "strided": torch.randn(8, 12, generator=generator)[::2, ::2],
        "constant": torch.full((4, 6), -0.5),
        "zeros": torch.zeros(4, 6),
        "tied": torch.randint(-2, 3, (4, 6), generator=generator).float(),
        "one row dead": plain * torch.tensor([1.0, 0.0, 1.0, 1.0])[:, None],
    }


def like(weight: torch.Tensor, seed: int = 9) -> torch.Tensor:
    """A gradient of the weight's shape, type and layout."""
    return torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed)).to(weight.dtype)


def close(found: torch.Tensor, expected, rtol: float = 1e-5) -> None:
    assert found.shape == np.shape(expected)
    np.testing.assert_allclose(reference.array(found), expected, rtol=rtol, atol=1e-30)


GRID = pytest.mark.parametrize("weight", weights().values(), ids=weights().keys())


@GRID
def test_scores_match_reference(weight):
    grad = like(weight)
    norm = like(weight)[0].abs()
    close(criteria.magnitude(weight), reference.magnitude(weight))
    close(criteria.lamp(weight), reference.lamp(weight))
    close(criteria.wanda(weight, norm), reference.wanda(weight, norm))
    close(criteria.gradient_magnitude(weight, grad), reference.gradient_magnitude(weight, grad))
    close(criteria.fisher(weight, grad.abs()), reference.fisher(weight, grad.abs()))
    for sign in ("abs", "signed"):
        # η g² and w g can nearly cancel, so the error is measured against their size.
        expected = np.array(reference.pins(weight, grad, 0.3, sign))
        np.testing.assert_allclose(
            reference.array(criteria.pins(weight, grad, 0.3, sign)), expected, rtol=1e-5, atol=1e-6
        )


@GRID
def test_lookahead_matches_reference(weight):
    before = torch.randn(6, 5, generator=torch.Generator().manual_seed(1)).to(weight.dtype)
    after = torch.randn(3, 4, generator=torch.Generator().manual_seed(2)).to(weight.dtype)
    for pair in ((before, after), (before, None), (None, after), (None, None)):
        close(criteria.lookahead(weight, *pair), reference.lookahead(weight, *pair))
    close(criteria.lookahead(weight, None, None), reference.magnitude(weight))


def test_lookahead_is_magnitude_between_orthonormal_neighbours():
    weight = torch.randn(5, 5)
    rotation = torch.linalg.qr(torch.randn(5, 5)).Q
    torch.testing.assert_close(criteria.lookahead(weight, rotation, rotation), weight.abs())


def test_half_precision_does_not_underflow():
    weight, small = torch.full((2, 2), 1e-3, dtype=torch.float16), torch.full((2, 2), 6e-5, dtype=torch.float16)
    assert (criteria.fisher(weight, small) > 0).all()
    assert (criteria.gradient_magnitude(weight, small) > 0).all()
    assert criteria.fisher(weight, small).dtype == torch.float32
    assert criteria.magnitude(weight).dtype == torch.float16


def test_scores_carry_no_graph_and_leave_inputs_alone():
    weight = torch.randn(3, 4, requires_grad=True)
    grad, before = torch.randn(3, 4), weight.detach().clone()
    for score in (
        criteria.magnitude(weight),
        criteria.lamp(weight),
        criteria.pins(weight, grad, 0.1),
        criteria.fisher(weight, grad**2),
    ):
        assert not score.requires_grad
    assert torch.equal(weight.detach(), before)


# --- LAMP -----------------------------------------------------------------------------------------------------------


def test_lamp_by_hand():
    found = criteria.lamp(torch.tensor([[1.0, -2.0], [2.0, 0.0]]))
    # Ascending: 0, 1, 2 (the later), 2 (the earlier): 0/9, 1/9, 4/8, 4/4.
    assert found.tolist() == [[1 / 9, 1.0], [0.5, 0.0]]
    assert found.dtype == torch.float64
    assert criteria.lamp(torch.zeros(2, 2)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_lamp_survives_extreme_values():
    assert criteria.lamp(torch.tensor([[1e200, 1e-200, 2e200]], dtype=torch.float64)).tolist() == [[0.2, 0.0, 1.0]]
    assert criteria.lamp(torch.tensor([[3e38, 1e-38, -0.0]])).tolist() == [
        [1.0, pytest.approx(1.1e-153, rel=0.02), 0.0]
    ]


def test_lamp_ways_agree():
    weight = torch.randint(-40, 40, (30, 30)).float()
    assert torch.equal(criteria.lamp(weight), criteria.lamp(weight.double()))
    assert torch.equal(criteria.lamp(weight), criteria.lamp(weight.half()))


# --- random ---------------------------------------------------------------------------------------------------------


def test_random_depends_on_seed_and_name_only():
    def draw(seed, name, dtype=torch.float32):
        return criteria.random(torch.zeros(50, 20, dtype=dtype), criteria.matrix_generator(seed, name))

    assert torch.equal(draw(0, "a"), draw(0, "a"))
    assert torch.equal(draw(0, "a"), draw(0, "a", torch.bfloat16))
    assert not torch.equal(draw(0, "a"), draw(1, "a"))
    assert not torch.equal(draw(0, "a"), draw(0, "b"))
    scores = draw(0, "a")
    assert scores.min() >= 0 and scores.max() < 1 and 0.45 < scores.mean() < 0.55


def test_random_does_not_disturb_the_global_generator():
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    criteria.random(torch.zeros(5, 5), criteria.matrix_generator(0, "a"))
    assert torch.equal(torch.rand(3), expected)


def test_seeds_are_stable_across_versions():
    # A changed hash would silently change every recorded random mask.
    assert criteria.matrix_generator(0, "encoder.layer.0.query").initial_seed() == 1916758987958948170


# --- PINS -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_signed_pins_is_optimal_to_first_order(seed):
    """Every mask of a tiny case: the top k signed scores minimise L(w) + Σ g_i [m_i (w_i − ηg_i) − w_i]."""
    rng = np.random.default_rng(seed)
    w, g, lr = rng.normal(size=8), rng.normal(size=8), 0.2
    scores = criteria.pins(torch.tensor(w)[None], torch.tensor(g)[None], lr, "signed")[0]
    for kept in range(9):
        chosen = set(scores.topk(kept).indices.tolist())
        losses = {
            subset: sum(g[i] * ((w[i] - lr * g[i] if i in subset else 0.0) - w[i]) for i in range(8))
            for subset in itertools.combinations(range(8), kept)
        }
        best = min(losses, key=losses.get)
        assert chosen == set(best)


def test_dead_weights_outrank_live_ones_under_the_signed_score():
    # The defect that keeps "signed" experimental: a weight at zero scores ηg² ≥ 0.
    generator = torch.Generator().manual_seed(0)
    weight, grad = torch.randn(1, 10_000, generator=generator), torch.randn(1, 10_000, generator=generator)
    live = criteria.pins(weight, grad, 1e-3, "signed")
    dead = criteria.pins(torch.zeros_like(weight), grad, 1e-3, "signed")
    assert (dead >= 0).all()
    assert 0.45 < (live < dead).float().mean() < 0.55


# --- criteria that train --------------------------------------------------------------------------------------------


def run(steps: int, seed: int = 0, shape=(3, 4), dtype=torch.float32):
    """(weight, grad, lr) of some training steps."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(shape, generator=generator).to(dtype),
            torch.randn(shape, generator=generator).to(dtype),
            0.1 / (t + 1),
        )
        for t in range(steps)
    ]


@pytest.mark.parametrize("window, steps", [(1, 1), (1, 7), (3, 3), (3, 11), (10, 25)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_platon_matches_reference(window, steps, dtype):
    state, trace = Platon(0.85, 0.95, window), run(steps, dtype=dtype)
    for weight, grad, _ in trace:
        state.update("a", weight, grad)
    importance, uncertainty = reference.smoothed(
        [np.abs(reference.array(w) * reference.array(g)) for w, g, _ in trace], 0.85, 0.95, window
    )
    close(state.scores()["a"], importance * uncertainty, rtol=1e-4)
    assert state.scores()["a"].dtype == torch.float32


@pytest.mark.parametrize("sign", ["abs", "signed"])
@pytest.mark.parametrize("window, steps", [(1, 4), (3, 11), (10, 25)])
def test_pins_matches_reference(sign, window, steps):
    state, trace = Pins(0.8, 0.9, window, sign), run(steps)
    for weight, grad, lr in trace:
        state.update("a", weight, grad, lr)
    importance, uncertainty = reference.smoothed([reference.pins(*step, sign) for step in trace], 0.8, 0.9, window)
    expected = importance * uncertainty if sign == "abs" else importance
    np.testing.assert_allclose(state.scores()["a"].numpy(), expected, rtol=1e-4, atol=1e-7)


def test_platon_without_memory_is_the_last_window():
    state, trace = Platon(0.0, 0.0, 2), run(4)
    for weight, grad, _ in trace:
        state.update("a", weight, grad)
    assert (state.scores()["a"] == 0).all()  # Ī is then the window itself, which leaves no deviation


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_movement_matches_reference(optimiser):
    state, trace = Movement(0.05, optimiser), run(9)
    for weight, grad, _ in trace:
        state.update("a", weight, grad)
    pairs = [(w, g) for w, g, _ in trace]
    expected = reference.movement(pairs, 0.05) if optimiser == "sgd" else reference.adam(pairs, 0.05)
    np.testing.assert_allclose(state.scores()["a"].numpy(), expected, rtol=1e-4, atol=1e-6)


def test_movement_is_what_sgd_learns_through_a_straight_through_mask():
    """The gradient of a loss of m⊙w with respect to m, carried through to S, is w·g."""
    weight, scores = torch.randn(3, 4), torch.zeros(3, 4, requires_grad=True)
    target, state = torch.randn(3, 4), Movement(0.1)
    optimiser = torch.optim.SGD([scores], lr=0.1)
    for _ in range(4):
        mask = (scores > -0.05).float() + scores - scores.detach()
        masked = mask * weight
        masked.retain_grad()
        ((masked - target) ** 2).sum().backward()
        state.update("a", weight, masked.grad)
        optimiser.step()
        optimiser.zero_grad()
    torch.testing.assert_close(state.scores()["a"], scores.detach())


def test_movement_adam_is_torch_adam():
    trace, scores = run(6), torch.zeros(3, 4, requires_grad=True)
    optimiser, state = torch.optim.Adam([scores], lr=0.02), Movement(0.02, "adam")
    for weight, grad, _ in trace:
        scores.grad = weight * grad
        optimiser.step()
        state.update("a", weight, grad)
    torch.testing.assert_close(state.scores()["a"], scores.detach())


MAKERS = [
    lambda: Platon(window=3),
    lambda: Pins(window=3),
    lambda: Pins(window=3, sign="signed"),
    lambda: Movement(),
    lambda: Movement(optimiser="adam"),
]


def advance(state, trace):
    for weight, grad, lr in trace:
        for name, scale in (("layer.0.query", 1.0), ("layer.1.key", 2.0)):
            state.update(name, weight * scale, grad, *([lr] if isinstance(state, Pins) else []))


@pytest.mark.parametrize("make", MAKERS)
def test_states_resume_bit_for_bit(make, tmp_path):
    from safetensors.torch import load_file, save_file

    straight, first, resumed = make(), make(), make()
    trace = run(10)
    advance(straight, trace)
    advance(first, trace[:5])
    save_file(first.state_dict(), tmp_path / "state.safetensors")
    resumed.load_state_dict(load_file(tmp_path / "state.safetensors"))
    advance(resumed, trace[5:])
    assert straight.scores().keys() == resumed.scores().keys() == {"layer.0.query", "layer.1.key"}
    assert all(torch.equal(value, resumed.scores()[name]) for name, value in straight.scores().items())


@pytest.mark.parametrize("make", MAKERS)
def test_reading_scores_changes_nothing(make):
    state = make()
    advance(state, run(3))
    state.scores()["layer.0.query"].zero_()
    assert (state.scores()["layer.0.query"] != 0).any()


def test_no_scores_before_there_are_any():
    state = Platon(window=3)
    with pytest.raises(ValueError, match="at least one complete window of 3 updates; got 0"):
        state.scores()
    state.update("a", torch.ones(2, 2), torch.ones(2, 2))
    with pytest.raises(ValueError, match="at least one complete window of 3 updates; got 1"):
        state.scores()
    with pytest.raises(ValueError, match="at least one update"):
        Movement().scores()


# --- gates and structures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_hard_concrete_matches_reference(dtype):
    log_alpha = torch.linspace(-6, 6, 25, dtype=dtype)
    uniform = torch.rand(25, generator=torch.Generator().manual_seed(0), dtype=dtype).clamp(1e-4, 1 - 1e-4)
    noisy = [reference.hard_concrete(a, u) for a, u in zip(log_alpha.tolist(), uniform.tolist(), strict=True)]
    np.testing.assert_allclose(criteria.hard_concrete(log_alpha, uniform).numpy(), noisy, rtol=1e-4, atol=1e-6)
    still = [reference.hard_concrete(a, None) for a in log_alpha.tolist()]
    np.testing.assert_allclose(criteria.hard_concrete(log_alpha).numpy(), still, rtol=1e-4, atol=1e-6)
    penalty = float(criteria.hard_concrete_penalty(log_alpha))
    assert penalty == pytest.approx(reference.hard_concrete_penalty(log_alpha), rel=1e-5)


def test_hard_concrete_penalty_is_the_expected_number_of_open_gates():
    log_alpha = torch.tensor([-3.0, -1.0, 0.0, 2.0]).expand(20_000, 4)
    uniform = torch.rand(log_alpha.shape, generator=torch.Generator().manual_seed(1)).clamp(1e-6, 1 - 1e-6)
    opened = (criteria.hard_concrete(log_alpha, uniform) > 0).float().mean(0).sum()
    assert float(criteria.hard_concrete_penalty(log_alpha[0])) == pytest.approx(float(opened), abs=0.02)


def test_gates_are_differentiable():
    log_alpha = torch.zeros(6, requires_grad=True)
    (
        criteria.hard_concrete(log_alpha, torch.full((6,), 0.4)).sum() + criteria.hard_concrete_penalty(log_alpha)
    ).backward()
    assert (log_alpha.grad > 0).all()
    scores = torch.zeros(6, requires_grad=True)
    penalty = criteria.soft_movement_penalty(scores, 0.05, 0.1, 4.0)
    assert float(penalty.detach()) == pytest.approx(4.0 * 0.05 / 0.1 * 0.5)
    penalty.backward()
    np.testing.assert_allclose(scores.grad.numpy(), 2.0 * 0.25 / 6, rtol=1e-6)


def test_soft_threshold_mask():
    scores = torch.tensor([[-3.0, 0.0], [3.0, -1.0]])
    assert criteria.soft_threshold_mask(scores, 0.4).tolist() == [[False, True], [True, False]]
    assert criteria.soft_threshold_mask(scores, 0.5).tolist() == [
        [False, False],
        [True, False],
    ]  # σ(0) = 0.5 does not pass
    tied = torch.zeros(20, 30)
    mask = criteria.soft_threshold_mask(tied, 0.9)
    assert mask.flatten().nonzero().flatten().tolist() == [0, 1, 2]  # 0.5% of 600, the earlier among equals


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_structured_scores_match_reference(dtype):
    generator = torch.Generator().manual_seed(0)
    grads = torch.randn(5, 7, generator=generator).to(dtype)
    close(criteria.taylor_structured(grads), reference.taylor_structured(grads))
    assert float(criteria.taylor_structured(grads).norm()) == pytest.approx(1.0, rel=1e-6)
    assert criteria.taylor_structured(torch.zeros(3, 4)).tolist() == [0.0] * 4
    streamed = grads.float().abs().sum(0, keepdim=True)
    torch.testing.assert_close(criteria.taylor_structured(streamed), criteria.taylor_structured(grads.float()))

    outputs, inner = (
        torch.randn(6, 3, 4, generator=generator).to(dtype),
        torch.randn(6, 3, 4, generator=generator).to(dtype),
    )
    valid = torch.tensor([1, 1, 0, 1, 0, 1], dtype=torch.bool)
    close(criteria.head_sensitivity(outputs, inner), reference.head_sensitivity(outputs, inner))
    close(criteria.head_sensitivity(outputs, inner, valid), reference.head_sensitivity(outputs, inner, valid.tolist()))


def test_head_sensitivity_is_blind_to_padding():
    outputs, grads = torch.randn(4, 2, 3), torch.randn(4, 2, 3)
    padded = [torch.cat([x, torch.full((3, 2, 3), 7.0)]) for x in (outputs, grads)]
    valid = torch.arange(7) < 4
    torch.testing.assert_close(criteria.head_sensitivity(*padded, valid), criteria.head_sensitivity(outputs, grads))


# --- errors ---------------------------------------------------------------------------------------------------------

W, EMPTY = torch.ones(2, 3), torch.empty(0, 3)
BAD = {"nan": float("nan"), "inf": float("inf")}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_non_finite_statistics_are_refused(bad):
    broken = W.clone()
    broken[1, 2] = bad
    calls = {
        "weight": [
            lambda: criteria.magnitude(broken),
            lambda: criteria.lamp(broken),
            lambda: criteria.wanda(broken, torch.ones(3)),
            lambda: criteria.lookahead(broken, None, None),
            lambda: criteria.fisher(broken, W),
            lambda: criteria.pins(broken, W, 0.1),
            lambda: Platon().update("a", broken, W),
            lambda: Movement().update("a", broken, W),
        ],
        "grad": [
            lambda: criteria.gradient_magnitude(W, broken),
            lambda: criteria.fisher(W, broken),
            lambda: criteria.pins(W, broken, 0.1),
            lambda: Pins().update("a", W, broken, 0.1),
            lambda: Movement().update("a", W, broken),
        ],
        "input_norm": [lambda: criteria.wanda(W, broken[1])],
        "before": [lambda: criteria.lookahead(W.t(), broken, None)],
        "after": [lambda: criteria.lookahead(W.t(), None, broken)],
        "log_alpha": [lambda: criteria.hard_concrete(broken), lambda: criteria.hard_concrete_penalty(broken)],
        "scores": [lambda: criteria.soft_threshold_mask(broken, 0.1)],
        "mask_grad": [lambda: criteria.taylor_structured(broken)],
    }
    for name, group in calls.items():
        for call in group:
            with pytest.raises(ValueError, match=f"{name}.*: must be finite; got 1 NaN or infinite of"):
                call()


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: criteria.magnitude(EMPTY), r"weight: must not be empty; got shape \(0, 3\)"),
        (lambda: criteria.lamp(EMPTY), "weight: must not be empty"),
        (lambda: criteria.random(EMPTY, criteria.matrix_generator(0, "a")), "weight: must not be empty"),
        (lambda: criteria.wanda(W, torch.ones(2)), r"input_norm: must have one value per input \(3,\); got \(2,\)"),
        (lambda: criteria.wanda(W, -torch.ones(3)), "input_norm: must not be negative; got -1"),
        (lambda: criteria.wanda(torch.ones(3), torch.ones(3)), "weight: must have 2 axes"),
        (lambda: criteria.lookahead(W, torch.ones(2, 2), None), "before: axis 0 must have length 3"),
        (lambda: criteria.lookahead(W, None, torch.ones(2, 3)), "after: axis 1 must have length 2"),
        (lambda: criteria.gradient_magnitude(W, W.t()), "grad: must have the weight's shape"),
        (lambda: criteria.fisher(W, -W), "grad_sq: must not be negative"),
        (lambda: criteria.pins(W, W, 0.1, "both"), "sign: must be one of abs, signed; got 'both'"),
        (lambda: criteria.pins(W, W, -0.1), "lr: must be a number from 0; got -0.1"),
        (lambda: criteria.pins(W, W, float("nan")), "lr: must be a number from 0"),
        (lambda: Platon(beta1=1.2), "beta1: must be a number from 0 to 1; got 1.2"),
        (lambda: Platon(beta2=-1), "beta2: must be a number from 0 to 1"),
        (lambda: Platon(window=0), "window: must be a number from 1; got 0"),
        (lambda: Platon(window=2.5), "window: must be a whole number; got 2.5"),
        (lambda: Pins(sign="both"), "sign: must be one of abs, signed"),
        (lambda: Movement(lr=0), "lr: must be a number above 0; got 0"),
        (lambda: Movement(optimiser="adamw"), "optimiser: must be one of sgd, adam"),
        (lambda: Platon().update("layer.0", W, W.t()), "grad of layer.0: must have the weight's shape"),
        (lambda: criteria.hard_concrete(W, torch.zeros(2, 3)), "uniform: must lie between 0 and 1"),
        (lambda: criteria.hard_concrete(W, torch.rand(3)), "uniform: must have log_alpha's shape"),
        (lambda: criteria.soft_threshold_mask(W, 1.5), "threshold: must be a number from 0 to 1"),
        (lambda: criteria.soft_movement_penalty(W, 0.2, 0.1, 1.0), "threshold: must be a number from 0 to 0.1; got 0.2"),
        (lambda: criteria.taylor_structured(torch.ones(3)), "mask_grad: must have 2 axes"),
        (lambda: criteria.head_sensitivity(W, W), "outputs: must have 3 axes"),
        (lambda: criteria.head_sensitivity(torch.ones(2, 2, 2), torch.ones(2, 2, 2), torch.ones(3)), "valid: must have one value per token"),
    ],
)  # fmt: skip
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- the table ------------------------------------------------------------------------------------------------------


def statistics(weight: torch.Tensor) -> dict:
    """One of everything that a row may need."""
    grad = like(weight)
    return {
        "grad": grad,
        "grad_sq": grad.square(),
        "input_norm": grad[0].abs() + 0.1,
        "neighbours": (torch.randn(weight.shape[1], 3), None),
        "generator": criteria.matrix_generator(0, "a"),
        "lr": 0.1,
    }


@pytest.mark.parametrize("name", CRITERIA)
def test_every_row_keeps_the_contract(name):
    row, weight = CRITERIA[name], torch.randn(4, 6)
    needed = {key: value for key, value in statistics(weight).items() if key in row.needs}
    if row.options.get("granularity") == "structured":  # collected and called by `stats.unit_scores`, tested there
        assert row.needs in ({"mask_grad"}, {"unit_outputs"}) and set(row.options["units"]) <= {"head", "neuron", "ffn"}
        return
    assert "weight" in row.needs
    assert row.needs - {"weight", "training"} == needed.keys()
    if row.options.get("axis") == "strength":
        gates = row.function(**row.defaults())
        assert gates.factors({"a": weight}, 0.5, True)["a"].shape == weight.shape
        gates.backward("a", weight, needed["grad"], 1.0, 0.5)
        gates.step(1.0)
        assert gates.masks()["a"].dtype == torch.bool and gates.kept("a", weight).shape == weight.shape
        return
    if "training" in row.needs:
        state = row.function(**row.defaults())
        assert row.options["update"] in {"after_backward", "before_step", "after_step"}
        assert row.options["masking"] in {"shadow", "zero_after_step"} and not state.ready
        for _ in range(20):
            state.update("a", weight=weight, **needed)
        assert state.ready
        scores = state.scores()["a"]
    else:
        scores = row.function(weight, **needed, **row.defaults())
    assert scores.shape == weight.shape
    assert scores.isfinite().all()
    assert row.title and row.what.endswith(".") and row.section.startswith("M§") and row.source
    assert all(parameter.problem(parameter.default) is None for parameter in row.parameters)


def test_rows_of_the_table():
    assert {
        "random",
        "magnitude",
        "lookahead",
        "gradient_magnitude",
        "fisher",
        "wanda",
        "lamp",
        "platon",
        "pins",
        "movement",
        "soft_movement",
        "l0",
        "taylor_structured",
        "head_sensitivity",
    } == set(CRITERIA)
    assert CRITERIA["wanda"].options["allocation"] == "row"
    assert CRITERIA["lamp"].options["allocation"] == "lamp"

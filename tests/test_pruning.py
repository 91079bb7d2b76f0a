"""What happens inside a cycle: renewal points, masks behind which weights live on, learned gates, revival."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from engine.criteria import CRITERIA, L0, SoftMovement
from engine.masked import Masked
from engine.model import Matrix
from engine.pruning import Gates, Gradual, Pruning, Revival, renewal_points
from engine.schedule import cubic, one_shot, sparse_dense_sparse
from tests import reference


def network(seed: int = 0) -> tuple[nn.Module, Masked]:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    return model, Masked([Matrix("0", model[0], 0, "a"), Matrix("2", model[2], 0, "b")])


def half(masked: Masked, seed: int = 1) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {m.name: torch.rand(m.weight_OI().shape, generator=generator) > 0.5 for m in masked.matrices}


# -- when masks are renewed --------------------------------------------------------------------------------------------


def test_a_ramp_is_renewed_evenly_and_exactly_at_its_end() -> None:
    points = renewal_points({"warmup": 0.1, "cooldown": 0.3, "renewals": 6, "initial": 0.0}, 100, regrows=False)
    assert points == [20, 30, 40, 50, 60, 70]


def test_scores_that_let_weights_come_back_are_renewed_to_the_end() -> None:
    points = renewal_points({"warmup": 0.1, "cooldown": 0.3, "renewals": 10, "initial": 0.0}, 100, regrows=True)
    assert points[-1] == 100 and {80, 90} <= set(points)


def test_a_jump_is_renewed_once_after_its_warm_up() -> None:
    assert renewal_points({"warmup": 0.25, "initial": 0.0}, 40, regrows=False) == [10]


@given(total=st.integers(1, 500), warmup=st.floats(0.001, 0.999))
def test_a_jump_is_made_within_the_run_and_reaches_its_level(total: int, warmup: float) -> None:
    for regrows in (False, True):
        points = renewal_points({"warmup": warmup, "initial": 0.0}, total, regrows)
        assert 1 <= points[0] <= points[-1] <= total
        assert one_shot(points[-1], total, 0.0, 0.9, warmup) == 0.9


@given(
    total=st.integers(1, 500), warmup=st.floats(0, 0.6), cooldown=st.floats(0, 0.39), renewals=st.integers(1, 80), regrows=st.booleans()
)  # fmt: skip
def test_the_last_renewal_always_sees_the_final_sparsity(
    total: int, warmup: float, cooldown: float, renewals: int, regrows: bool
) -> None:
    points = renewal_points({"warmup": warmup, "cooldown": cooldown, "renewals": renewals}, total, regrows)
    assert points == sorted(set(points)) and points[0] >= 1 and points[-1] <= total
    assert cubic(points[-1], total, 0.0, 0.9, warmup, cooldown) == pytest.approx(0.9)
    assert regrows or len(points) <= renewals + 1


# -- behind the mask -----------------------------------------------------------------------------------------------------


def test_a_network_seen_through_masks_keeps_its_weights() -> None:
    model, masked = network()
    before = [matrix.module.weight.data_ptr() for matrix in masked.matrices]
    whole = {m.name: m.weight_OI().clone() for m in masked.matrices}
    masks = half(masked)
    masked.set(masks, zero=False)
    x = torch.randn(4, 6, dtype=torch.float64)
    with masked.seen():
        out = model(x)
        out.square().sum().backward()
    zeroed, other = network()
    other.set(masks)
    zeroed(x).square().sum().backward()
    assert torch.equal(out, zeroed(x))
    assert all(torch.equal(m.weight_OI(), whole[m.name]) for m in masked.matrices)
    assert [m.module.weight.data_ptr() for m in masked.matrices] == before
    # The gradient is the dense one of what the network saw, also where the mask is 0.
    assert all(
        torch.equal(a.module.weight.grad, b.module.weight.grad)
        for a, b in zip(masked.matrices, other.matrices, strict=True)
    )
    assert any((m.module.weight.grad[~masks[m.name]] != 0).any() for m in masked.matrices)


def test_an_exception_inside_leaves_the_weights_whole() -> None:
    model, masked = network()
    whole = model[0].weight.clone()
    masked.set(half(masked), zero=False)
    with pytest.raises(KeyError), masked.seen():
        raise KeyError
    assert torch.equal(model[0].weight, whole)


class Recorder:
    """A criterion state that records what it is shown."""

    ready = True

    def __init__(self) -> None:
        self.seen: list[tuple[str, torch.Tensor, torch.Tensor]] = []

    def update(self, name: str, weight: torch.Tensor, grad: torch.Tensor, **_: float) -> None:
        self.seen.append((name, weight.clone(), grad.clone()))

    def scores(self) -> dict[str, torch.Tensor]:
        return {}


@pytest.mark.parametrize("name", ["movement", "pins", "platon"])
def test_scores_see_dense_gradients_and_masks_act_as_their_row_says(name: str) -> None:
    model, masked = network()
    masks = half(masked)
    state = Recorder()
    pruning = Gradual(masked, CRITERIA[name], state, lambda *_: masks, lambda _: 0.5, [1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(4, 6, dtype=torch.float64)
    for done in (1, 2):
        with pruning.view(training=True):
            model(x).square().sum().backward()
        pruning.after_backward()
        pruning.before_step(0.1, 1.0)
        optimizer.step()
        pruning.after_step(done, optimizer)
        optimizer.zero_grad()
    second = state.seen[2:]
    assert [entry[0] for entry in second] == ["0", "2"]
    assert all((grad[~masks[name_]] != 0).any() for name_, _, grad in second)
    live = any((m.weight_OI()[~masks[m.name]] != 0).any() for m in masked.matrices)
    assert live == (CRITERIA[name].options["masking"] == "shadow")
    pruning.finish()
    assert all((m.weight_OI()[~masks[m.name]] == 0).all() for m in masked.matrices)


def test_without_a_state_masks_are_nested_and_moments_go_with_the_weights() -> None:
    model, masked = network()
    asked = []

    def choose(scores: object, level: float, keep: dict[str, torch.Tensor] | None) -> dict[str, torch.Tensor]:
        asked.append((level, keep is not None))
        return half(masked)

    pruning = Gradual(masked, CRITERIA["magnitude"], None, choose, lambda done: 0.1 * done, [2, 4])
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    for done in range(1, 6):
        model(torch.randn(4, 6, dtype=torch.float64)).square().sum().backward()
        pruning.after_backward()
        optimizer.step()
        pruning.after_step(done, optimizer)
        optimizer.zero_grad()
    assert asked == [(0.2, False), (0.4, True)]
    masks = half(masked)
    for matrix in masked.matrices:
        moments = optimizer.state[matrix.module.weight]["exp_avg"]
        assert (matrix.weight_OI()[~masks[matrix.name]] == 0).all() and (moments[~masks[matrix.name]] == 0).all()


# -- learned gates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["soft", "l0"])
def test_gates_learn_what_finite_differences_say(kind: str) -> None:
    generator = torch.Generator().manual_seed(2)
    weight, grad = (torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    gates = SoftMovement() if kind == "soft" else L0()
    torch.manual_seed(5)
    gates.factors({"a": weight, "b": weight}, 0.5, True)
    noise = None
    if kind == "l0":
        torch.manual_seed(5)
        noise = torch.rand_like(weight).clamp_(1e-6, 1 - 1e-6)
    gates.backward("a", weight, grad, 3.0, 0.5)
    found = gates.scores["a"].grad
    count = weight.numel() if kind == "soft" else 2 * weight.numel()
    for i, j in ((0, 0), (1, 2), (2, 3)):
        u = None if noise is None else float(noise[i, j])
        score = float(gates.scores["a"].detach()[i, j])
        plain = reference.learned_gate(kind, score, float(weight[i, j]), float(grad[i, j]), 3.0, 0.5, count, 2, u)
        assert float(found[i, j]) == pytest.approx(plain, rel=1e-5, abs=1e-8)


def test_soft_movement_keeps_a_share_of_every_matrix() -> None:
    gates = SoftMovement(lr=1.0)
    weight = torch.randn(20, 20)
    gates.factors({"a": weight}, 1.0, True)
    gates.scores["a"].data.fill_(-50.0)
    assert int(gates.factors({"a": weight}, 1.0, False)["a"].sum()) == math.ceil(0.005 * 400)


@pytest.mark.parametrize("make", [SoftMovement, L0])
def test_a_cycle_with_gates_ends_in_an_ordinary_mask(make: type) -> None:
    model, masked = network()
    pruning = Gates(masked, make(lr=0.5), 30.0, lambda done: done / 20)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    torch.manual_seed(0)
    x = torch.randn(8, 6, dtype=torch.float64)
    for done in range(20):
        with pruning.view(training=True):
            model(x).square().sum().backward()
        facts = pruning.after_backward()
        pruning.before_step(0.01, 1.0)
        optimizer.step()
        pruning.after_step(done + 1, optimizer)
        optimizer.zero_grad()
    with pruning.view():
        seen = model(x)
    pruning.finish()
    assert torch.allclose(model(x), seen)
    masks = masked.masks_OI()
    assert masks is not None and 0 < facts["sparsity"] < 1
    assert all(
        (m.weight_OI()[~masks[m.name]] == 0).all() and (m.weight_OI()[masks[m.name]] != 0).all()
        for m in masked.matrices
    )


@pytest.mark.parametrize("make", [SoftMovement, L0])
def test_a_step_of_gates_reads_back_as_often_for_many_matrices_as_for_few(make: type) -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Reads(TorchDispatchMode):
        """Counts looks at single values, each of which waits for an accelerator."""

        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            self.count += function is torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    def reads(matrices: int) -> int:
        gates = make()
        weights = {str(number): torch.randn(4, 3) for number in range(matrices)}
        with Reads() as seen:
            gates.factors(weights, 0.5, True)
            for name, weight in weights.items():
                gates.backward(name, weight, torch.randn(4, 3), 1.0, 0.5)
        return seen.count

    assert reads(7) == reads(2) <= 1


@pytest.mark.parametrize("make", [SoftMovement, L0])
def test_gates_refuse_scores_that_are_not_finite_with_the_name_of_the_matrix(make: type) -> None:
    gates, weights = make(), {"a": torch.ones(2, 2), "b": torch.ones(2, 2)}
    gates.factors(weights, 0.5, True)
    for name, grad in (("a", 1.0), ("b", math.nan)):
        gates.backward(name, weights[name], torch.full((2, 2), grad), 1.0, 0.5)
    with pytest.raises(ValueError, match="scores of b: must be finite"):
        gates.step(1.0)


@pytest.mark.parametrize("make", [SoftMovement, L0])
def test_gates_go_on_from_a_checkpoint(make: type) -> None:
    def run(gates, steps: int, start: int = 0) -> None:  # type: ignore[no-untyped-def]
        for step in range(start, start + steps):
            torch.manual_seed(step)
            weight = torch.randn(3, 3)
            gates.factors({"a": weight}, 0.5, True)
            gates.backward("a", weight, torch.randn(3, 3), 1.0, 0.5)
            gates.step(1.0)

    whole, first, second = make(), make(), make()
    run(whole, 6)
    run(first, 3)
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    run(second, 3, 3)
    assert torch.equal(whole.scores["a"], second.scores["a"])


# -- sparse, dense, sparse -------------------------------------------------------------------------------------------------


def test_revival_trains_what_was_pruned_and_prunes_again() -> None:
    model, masked = network()
    masks = half(masked)
    masked.set(masks)
    chosen = []

    def choose(scores: object, level: float, keep: object) -> dict[str, torch.Tensor]:
        chosen.append((level, keep, [(m.weight_OI()[~masks[m.name]] != 0).any().item() for m in masked.matrices]))
        return half(masked, 7)

    pruning = Revival(masked, choose, lambda done: sparse_dense_sparse(done, 6, 0.0, 0.5), 0.1)
    assert masked.masks_OI() is None
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for done in range(1, 7):
        model(torch.randn(4, 6, dtype=torch.float64)).square().sum().backward()
        raw = model[0].weight.grad.clone()
        before = model[0].weight.detach().clone()
        pruning.after_backward()
        if done == 2:
            pulled = model[0].weight.grad - raw
            assert torch.allclose(pulled, 0.1 * before.sign() * ~masks["0"])
        optimizer.step()
        pruning.after_step(done, optimizer)
        optimizer.zero_grad()
    assert chosen == [(0.5, None, [True, True])]
    assert all((m.weight_OI()[~half(masked, 7)[m.name]] == 0).all() for m in masked.matrices)


def test_a_plain_cycle_masks_gradients_only() -> None:
    model, masked = network()
    masks = half(masked)
    masked.set(masks)
    model(torch.randn(4, 6, dtype=torch.float64)).square().sum().backward()
    Pruning(masked).after_backward()
    assert all((m.module.weight.grad[~masks[m.name]] == 0).all() for m in masked.matrices)

"""What a choice of recomputation comes to: worked out, simulated and real are the same bytes."""

import copy
import random

import pytest

import memprop as mp

NAMES = (
    *("mlp", "tied", "in_place", "views", "cnn", "attention_math", "attention_fused", "sdpa_math"),
    *("sdpa_flash", "encoder_layer", "encoder_layer_evaluated", "half_norms", "frozen", "twice"),
    *("named", "lstm", "without_gradient", "norms", "custom", "complex_numbers", "gru"),
    "rrelu",
)
WITH_CHECKPOINTS = ("checkpoints", "reentrant_checkpoints", "nested_checkpoints")
"""What these keep for themselves is not among what the step was seen to save."""


def test_no_module_of_the_zoo_is_left_out(zoo):
    assert {*NAMES, *WITH_CHECKPOINTS} == set(zoo.SIMULATED)


def step_of(torch, mpt, module, inputs, seed):
    """The gradients and buffers after a step."""
    from memprop.torch.inputs import arguments, loss_of

    torch.manual_seed(seed)
    args, kwargs = arguments(inputs)
    module.zero_grad()
    loss = loss_of(None, module(*args, **kwargs), None)
    loss.backward()
    gradients = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    return [loss.detach(), *gradients, *(b.clone() for b in module.buffers())]


@pytest.mark.parametrize("name", NAMES)
def test_peaks_are_worked_out_to_the_byte(torch, mpt, zoo, choices, name):
    zoo.skip_without_lstm_in(torch.float32, name)
    module, inputs = zoo.build(name)
    rng = random.Random(name)

    def choose(step):
        return [choices.random_choice(step, rng) for _ in range(3)]

    for candidate, twin in choices.chosen_for(module, inputs, choose):
        assert mpt.simulate(twin, inputs).peak == candidate.outcome.peak
        module.zero_grad()
        assert mpt.trace(twin, inputs).peak == candidate.outcome.peak
        module.zero_grad()


@pytest.mark.parametrize("name", [*NAMES, *WITH_CHECKPOINTS])
def test_all_that_can_run_again_gives_the_same_bits(torch, mpt, zoo, choices, name):
    zoo.skip_without_lstm_in(torch.float32, name)
    module, inputs = zoo.build(name)
    plain = copy.deepcopy(module)
    ((_, twin),) = choices.chosen_for(module, inputs, choices.everything)
    for seed in range(3):
        found = step_of(torch, mpt, twin, inputs, seed)
        expected = step_of(torch, mpt, plain, inputs, seed)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def small(torch, seed):
    """A module of a few operators, of random sizes, each of which reads some of those before."""
    rng = random.Random(seed)
    functions = (torch.tanh, torch.sigmoid, torch.nn.functional.gelu, torch.exp)

    class Small(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.steps, widths = [], [8]
            weights = []
            for _ in range(rng.randint(4, 5)):
                source, kind = rng.randrange(len(widths)), rng.random() * bool(weights)
                if kind < 0.4:
                    width = rng.choice([4, 8, 16, 32])
                    self.steps.append((len(weights), source))
                    weights.append(torch.nn.Parameter(torch.randn(widths[source], width) / 8))
                elif kind < 0.6:
                    same = [n for n, width in enumerate(widths) if width == widths[source]]
                    width = widths[source]
                    self.steps.append((None, (source, rng.choice(same))))
                else:
                    width = widths[source]
                    self.steps.append((rng.choice(functions), source))
                widths.append(width)
            self.weights = torch.nn.ParameterList(weights)

        def forward(self, x):
            values = [x]
            for what, source in self.steps:
                if what is None:
                    values.append(values[source[0]] * values[source[1]])
                elif isinstance(what, int):
                    values.append(values[source] @ self.weights[what])
                else:
                    values.append(what(values[source]))
            return values  # their sum is the loss

    return Small(), torch.randn(64, 8)


def cheapest_simulated(mpt, choices, module, x):
    """For every choice its simulated peak and what it computes again, counted as it runs."""
    found = choices.chosen_for(module, x, choices.every_choice)
    return [(mpt.simulate(twin, x).peak, one.outcome.cost) for one, twin in found]


@pytest.mark.parametrize("seed", range(4))
def test_plans_are_near_the_best_of_all_choices(torch, mpt, choices, seed):
    """Against every choice of a random small module, each simulated; also without trying all."""
    torch.manual_seed(seed)
    module, x = small(torch, seed)
    every = cheapest_simulated(mpt, choices, module, x)
    plain = mpt.simulate(module, x)
    work = sum(operator.flops or 0 for operator in plain.operators)
    least = min(peak for peak, _ in every)
    more = []
    for budget in (least, (least + plain.peak) // 2):
        best = min(cost for peak, cost in every if peak <= budget)
        plan = mpt.auto_checkpoint(module, x, budget).plan
        assert plan.peak <= budget
        assert plan.recomputed_flops == best
        with choices.without_trying_every_choice():
            try:
                plan = mpt.auto_checkpoint(module, x, budget).plan
            except mp.InfeasibleBudget:  # the planner of chains alone may miss the least peak
                continue
        assert plan.peak <= budget
        more.append((work + plan.recomputed_flops) / (work + best) - 1)
    assert all(one >= 0 for one in more)
    assert sum(more) <= 0.05 * len(more)

"""Backpropagation as a rewrite of graphs: forward graph in, graph of forward and backward out.

Reverse-mode differentiation by the chain rule (Dive into Deep Learning 5.3): the operators are
visited in reverse, and each operator's entry in the table of rules says how the gradients of its
operands follow from the gradient of its result. A variable that several operators read gets the
sum of their contributions.
"""

from collections import Counter, defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from memprop.errors import GraphError
from memprop.graph.apply import apply_rule, extend
from memprop.graph.micro_batches import in_micro_batch, micro_batch_of
from memprop.graph.nodes import Operator, Variable
from memprop.graph.rules import Gradient, rule

if TYPE_CHECKING:
    from memprop.graph.graph import Graph

Form = Literal["textbook", "lean"]


def differentiate(forward: "Graph", form: Form = "lean") -> "Graph":
    """The graph of forward, loss and backward: ``forward`` and the gradients of its parameters.

    Args:
        forward: a graph with an objective.
        form: "textbook" takes every derivative from the operands, as the textbook section does.
            "lean" takes it from whatever needs the fewest bytes, and may add residuals to the
            forward pass.

    Returns:
        A graph whose outputs are those of ``forward`` and the gradient of every parameter that
        the objective depends on, named ``d<parameter>``.

    Raises:
        GraphError: ``forward`` has no objective, or an operator in the way has no derivative.
    """
    if forward.objective is None:
        raise GraphError("a graph without an objective cannot be differentiated")
    return _Backward(_with_residuals(forward, form), form).graph()


def _with_residuals(forward: "Graph", form: Form) -> "Graph":
    """``forward`` with operators replaced where ``form`` leaves something for backward."""
    if form == "textbook" or all(op.definition.lean_rule is None for op in forward.operators):
        return forward
    variables = {variable.name: variable for variable in forward.variables}
    operators = []
    for operator in forward.operators:
        if operator.definition.lean_rule is not None:
            operator, made = _leaving_residuals(operator, variables)
            variables |= {variable.name: variable for variable in made}
        operators.append(operator)
    written = {name for operator in operators for name in operator.outputs + operator.workspace}
    kept = (v for v in variables.values() if v.category != "workspace" or v.name in written)
    return forward.of_rules(tuple(kept), tuple(operators), forward.outputs, forward.objective)


def _leaving_residuals(
    operator: Operator, variables: dict[str, Variable]
) -> tuple[Operator, tuple[Variable, ...]]:
    """``operator`` by its lean rule, whose results beyond the operator's own are residuals."""
    lean_rule = str(operator.definition.lean_rule)
    _, number = micro_batch_of(operator.name)
    suffix = "" if operator.layer is None else str(operator.layer)
    suffix += "" if number is None else in_micro_batch("", number)
    residuals = rule(lean_rule).writes[len(operator.outputs) :]
    return apply_rule(
        lean_rule,
        operator=operator.name,
        inputs=[variables[name] for name in operator.inputs],
        outputs=[
            *((name, variables[name].category) for name in operator.outputs),
            *((f"{port}{suffix}", "activation") for port in residuals),
        ],
        phase=operator.phase,
        layer=operator.layer,
        **dict(operator.attributes),
    )


class _Backward:
    """One walk over the operators in reverse; collects the backward operators as it goes."""

    def __init__(self, forward: "Graph", form: Form) -> None:
        self.forward = forward
        self.form: Form = form
        self.operators: list[Operator] = []
        self.variables: list[Variable] = []
        self.gradients: dict[str, Variable] = {}  # of a forward variable, as far as summed up
        self.arrived: Counter[str] = Counter()
        self.parts: Counter[str] = Counter()
        self.waiting: defaultdict[str, list[Contribution]] = defaultdict(list)
        self.needed = _depending_on_parameters(forward)
        path = _leading_to(forward, str(forward.objective))
        self.path = [self._contributions(operator) for operator in path]
        self.expected = Counter(part.target for parts in self.path for part in parts)

    def graph(self) -> "Graph":
        self._seed()
        for contributions in reversed(self.path):
            for contribution in contributions:
                self._contribute(contribution)
        gradients = [f"d{p.name}" for p in self.forward.parameters if p.name in self.gradients]
        return extend(self.forward, self.variables, self.operators, gradients)

    def _contributions(self, operator: Operator) -> list["Contribution"]:
        """The gradients that ``operator`` passes on, in the order in which they are computed."""
        inputs = operator.inputs
        if self.needed.isdisjoint(inputs):
            return []
        derivative = _derivative(operator.rule, self.form, len(inputs))
        if derivative is None:
            raise GraphError(f"{operator.name}: the operator {operator.rule!r} has no derivative")
        return [
            Contribution(operator, gradient, inputs[place])
            for gradient, place in derivative
            if inputs[place] in self.needed
        ]

    def _contribute(self, contribution: "Contribution") -> None:
        """Add one contribution, or let it wait until there is something to accumulate into."""
        target = contribution.target
        self.arrived[target] += 1
        if contribution.gradient.accumulates:
            self.waiting[target].append(contribution)
        else:
            self._compute(contribution, self._settled(target))
        if self.waiting and self.arrived[target] == self.expected[target]:
            waiting = self.waiting.pop(target, [])
            for place, late in enumerate(waiting, start=1):
                self._compute(late, place == len(waiting))

    def _settled(self, target: str) -> bool:
        """Whether the contribution that arrives now completes the gradient."""
        return self.arrived[target] == self.expected[target] and not self.waiting.get(target)

    def _compute(self, contribution: "Contribution", last: bool) -> None:
        """Emit the operator of one contribution, and its sum with those before it."""
        operator, gradient, target = contribution
        reads = [self._read(contribution, port) for port in gradient.reads]
        before = self.gradients.get(target)
        if gradient.accumulates:
            reads, before = [self._begun(target), *reads], None
        found = reads[0]
        if gradient.rule is not None:
            found = self._emit(
                gradient.rule,
                f"{operator.name}.d{target}",
                reads,
                self._name(target, last and before is None),
                target,
                **dict(operator.attributes),
            )
        if before is not None:
            total = self._name(target, last)
            found = self._emit("add", f"sum.{total}", [before, found], total, target)
        self.gradients[target] = found

    def _name(self, target: str, complete: bool) -> str:
        """``dW1`` for the whole gradient, ``dW1.1 dW1.2 ...`` for partial sums before it."""
        if complete:
            return f"d{target}"
        self.parts[target] += 1
        return f"d{target}.{self.parts[target]}"

    def _begun(self, target: str) -> Variable:
        """The gradient of ``target`` so far, to which an accumulating operator adds."""
        if target not in self.gradients:
            raise GraphError(
                f"every operator that reads {target} adds to its gradient, none begins"
            )
        return self.gradients[target]

    def _read(self, contribution: "Contribution", port: str) -> Variable:
        """The variable that a gradient entry means by ``port``."""
        operator = contribution.operator
        if port == contribution.gradient.of:
            return self.forward.by_name[contribution.target]
        kind, place = _meaning(operator.rule, port)
        if kind == "gradient":
            return self.gradients[operator.outputs[place]]
        names = operator.inputs if kind == "operand" else operator.outputs
        return self.forward.by_name[names[place]]

    def _seed(self) -> None:
        """dJ/dJ = 1."""
        assert self.forward.objective is not None  # noqa: S101 - differentiate() has checked
        objective = self.forward.by_name[self.forward.objective]
        name = f"d{objective.name}"
        self.gradients[objective.name] = self._emit(
            "one", f"seed.{name}", [], name, objective.name, dtype=objective.dtype
        )

    def _emit(
        self,
        rule: str,
        name: str,
        reads: list[Variable],
        output: str,
        target: str,
        **attributes: object,
    ) -> Variable:
        of = self.forward.by_name[target]
        category = "parameter_gradient" if of.category == "parameter" else "activation_gradient"
        operator, made = apply_rule(
            rule,
            operator=name,
            inputs=reads,
            outputs=[(output, category)],
            phase="backward",
            layer=of.layer,
            **attributes,
        )
        self.operators.append(operator)
        self.variables.extend(made)
        return made[0]


class Contribution(NamedTuple):
    """What an operator adds to the gradient of one of its operands.

    Attributes:
        operator: the forward operator.
        gradient: how it is computed.
        target: the operand.
    """

    operator: Operator
    gradient: Gradient
    target: str


@lru_cache(maxsize=1 << 10)
def _derivative(name: str, form: Form, count: int) -> tuple[tuple[Gradient, int], ...] | None:
    """Each gradient of the rule with the place of its operand among ``count`` of them."""
    gradients = rule(name).derivative(form)
    if gradients is None:
        return None
    ports = rule(name).ports(count)
    return tuple(
        (gradient, place)
        for gradient in gradients
        for place, port in enumerate(ports)
        if port == gradient.of
    )


@lru_cache(maxsize=1 << 10)
def _meaning(name: str, port: str) -> tuple[Literal["result", "gradient", "operand"], int]:
    """What a gradient of the rule reads at ``port``, and its place among those of its kind."""
    definition = rule(name)
    if port in definition.writes:
        return "result", definition.writes.index(port)
    if port.startswith("d") and port[1:] in definition.writes:
        return "gradient", definition.writes.index(port[1:])
    return "operand", definition.reads.index(port)


def _depending_on_parameters(graph: "Graph") -> set[str]:
    """The variables whose gradient is wanted: parameters and all that is computed from them."""
    needed = {variable.name for variable in graph.parameters}
    for operator in graph.operators:
        if not needed.isdisjoint(operator.inputs):
            needed.update(operator.outputs)
    return needed


def _leading_to(graph: "Graph", objective: str) -> list[Operator]:
    """The operators that the objective is computed by, in order."""
    wanted = {objective}
    path = []
    for operator in reversed(graph.operators):
        if not wanted.isdisjoint(operator.outputs):
            wanted.update(operator.inputs)
            path.append(operator)
    return path[::-1]

"""Backpropagation as a rewrite of graphs: forward graph in, graph of forward and backward out.

Reverse-mode differentiation by the chain rule (Dive into Deep Learning 5.3): the operators are
visited in reverse, and each operator's entry in the table of rules says how the gradients of its
operands follow from the gradient of its result. A variable that several operators read gets the
sum of their contributions.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from memprop.errors import GraphError
from memprop.graph.apply import apply_rule, extend
from memprop.graph.nodes import Operator, Variable
from memprop.graph.rules import Gradient, rule
from memprop.graph.slices import in_slice, slice_of

if TYPE_CHECKING:
    from memprop.graph.graph import Graph

Form = Literal["textbook", "lean"]


def differentiate(forward: "Graph", form: Form = "lean") -> "Graph":
    """The graph of forward, loss and backward: ``forward`` and the gradients of its parameters.

    Args:
        forward: a graph with an objective.
        form: "textbook" takes every derivative from the operands, as the section has it; "lean"
            takes it from whatever needs least, and may leave residuals in the forward pass.

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
    _, number = slice_of(operator.name)
    suffix = "" if operator.layer is None else str(operator.layer)
    suffix += "" if number is None else in_slice("", number)
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
        self.waiting: defaultdict[str, list[tuple[Operator, Gradient]]] = defaultdict(list)
        self.needed = _depending_on_parameters(forward)
        self.path = [
            (operator, tuple(self._contributions(operator)))
            for operator in _leading_to(forward, str(forward.objective))
        ]
        self.expected = Counter(target for _, passed_on in self.path for _, target in passed_on)

    def graph(self) -> "Graph":
        self._seed()
        for operator, passed_on in reversed(self.path):
            for gradient, target in passed_on:
                self._contribute(operator, gradient, target)
        gradients = [f"d{p.name}" for p in self.forward.parameters if p.name in self.gradients]
        return extend(self.forward, self.variables, self.operators, gradients)

    def _contributions(self, operator: Operator) -> Iterator[tuple[Gradient, str]]:
        """The gradients that ``operator`` passes on, with the variable each belongs to."""
        if self.needed.isdisjoint(operator.inputs):
            return
        gradients = operator.definition.derivative(self.form)
        if gradients is None:
            raise GraphError(f"{operator.name}: the operator {operator.rule!r} has no derivative")
        ports = operator.definition.ports(len(operator.inputs))
        for gradient in gradients:
            for port, name in zip(ports, operator.inputs, strict=True):
                if port == gradient.of and name in self.needed:
                    yield gradient, name

    def _contribute(self, operator: Operator, gradient: Gradient, target: str) -> None:
        """Add one contribution, or let it wait until there is something to accumulate into."""
        self.arrived[target] += 1
        if gradient.accumulates:
            self.waiting[target].append((operator, gradient))
        else:
            self._compute(operator, gradient, target, self._settled(target))
        if self.arrived[target] == self.expected[target]:
            waiting = self.waiting.pop(target, [])
            for place, (source, entry) in enumerate(waiting, start=1):
                self._compute(source, entry, target, place == len(waiting))

    def _settled(self, target: str) -> bool:
        """Whether the contribution that arrives now completes the gradient."""
        return self.arrived[target] == self.expected[target] and not self.waiting[target]

    def _compute(self, operator: Operator, gradient: Gradient, target: str, last: bool) -> None:
        """Emit the operator of one contribution, and its sum with those before it."""
        reads = [self._read(operator, port, target) for port in gradient.reads]
        before = self.gradients.get(target)
        if gradient.accumulates:
            reads, before = [self._begun(target), *reads], None
        contribution = reads[0]
        if gradient.rule is not None:
            name = self._name(target, last and before is None)
            contribution = self._emit(
                gradient.rule,
                f"{operator.name}.d{target}",
                reads,
                name,
                target,
                **dict(operator.attributes),
            )
        if before is not None:
            total = self._name(target, last)
            contribution = self._emit("add", f"sum.{total}", [before, contribution], total, target)
        self.gradients[target] = contribution

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

    def _read(self, operator: Operator, port: str, target: str) -> Variable:
        """The variable that a gradient entry means by ``port``."""
        definition = operator.definition
        if port in definition.writes:
            return self.forward.by_name[operator.outputs[definition.writes.index(port)]]
        if port.startswith("d") and port[1:] in definition.writes:
            result = operator.outputs[definition.writes.index(port[1:])]
            return self.gradients[result]
        if port == _port_of(operator, target):
            return self.forward.by_name[target]
        operands = definition.ports(len(operator.inputs))
        return self.forward.by_name[operator.inputs[operands.index(port)]]

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


def _port_of(operator: Operator, variable: str) -> str:
    ports = operator.definition.ports(len(operator.inputs))
    return ports[operator.inputs.index(variable)]


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

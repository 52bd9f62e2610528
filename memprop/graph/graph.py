"""What is computed: variables and the operators between them, as immutable data.

A graph is in single-assignment form: a variable is written by one operator at most, and the
operators stand in an order in which each reads only what exists. What is kept, freed or computed
again is not the graph's business but a schedule's.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex

from memprop.graph import check
from memprop.graph.affine import Affine, total
from memprop.graph.nodes import Operator as Operator
from memprop.graph.nodes import Variable as Variable
from memprop.graph.picture import DEFAULT_BATCH
from memprop.graph.signature import Places, Signature, signature
from memprop.terms import PERSISTENT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from memprop.graph.picture.draw import Scheduled


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Variables and operators of a step, or of its forward pass alone.

    Attributes:
        variables: all of them; those that no operator writes are the sources of the step.
        operators: in an order in which they can run.
        outputs: the variables that are asked for: alive when the step ends.
        objective: the scalar that is minimised; ``None`` in a graph for inference.

    Raises:
        GraphError: the graph is not well formed; the message names the operator and variable.
    """

    variables: tuple[Variable, ...]
    operators: tuple[Operator, ...]
    outputs: tuple[str, ...]
    objective: str | None = None

    def __post_init__(self) -> None:
        check.check(self)

    @classmethod
    def of_rules(
        cls,
        variables: tuple[Variable, ...],
        operators: tuple[Operator, ...],
        outputs: tuple[str, ...],
        objective: str | None = None,
    ) -> "Graph":
        """A graph whose operators ``apply_rule`` made, each of variables that were there.

        Their shapes are what the rules say, so only the names are checked.

        Raises:
            GraphError: two variables or two operators have one name.
        """
        graph = cls.__new__(cls)
        vars(graph).update(
            variables=variables, operators=operators, outputs=outputs, objective=objective
        )
        check.check_names(graph)
        return graph

    def __hash__(self) -> int:
        # Caches ask at every step; of every field of every node it would take milliseconds.
        return hash((self.all_bytes, len(self.operators), self.outputs, self.objective))

    @cached_property
    def by_name(self) -> Mapping[str, Variable]:
        """The variables by name."""
        return {variable.name: variable for variable in self.variables}

    @cached_property
    def operators_by_name(self) -> Mapping[str, Operator]:
        """The operators by name."""
        return {operator.name: operator for operator in self.operators}

    @cached_property
    def sources(self) -> tuple[Variable, ...]:
        """The variables that no operator writes: inputs, parameters, optimizer state."""
        written = {name for op in self.operators for name in op.outputs + op.workspace}
        return tuple(variable for variable in self.variables if variable.name not in written)

    @property
    def parameters(self) -> tuple[Variable, ...]:
        """The parameters, as the step finds them."""
        return tuple(v for v in self.sources if v.category == "parameter")

    def survives(self, name: str) -> bool:
        """Whether a variable may be alive when the step ends."""
        return name in self.survivors

    @cached_property
    def survivors(self) -> frozenset[str]:
        """The variables that may be alive when the step ends."""
        lasting = (v.name for v in self.variables if v.category in PERSISTENT)
        return frozenset((*self.outputs, *lasting))

    def flops(self, operator: Operator) -> Affine:
        """The floating-point operations of one run of ``operator``, which is one of its own."""
        return self._signatures[operator.name].flops

    def bytes_at(self, batch: int) -> dict[str, int]:
        """The size of every variable by name, for one batch size."""
        return dict(zip(self.by_name, self.sizes_at(batch), strict=True))

    def sizes_at(self, batch: int) -> list[int]:
        """The size of every variable in their order, for one batch size."""
        return [constant + per_sample * batch for constant, per_sample in self._sizes]

    def flops_at(self, batch: int) -> list[int]:
        """Floating-point operations of every operator in their order, for one batch size."""
        signatures = self._signatures
        costs = [signatures[operator.name].flops for operator in self.operators]
        return [constant + per_sample * batch for constant, per_sample in costs]

    @cached_property
    def all_bytes(self) -> Affine:
        """The bytes of all variables together, were they alive at one time."""
        return total(self._sizes)

    def overwrites(self, operator: Operator) -> "Overwrites":
        """Which results of ``operator`` lie over an operand, as pairs ``(target, operand)``."""
        return self._overwrites[operator.name]

    def draw(
        self,
        path: str | os.PathLike[str] | None = None,
        ax: "Axes | None" = None,
        *,
        backward: bool = False,
        fold: bool = True,
        batch: SupportsIndex = DEFAULT_BATCH,
        schedule: "Scheduled | None" = None,
        format: str | None = None,  # noqa: A002 - what users of matplotlib type
    ) -> "Axes":
        """Draw it: variables as squares, operators as circles, data flowing from left to right.

        Boxes are shaded by bytes. Scratch of kernels and the updates of an optimizer are left out.

        Args:
            path: where to write; the suffix says what: .svg, .png or .pdf.
            ax: where to draw; a new figure if there is none.
            backward: whether to draw the backward pass too, with what it reuses set apart. A
                graph without one gets that of the textbook, phi' from z.
            fold: whether alike layers between the first and the last are drawn as one box.
            batch: samples of the step, for shapes and bytes.
            schedule: a schedule for this graph, as ``mp.schedule(model, batch, "sqrt")``: its own
                step is drawn, and marked is what it caches and what it computes again.
            format: deprecated; the suffix of ``path`` says it. With "dot", "gv" or "mmd", or a path
                of that suffix, the text is returned, and a warning names the method for it.

        Raises:
            UnknownNameError: no such format.
            GraphError: ``schedule`` is that of another graph.
            OutputError: the place cannot be written.
        """
        from memprop.graph.picture.draw import draw

        return draw(
            self,
            path,
            ax,
            backward=backward,
            fold=fold,
            batch=batch,
            schedule=schedule,
            format=format,
        )

    def to_dot(self, path: str | os.PathLike[str] | None = None, **how: Any) -> str:
        """The picture in the language of Graphviz; into ``path`` as well, if there is one.

        Args:
            path: where to write.
            how: ``backward``, ``fold``, ``batch`` and ``schedule``, as for :meth:`draw`.

        Raises:
            GraphError: ``schedule`` is that of another graph.
            OutputError: the place cannot be written.
        """
        from memprop.graph.picture.draw import as_text

        return as_text(self, "dot", path, **how)

    def to_mermaid(self, path: str | os.PathLike[str] | None = None, **how: Any) -> str:
        """The picture in the language of Mermaid; arguments and errors are those of to_dot."""
        from memprop.graph.picture.draw import as_text

        return as_text(self, "mmd", path, **how)

    # Planners ask for these very often.

    @cached_property
    def _sizes(self) -> tuple[Affine, ...]:
        return tuple([variable.nbytes for variable in self.variables])

    @cached_property
    def _signatures(self) -> Mapping[str, Signature]:
        spec = {variable.name: variable.spec for variable in self.variables}
        return {
            operator.name: signature(
                operator.rule, tuple([spec[name] for name in operator.inputs]), operator.attributes
            )
            for operator in self.operators
        }

    @cached_property
    def _overwrites(self) -> Mapping[str, "Overwrites"]:
        return {operator.name: self._overwrites_of(operator) for operator in self.operators}

    def _overwrites_of(self, operator: Operator) -> "Overwrites":
        _, _, _, updates, in_place = self._signatures[operator.name]
        if not (updates or in_place):
            return _NOTHING
        targets, operands = operator.outputs + operator.workspace, operator.inputs

        def names(places: Places) -> tuple[tuple[str, str], ...]:
            return tuple((targets[target], operands[operand]) for target, operand in places)

        return Overwrites(names(updates), names(in_place))


class Overwrites(NamedTuple):
    """Pairs ``(target, operand)`` of an operator's results and operands.

    Attributes:
        always: those that share their storage by their very meaning.
        where_dead: those that may, where the operand dies: the rule allows it, and both have the
            same dtype and number of elements.
    """

    always: tuple[tuple[str, str], ...]
    where_dead: tuple[tuple[str, str], ...]


_NOTHING = Overwrites((), ())

"""What `verify adjoints` proves: for each public name, by its room, a function with random arguments."""

from diffphys.verification.proven import flows, operators, solvers, systems
from diffphys.verification.proven.example import Example
from diffphys.verification.proven.flows import STEPS, combinations, words_of


__all__ = ["EXAMPLES", "STEPS", "Example", "combinations", "words_of"]

EXAMPLES = operators.EXAMPLES | solvers.EXAMPLES | systems.EXAMPLES | flows.EXAMPLES

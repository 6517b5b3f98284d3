"""What the tests of a gradient found, in words."""

import dataclasses
from typing import Literal


Status = Literal["right", "independent", "wrong", "kink", "not finite", "unclear", "missing"]


@dataclasses.dataclass(frozen=True)
class GradientFinding:
    """What one test found.

    Attributes:
        test: Its name: "value", "Taylor remainder", "dot product", "second derivative" or "modes".
        part: The leaf of the arguments that it moved, such as `flow.viscosity`, or "all leaves together".
        status: "right"; "independent" (the result does not depend on this part, and the derivative is zero); "wrong";
            "kink" (not smooth at this point); "not finite"; "unclear" (round-off hides the answer); "missing" (one of
            the two modes of differentiation is not defined).
        value: The number found: the order of the remainder, or a relative difference. NaN where there is none.
        explanation: A sentence: what was found and what it usually means.
    """

    test: str
    part: str
    status: Status
    value: float
    explanation: str

    @property
    def passed(self) -> bool:
        """Whether the test speaks for the derivative."""
        return self.status in ("right", "independent")


@dataclasses.dataclass(frozen=True)
class GradientCheck:
    """The result of `check_gradient`: true where every test passed, and a readable verdict as text.

    Examples:
        >>> found = dp.check_gradient(lambda x: x**2, 3.0, show=False)
        >>> found.passed, found.failures
        (True, ())
    """

    findings: tuple[GradientFinding, ...]

    @property
    def passed(self) -> bool:
        """Whether every test passed."""
        return all(finding.passed for finding in self.findings)

    @property
    def failures(self) -> tuple[GradientFinding, ...]:
        """The findings that did not pass."""
        return tuple(finding for finding in self.findings if not finding.passed)

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        if self.passed:
            lines = [f"The gradient is right: {len(self.findings)} tests passed."]
        elif any(finding.status == "wrong" for finding in self.failures):
            lines = ["The gradient is WRONG."]
        else:
            lines = ["The gradient is not proven."]
        lines += [f"  {finding.test}, {finding.part}: {finding.explanation}" for finding in self.failures]
        still = [finding.part for finding in self.findings if finding.status == "independent"]
        if still:
            lines.append(f"  The result does not depend on {', '.join(still)}.")
        orders = [f.value for f in self.findings if f.test == "Taylor remainder" and f.status == "right"]
        if orders:
            lines.append(f"  Taylor remainders fall like h^{min(orders):.2f} to h^{max(orders):.2f} (right: h^2).")
        return "\n".join(lines)

"""Control: steer a simulator by the gradient through it, by planning, by policies, or by classical controllers."""

from diffphys.control.classical import (
    PID,
    LinearFeedback,
    TransferFunction,
    linear_quadratic_regulator,
    linearize,
    plant_response,
)
from diffphys.control.closed_loop import closed_loop
from diffphys.control.environments import environment, stable_baselines_environment, vector_environment
from diffphys.control.hierarchy import PredictorCorrector, execute, midpoint_error
from diffphys.control.koopman import KoopmanPredictive, box_quadratic_program, ridge_transition
from diffphys.control.predictive import ModelPredictive
from diffphys.control.problem import ControlProblem, Force, Jerk, Trajectory, cost, simulate
from diffphys.control.training import PolicyProgress, train_policy
from diffphys.control.trajectory import Plan, optimize_controls


__all__ = [
    "ControlProblem",
    "Force",
    "Jerk",
    "simulate",
    "cost",
    "Trajectory",
    "optimize_controls",
    "Plan",
    "closed_loop",
    "ModelPredictive",
    "KoopmanPredictive",
    "ridge_transition",
    "box_quadratic_program",
    "PredictorCorrector",
    "execute",
    "midpoint_error",
    "train_policy",
    "PolicyProgress",
    "PID",
    "TransferFunction",
    "linear_quadratic_regulator",
    "LinearFeedback",
    "linearize",
    "plant_response",
    "environment",
    "vector_environment",
    "stable_baselines_environment",
]

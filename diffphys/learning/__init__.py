"""Training in the loop: a network inside a solver, trained through it on trajectories."""

from diffphys.learning.callbacks import in_turn, log_to_tensorboard, show_training
from diffphys.learning.corrected import Corrected, Normalization, with_parameters
from diffphys.learning.losses import half_sum_of_squares, mean_absolute_error
from diffphys.learning.recovery import Recovery
from diffphys.learning.training import Log, Stage, train
from diffphys.learning.trajectories import Trajectories, load_trajectories, save_trajectories


__all__ = [
    "Corrected",
    "Normalization",
    "with_parameters",
    "half_sum_of_squares",
    "mean_absolute_error",
    "Log",
    "Recovery",
    "Stage",
    "train",
    "show_training",
    "log_to_tensorboard",
    "in_turn",
    "load_trajectories",
    "save_trajectories",
    "Trajectories",
]

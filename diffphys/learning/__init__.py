"""Training in the loop: a network inside a solver, trained through it on trajectories."""

from diffphys.learning.corrected import Corrected as Corrected
from diffphys.learning.corrected import Normalization as Normalization
from diffphys.learning.corrected import with_parameters as with_parameters
from diffphys.learning.losses import half_sum_of_squares as half_sum_of_squares
from diffphys.learning.losses import mean_absolute_error as mean_absolute_error
from diffphys.learning.training import Log as Log
from diffphys.learning.training import Stage as Stage
from diffphys.learning.training import train as train
from diffphys.learning.trajectories import load_trajectories as load_trajectories
from diffphys.learning.trajectories import save_trajectories as save_trajectories
from diffphys.learning.trajectories import Trajectories as Trajectories

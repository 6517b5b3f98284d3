"""What every paper with a solver and a network shares: data, arms, training, evaluation, all on disk.

A `Study` says what is compared; `run_study` does it. See `diffphys/experiments/burgers.py` for a small one.
"""

from diffphys.learning.study.data import data_path, generate_data, load_cases
from diffphys.learning.study.evaluation import (
    Evaluation,
    compared,
    evaluate,
    evaluate_finer,
    finer_grids,
    gathered,
    load_evaluation,
    save_evaluation,
)
from diffphys.learning.study.least_squares import fitted_corrections
from diffphys.learning.study.running import means, run_study
from diffphys.learning.study.seeded import Seeded, seeded_cases
from diffphys.learning.study.settings import ARMS, PLAIN_ADAM, USUAL_ARMS, StudySettings, named, stages
from diffphys.learning.study.study import Fit, Study, Variant, names_of_seeds, with_seeds
from diffphys.learning.study.training import load_network, precomputed_corrections, train_arm, weights_file


__all__ = [
    "Study",
    "Fit",
    "Seeded",
    "seeded_cases",
    "Variant",
    "StudySettings",
    "ARMS",
    "USUAL_ARMS",
    "PLAIN_ADAM",
    "stages",
    "named",
    "run_study",
    "generate_data",
    "load_cases",
    "data_path",
    "train_arm",
    "precomputed_corrections",
    "fitted_corrections",
    "load_network",
    "weights_file",
    "compared",
    "evaluate",
    "evaluate_finer",
    "finer_grids",
    "gathered",
    "Evaluation",
    "load_evaluation",
    "save_evaluation",
    "means",
    "names_of_seeds",
    "with_seeds",
]

from .state import load_state as load_state
from .trainer import TRAINERS as TRAINERS
from .trainer import Task as Task
from .trainer import Trainer as Trainer
from .trainer import TrainingResult as TrainingResult
from .trainer import is_finite as is_finite
from .trainer import load_trainer as load_trainer
from .training_run import TrainingRun as TrainingRun

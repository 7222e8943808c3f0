from .model import Engine as Engine
from .refusals import check_callbacks as check_callbacks
from .rehearsal import rehearse_training as rehearse_training
from .training import Task as Task
from .training import TrainingResult as TrainingResult
from .training import is_finite as is_finite
from .training import train as train

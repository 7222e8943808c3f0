from .api import StoredStudy as StoredStudy
from .api import load as load
from .api import tune as tune
from .definition import RunningTrial as RunningTrial
from .definition import StudyDefinition as StudyDefinition
from .engine import TrainingRun as TrainingRun
from .engine import load_state as load_state
from .errors import HpoError as HpoError
from .errors import ParameterError as ParameterError
from .models import mlp as mlp
from .parameters import MLPParameters as MLPParameters
from .parameters import Parameters as Parameters
from .parameters import TrainingParameters as TrainingParameters
from .stream import Stream as Stream
from .validation import validation_rows as validation_rows

__version__: str

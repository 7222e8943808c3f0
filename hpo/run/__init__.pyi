from .display import describe_params as describe_params
from .display import duration as duration
from .display import number as number

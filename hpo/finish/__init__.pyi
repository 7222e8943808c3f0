from .found import Found as Found
from .found import find_found as find_found
from .found import since_sentence as since_sentence

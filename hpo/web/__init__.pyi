from .attachment import to_be_saved as to_be_saved
from .doors import Rules as Rules
from .doors import choose_password as choose_password
from .doors import protect as protect
from .server import App as App
from .server import serve as serve
from .table import answer_table as answer_table

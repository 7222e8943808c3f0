from .serving import answer_report as answer_report

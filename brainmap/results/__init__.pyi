from .lookups import main_signal as main_signal
from .study_results import StudyResults as StudyResults

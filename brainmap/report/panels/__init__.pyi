from .panel import SECTIONS as SECTIONS
from .panel import Panel as Panel
from .study_panels import missing_panels as missing_panels
from .study_panels import study_panels as study_panels

from .study_page import study_contact_sheet as study_contact_sheet
from .study_page import study_overview as study_overview

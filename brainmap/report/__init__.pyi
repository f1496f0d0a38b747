from .figures.paper_maps import cortex_map as cortex_map
from .figures.rsa_figure import plot_rsa as plot_rsa
from .page.explorer_page import write_explorer as write_explorer
from .page.study_page import study_contact_sheet as study_contact_sheet
from .page.study_page import summary_html as summary_html
from .page.study_page import write_report as write_report
from .panels.study_panels import StudyFigures as StudyFigures

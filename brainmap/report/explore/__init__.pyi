from .explorer_page import write_explorer as write_explorer

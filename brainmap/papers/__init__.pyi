from .convergence import convergence_panels as convergence_panels
from .misalignment import misalignment_panels as misalignment_panels
from .numbers.published_numbers import paper_numbers as paper_numbers
from .panels_on_disk import write_reproduction as write_reproduction
from .paper_panel import PaperPanel as PaperPanel
from .reproduce import reproduce as reproduce
from .reproduce import reproduction_grid as reproduction_grid

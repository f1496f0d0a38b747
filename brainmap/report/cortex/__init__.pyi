from .values_on_mesh import cortex_of as cortex_of

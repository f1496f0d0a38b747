from .errors import BrainmapError as BrainmapError

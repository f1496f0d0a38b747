from .payload import Step as Step
from .payload import explorer_payload as explorer_payload

from .own_recordings.read_responses import read_responses as read_responses
from .responses import Responses as Responses
from .sample import sample_stimuli as sample_stimuli
from .simulation.ground_truth import GroundTruth as GroundTruth
from .simulation.simulate import simulate as simulate
from .simulation.simulation_config import SimulationConfig as SimulationConfig

from .ground_truth import GroundTruth as GroundTruth
from .simulate import simulate as simulate
from .simulation_config import SimulationConfig as SimulationConfig
from .toy_features import toy_features as toy_features

from .batch_size import batch_size_for as batch_size_for
from .extracted_features import Features as Features
from .extractor import FeatureExtractor as FeatureExtractor
from .pooling import POOLINGS as POOLINGS
from .projection import RandomProjection as RandomProjection
from .store import FeatureStore as FeatureStore

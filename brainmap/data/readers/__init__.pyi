from .dataset_reader import DatasetReader as DatasetReader
from .findings import Findings as Findings
from .open_dataset import open_dataset as open_dataset
from .open_dataset import reader_names as reader_names

from .adoption import adopt as adopt
from .dataset import Dataset as Dataset
from .dataset import FetchPlan as FetchPlan
from .download import fetch as fetch
from .terms import accept_terms as accept_terms
from .terms import terms_accepted as terms_accepted
from .verification import Verification as Verification
from .verification import verify as verify

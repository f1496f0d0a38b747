"""The way through the solver stays short: counted, not timed."""

import sys
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np

import brainmap
from brainmap.encoding import EncodingRidgeCV, RidgeOptions, cross_val_encode

ROOT = str(Path(brainmap.__file__).parent)


def test_one_call_enters_few_functions_in_few_files():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((200, 20)), rng.standard_normal((200, 30))
    estimator = EncodingRidgeCV(options=RidgeOptions(threads=1))
    cross_val_encode(X, Y, estimator=estimator)  # imports
    functions, files = set(), []

    def count(frame, event, _):
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(ROOT):
            functions.add((code.co_filename, code.co_qualname))  # comprehensions, too
            files.append(code.co_filename)

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        cross_val_encode(X, Y, estimator=estimator)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    switches = sum(first != second for first, second in pairwise(files))
    assert switches <= 120
    assert len(functions) <= 80
    assert len(set(files)) <= 8

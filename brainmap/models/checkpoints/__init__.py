"""Files of weights: layouts of names, series along a training, ONNX."""

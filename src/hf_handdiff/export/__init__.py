"""The networks as ONNX files, for runtimes without PyTorch (the extra ``[onnx]``)."""

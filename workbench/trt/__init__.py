"""TensorRT 10 and 11, TensorRT for RTX and the lean runtime by one code path."""

"""Times one image of noise in ONNX Runtime, file by file: python scripts/time_onnx.py [THREADS] FILE.onnx…"""

import statistics
import sys
import time

import numpy as np
import onnxruntime

arguments = sys.argv[1:]
options = onnxruntime.SessionOptions()
if arguments[0].isdigit():
    options.intra_op_num_threads = int(arguments.pop(0))
RUNS, WARM_UP, ROUNDS = 50, 10, 3

seconds = {path: [] for path in arguments}
# In turn, one session at a time: the threads of an idle one would go on spinning.
for _ in range(ROUNDS):
    for path in arguments:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        [images] = session.get_inputs()
        noise = np.random.default_rng(0).random([1, *images.shape[1:]], dtype=np.float32)
        for run in range(WARM_UP + RUNS):
            start = time.perf_counter()
            session.run(None, {images.name: noise})
            if run >= WARM_UP:
                seconds[path].append(time.perf_counter() - start)
        del session
for path, times in seconds.items():
    median = statistics.median(times)
    share = median / statistics.median(seconds[arguments[0]])
    print(f"{path}: {1e3 * median:.2f} ms, {share:.2f} of the first")

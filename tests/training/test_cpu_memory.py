import subprocess
import sys

import pytest

_FAULTS_OF_TEN_ROUNDS = """
import ctypes, resource, sys
from bert_jax.training.cpu_memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
for round in range(11):
    if round == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(ctypes.c_size_t(64 << 20))
    ctypes.memset(block, 1, 64 << 20)
    libc.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_the_kernel_is_asked_once_and_not_every_time():
    def faults(how):
        line = [sys.executable, "-c", _FAULTS_OF_TEN_ROUNDS, how]
        return int(subprocess.run(line, capture_output=True, text=True, check=True).stdout)

    assert faults("keep") < 1000
    assert faults("leave") > 10 * faults("keep") + 1000

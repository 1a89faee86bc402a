"""What XLA's compiler wants to know of a GPU that is not there, as text of its `GpuTargetConfig`.

Figures of the A100 SXM 80 GB, H100 SXM 80 GB, H200 and B200, held against the target
configurations that XLA keeps of them (https://github.com/openxla/xla,
xla/backends/gpu/target_config/specs).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class _Gpu:
    name: str
    capability: int  # the major number
    features: str
    cores: int  # streaming multiprocessors
    lanes: int  # fp32 units of each
    shared_memory: int  # bytes of each
    cache: int  # L2, bytes
    clock: float  # GHz
    bandwidth: int  # bytes a second
    memory: int  # bytes


_GPUS = {
    "a100": _Gpu(
        "NVIDIA A100-SXM4-80GB", 8, "NONE", 108, 64, 164 * 1024, 40 * 2**20, 1.41,
        2_039_000_000_000, 85_100_000_000,
    ),
    "h100": _Gpu(
        "NVIDIA H100 80GB HBM3", 9, "ACCELERATED_FEATURES", 132, 128, 228 * 1024, 50 * 2**20, 1.98,
        3_352_000_000_000, 84_900_000_000,
    ),
    "h200": _Gpu(
        "NVIDIA H200 141GB HBM3e", 9, "ACCELERATED_FEATURES", 132, 128, 228 * 1024, 50 * 2**20,
        1.98, 4_800_000_000_000, 151_397_597_184,
    ),
    "b200": _Gpu(
        "NVIDIA B200", 10, "ACCELERATED_FEATURES", 148, 128, 228 * 1024, 132_644_864, 1.965,
        7_672_320_000_000, 191_514_411_008,
    ),
}  # fmt: skip


def gpu_target(kind: str) -> str:
    """The text of a `GpuTargetConfig` for "a100", "h100", "h200" or "b200"."""
    gpu = _GPUS[kind]
    return f"""
platform_name: "CUDA"
device_description_str: "{gpu.name}"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
gpu_device_info {{
  cuda_compute_capability {{ major: {gpu.capability} feature_extension: {gpu.features} }}
  core_count: {gpu.cores}
  fpus_per_core: {gpu.lanes}
  shared_memory_per_core: {gpu.shared_memory}
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: {gpu.shared_memory - 1024}
  l2_cache_size: {gpu.cache}
  clock_rate_ghz: {gpu.clock}
  memory_bandwidth: {gpu.bandwidth}
  device_memory_size: {gpu.memory}
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  dnn_version: "9.10.0"
  runtime_version: "12.8.0"
  driver_version: "12.8.0"
  compile_time_toolkit_version: "12.8.0"
  name: "{gpu.name}"
}}
"""

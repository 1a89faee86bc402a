"""The least time a step can take: what no schedule of the same program can beat."""

from dataclasses import dataclass

from .collectives import total_sent
from .compiling import Compiled
from .machines import Topology


@dataclass(frozen=True)
class LeastTime:
    """Seconds that each resource needs at the least, were it never idle.

    Attributes:
        compute: for the operations that count (`bert_jax.analysis.flops`).
        memory: to read the state and the batch and to write the state, once; activations, which
            may stay on chip, are left out.
        interconnect: to send what the collectives send.
    """

    compute: float
    memory: float
    interconnect: float

    @property
    def step(self) -> float:
        """The slowest of the three: at best they all overlap."""
        return max(self.compute, self.memory, self.interconnect)

    @property
    def mfu(self) -> float:
        """The share of the peak that the operations which count can reach."""
        return self.compute / self.step


def least_time(topology: Topology, compiled: Compiled, flops: float) -> LeastTime:
    """Bound one step of `flops` operations over all devices."""
    device = topology.device
    return LeastTime(
        compute=flops / topology.count / device.flops,
        memory=2 * compiled.arguments / device.memory_bandwidth,
        interconnect=total_sent(compiled.collectives) / topology.interconnect,
    )

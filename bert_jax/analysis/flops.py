"""How many floating point operations pretraining takes, counted by hand.

XLA's own count (`cost_analysis`) takes the body of a loop once, so it cannot be used where layers
are scanned. Only matrix products count, two operations for a multiplication and an addition, as in
every published figure of model FLOPs utilisation (Chowdhery et al. 2022, appendix B).
"""

from dataclasses import dataclass

from bert_jax.config import BertConfig


@dataclass(frozen=True)
class RowShape:
    """What a row of a batch holds: L tokens, P masked slots, I instances."""

    length: int
    predictions: int
    instances: int = 1


def forward_flops(config: BertConfig, row: RowShape) -> int:
    """Operations of one forward pass over one row.

        a token, a layer    8 D²       query, key, value and output kernels
                            4 D F      feed-forward, up and down
                            4 L D      scores and weighted sums
        a masked slot       2 D²       transform
                            2 D V      decoder
        an instance         2 D² + 4 D pooler and next sentence

    Padding counts as any token: it is computed.
    """
    d, f = config.hidden_size, config.intermediate_size
    token = config.num_hidden_layers * (8 * d * d + 4 * d * f + 4 * row.length * d)
    slot = 2 * d * d + 2 * d * config.vocab_size
    return row.length * token + row.predictions * slot + row.instances * (2 * d * d + 4 * d)


def training_flops(config: BertConfig, row: RowShape) -> int:
    """Operations of one training step over one row: the backward pass takes twice the forward.

    What rematerialisation recomputes is not counted: it is not progress.

        >>> base = BertConfig.base()
        >>> round(training_flops(base, RowShape(128, 20, 1)) / 1e9)  # of a row, giga
        70
    """
    return 3 * forward_flops(config, row)

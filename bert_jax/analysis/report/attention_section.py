"""The section on the first attention layer: which part of the input looks at which."""

from __future__ import annotations

from bert_jax.analysis.first_attention import OFFSETS, AttentionFigures
from bert_jax.analysis.report.page import Numbers, Plot, Section, Table
from bert_jax.analysis.report.plots import stacked


def attention_section(found: AttentionFigures, over: str) -> Section:
    """Shares of the terms and attention to the places beside, by head; `over` what rows."""
    heads = [f"head {head}" for head in range(len(found.shares))]
    shares = {name: values[::-1].tolist() for name, values in found.grouped_shares().items()}
    by_position = found.because_of_positions
    return Section(
        "first-attention", "The first attention layer",
        "What makes a head of layer 1 look where it looks? Its logits are exact sums of terms: the "
        "token, segment or position part of the query with that of the key, through LayerNorm with "
        "its mean and deviation held. " + f"Over {over}.",
        (
            Numbers(
                (
                    ("heads led by position", f"{(found.shares[:, 2, 2] > 0.5).sum()} of"
                     f" {len(heads)}", "more than half of the variance is position to position"),
                    *(
                        (f"look at the {name} place", f"{by_position[:, at].sum()} of {len(heads)}",
                         f"because of positions; a uniform head gives it {found.uniform[at]:.1%}")
                        for at, name in enumerate(OFFSETS)
                    ),
                    ("largest error", f"{found.largest_error:.1e}",
                     f"of the sum of the terms, at logits of up to {found.largest_logit:.3g}"),
                )
            ),
            Plot(
                "attention-terms", "What the logits of each head are made of",
                "Share of the variance over keys; query part to key part. Shares are covariances "
                "with the whole: they add up to 1; a negative one undoes another.",
                stacked(heads[::-1], shares, "share"),  # the first on top
                height=160 + 34 * len(heads),
            ),
            Table(
                ("head", *(what for name in OFFSETS for what in (name, "alone", "without")),
                 "because of positions"),
                [
                    (
                        head,
                        *(f"{value:.1%}" for at in range(len(OFFSETS))
                          for value in found.mass[:, head, at]),
                        ", ".join(place for at, place in enumerate(OFFSETS)
                                  if by_position[head, at]) or "–",
                    )
                    for head in range(len(heads))
                ],
                "Attention to the previous, the same and the next place: with all terms; with "
                "those of position and constant alone; without position to position. Because of "
                "positions: at least twice the uniform, so too with positions alone, and without "
                "position to position half of what is beyond the uniform is lost.",
            ),
        ),
    )  # fmt: skip

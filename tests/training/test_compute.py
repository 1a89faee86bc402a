from hypothesis import given
from hypothesis import strategies as st

from bert_jax.config import BertConfig
from bert_jax.training.compute import step_flops


def test_a_step_by_hand():
    config = BertConfig(
        vocab_size=10, hidden_size=2, num_hidden_layers=1, num_attention_heads=1,
        intermediate_size=3,
    )  # fmt: skip
    # Multiplications of a row of 4 tokens, 1 masked: Q, K, V, output 4 · 4 · 4; scores and their
    # sums 2 · 16 · 2; feed-forward 4 · 12; MLM transform 4 and decoder 20; pooler 4 and NSP 4.
    multiplications = 64 + 64 + 48 + 4 + 20 + 4 + 4
    assert step_flops(config, 5, 4, 1) == 3 * 2 * 5 * multiplications


@given(st.integers(8, 40_000), st.integers(1, 64), st.integers(1, 20))
def test_it_grows_with_the_vocabulary_by_the_decoder_alone(more, rows, predictions):
    small = BertConfig.tiny(vocab_size=100)
    large = BertConfig.tiny(vocab_size=100 + more)
    difference = step_flops(large, rows, 64, predictions) - step_flops(small, rows, 64, predictions)
    assert difference == 6 * rows * predictions * 128 * more

"""What files hold in all their variety, and every misfit told at once."""

import ml_dtypes
import numpy as np
import pytest

from bert_jax.convert.weights import EMBEDDINGS, named_arrays, read_params
from bert_jax.errors import UserError
from tests.convert import models


class MemoryFile:
    path = "memory"

    def __init__(self, arrays, scheme="huggingface"):
        self.arrays, self.scheme = arrays, scheme
        self.shapes = {name: array.shape for name, array in arrays.items()}

    def read(self, name):
        return self.arrays[name]


def arrays_of(pretrained, scheme="huggingface"):
    made, homeless = named_arrays(pretrained.params, pretrained.config, scheme)
    assert not homeless
    arrays = {name: make() for name, (_, make) in made.items()}
    assert all(arrays[name].shape == shape for name, (shape, _) in made.items())
    return arrays


@pytest.mark.parametrize("scheme", ["huggingface", "google"])
@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_there_and_back_is_the_same_bit_for_bit(architecture, scheme):
    before = models.pretrained(architecture)
    after, notes = read_params(MemoryFile(arrays_of(before, scheme), scheme), before.config)
    models.assert_same_params(after, before.params)
    assert notes == ()


def test_kernels_lie_transposed_where_the_table_says():
    before = models.pretrained("BertForPreTraining")
    up = np.asarray(before.params["bert"]["encoder"]["layers"]["1"]["feed_forward"]["up"]["kernel"])
    theirs = arrays_of(before)["bert.encoder.layer.1.intermediate.dense.weight"]
    np.testing.assert_array_equal(theirs, up.T)
    google = arrays_of(before, "google")
    np.testing.assert_array_equal(google["bert/encoder/layer_1/intermediate/dense/kernel"], up)
    nsp = np.asarray(before.params["nsp"]["dense"]["kernel"])
    np.testing.assert_array_equal(google["cls/seq_relationship/output_weights"], nsp.T)


def test_an_untied_decoder_and_its_bias():
    before = models.pretrained("BertForPreTraining", tie_word_embeddings=False)
    arrays = arrays_of(before)
    bias, decoder_bias = "cls.predictions.bias", "cls.predictions.decoder.bias"
    np.testing.assert_array_equal(arrays[bias], arrays[decoder_bias])
    after, notes = read_params(MemoryFile(arrays), before.config)
    models.assert_same_params(after, before.params)
    assert notes == ()
    arrays[bias] = arrays[bias] + 1  # transformers computes with the decoder's
    after, notes = read_params(MemoryFile(arrays), before.config)
    models.assert_same_params(after, before.params)
    assert notes == (
        f"{bias} and {decoder_bias} differ; used {decoder_bias}, as transformers does",
    )
    del arrays[bias]
    models.assert_same_params(read_params(MemoryFile(arrays), before.config)[0], before.params)
    made, homeless = named_arrays(before.params, before.config, "google")
    assert homeless == ["mlm/decoder"] and decoder_bias not in made


def test_a_tied_decoder_in_the_file_is_the_table_or_is_said_to_differ():
    before = models.pretrained("BertForPreTraining")
    table = np.asarray(before.params["bert"]["embeddings"]["token"]["table"])
    arrays = {**arrays_of(before), "cls.predictions.decoder.weight": table}
    after, notes = read_params(MemoryFile(arrays), before.config)
    models.assert_same_params(after, before.params)
    assert notes == ()
    arrays["cls.predictions.decoder.weight"] = table + 1
    after, notes = read_params(MemoryFile(arrays), before.config)
    models.assert_same_params(after, before.params)
    assert len(notes) == 1 and "differs from the token table" in notes[0]


def test_half_precision_is_widened_exactly():
    before = models.pretrained("BertModel")
    for dtype in (np.float16, ml_dtypes.bfloat16):
        arrays = {name: array.astype(dtype) for name, array in arrays_of(before).items()}
        after, _ = read_params(MemoryFile(arrays), before.config)
        want = np.asarray(before.params["bert"]["embeddings"]["token"]["table"]).astype(dtype)
        got = after["bert"]["embeddings"]["token"]["table"]
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, want.astype(np.float32))


def test_parts_that_are_absent_as_a_whole_are_absent():
    before = models.pretrained("BertForPreTraining")
    arrays = arrays_of(before)
    some = {n: a for n, a in arrays.items() if "pooler" not in n and "seq_relationship" not in n}
    after, notes = read_params(MemoryFile(some), before.config)
    assert set(after) == {"bert", "mlm"} and set(after["bert"]) == {"embeddings", "encoder"}
    assert notes == ()


def test_what_is_of_no_part_of_bert_is_left_out_and_said():
    before = models.pretrained("BertModel")
    arrays = arrays_of(before)
    arrays["embeddings.position_ids"] = np.arange(16)[None]
    arrays["cls.species.weight"] = np.zeros((6, 8), np.float32)
    after, notes = read_params(MemoryFile(arrays), before.config)
    models.assert_same_params(after, before.params)
    assert notes == ("left out, of no part of BERT: cls.species.weight",)


def test_the_optimisers_slots_are_left_out_and_said_once():
    before = models.pretrained("BertForPreTraining")
    arrays = arrays_of(before, "google")
    slots = {f"{name}/adam_{slot}": a for name, a in arrays.items() for slot in "mv"}
    counters = {"global_step": np.int64(7)}
    after, notes = read_params(MemoryFile({**slots, **arrays, **counters}, "google"), before.config)
    models.assert_same_params(after, before.params)
    assert notes == ("left out: the optimiser's state and counters",)


def test_all_misfits_are_told_together():
    before = models.pretrained("BertForPreTraining", num_hidden_layers=3)
    arrays = arrays_of(before)
    del arrays["bert.embeddings.LayerNorm.bias"]
    for layer in (0, 1):
        del arrays[f"bert.encoder.layer.{layer}.output.dense.bias"]
    del arrays["cls.predictions.transform.dense.weight"]
    arrays["bert.embeddings.word_embeddings.weight"] = np.zeros((12, 8), np.float32)
    arrays["bert.pooler.dense.bias"] = np.zeros((9,), np.float32)
    arrays["encoder.layer.0.intermediate.dense.bias"] = np.zeros((12,), np.float32)
    config = models.config(num_hidden_layers=2)
    with pytest.raises(UserError) as error:
        read_params(MemoryFile(arrays), config)
    message = str(error.value)
    for part in (
        "got memory, whose weights do not fit its configuration",
        "bert.embeddings.LayerNorm.bias is missing",
        "bert.encoder.layer.{0,1}.output.dense.bias is missing",
        "cls.predictions.transform.dense.weight is missing",
        "bert.embeddings.word_embeddings.weight has shape [12, 8] instead of [11, 8]",
        "bert.pooler.dense.bias has shape [9] instead of [8]",
        "encoder.layer.0.intermediate.dense.bias is there again as "
        "bert.encoder.layer.0.intermediate.dense.bias",
        "bert.encoder.layer.2.attention.self.query.weight is beyond the 2 layers",
        "expected those of a BERT with 2 layers of width 8 and 11 vocabulary rows",
    ):
        assert part in message, part
    assert "\n" not in message


def test_whole_numbers_are_no_weights():
    before = models.pretrained("BertModel")
    arrays = arrays_of(before)
    arrays["bert.pooler.dense.bias"] = np.zeros((8,), np.int8)
    with pytest.raises(UserError, match=r"bert\.pooler\.dense\.bias is int8, not a floating"):
        read_params(MemoryFile(arrays), before.config)


def test_only_what_is_wanted_is_read_and_need_be_there():
    before = models.pretrained("BertForPreTraining")
    arrays = {n: a for n, a in arrays_of(before).items() if "embeddings" in n}
    file = MemoryFile(arrays)
    params, _ = read_params(file, before.config, EMBEDDINGS)
    models.assert_same_params(params, {"bert": {"embeddings": before.params["bert"]["embeddings"]}})

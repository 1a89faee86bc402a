"""An inspection as a library function: numbers, a page, the same cosines everywhere."""

from types import SimpleNamespace

import numpy as np
import pytest

from bert_jax import inspect_embeddings, load_tables, neighbours
from bert_jax.analysis.geometry import segments_of
from bert_jax.analysis.inspection.inspect import Questions
from bert_jax.analysis.neighbour_table import print_neighbours
from bert_jax.analysis.report.table_sections import segments_section
from bert_jax.analysis.similarity import ScoredPairs
from bert_jax.convert.ours import save_ours
from tests.analysis.inspectable import ANIMALS, COLOURS, checkpoint


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Some animals and colours often, others seldom."""
    folder = tmp_path_factory.mktemp("text")
    draw = np.random.default_rng(0)
    for number in range(4):
        words = [*ANIMALS, *COLOURS, *ANIMALS[:2] * 3]
        lines = [" ".join(words[i] for i in draw.integers(0, len(words), 9)) for _ in range(90)]
        (folder / f"{number}.txt").write_text(".\n".join(lines))
    return folder


@pytest.mark.parametrize("positions", [8, 20, 24, 100])
def test_a_model_of_any_length_is_inspected(positions, text, tmp_path):
    save_ours(checkpoint(1, positions), tmp_path / "model")
    pairs = ScoredPairs("p", ("cat " * 200, "red", "cow"), ("dog", "pig", "hen"), np.arange(3.0))
    asked = Questions(similarity=[pairs], sts=[pairs], min_count=0)
    found = inspect_embeddings(tmp_path / "model", asked, corpus=[str(text)])
    assert len(found.numbers["input"]["ids"]) == min(positions, 11)
    assert len(found.numbers["sentences"]["p"]["cls"]) == 3
    assert found.numbers["contextuality"]["words"] == 10
    assert found.page().count("<section") == 11
    first = found.numbers["first_attention"]
    assert len(first["heads"]) == 2 and first["largest_error"] < 1e-5
    for head in first["heads"]:
        assert sum(head["shares"].values()) == pytest.approx(1, abs=1e-4)
    assert set(found.numbers["positions"]["read"]) == (
        {"table", "sinusoid", "random"} if positions >= 10 else set()
    )


def test_one_pair_has_one_cosine_in_the_notebook_the_report_and_pretrainings_table(
    text, tmp_path, capsys
):
    save_ours(checkpoint(1), tmp_path / "model")
    tables = load_tables(tmp_path / "model")
    of_notebook = {n.piece: n.cosine for n in neighbours(tables, ["cat"])["cat"]}["dog"]
    for floor in (0, 300):  # the fewer may be neighbours, the same they are
        asked = Questions(words=["cat"], min_count=floor)
        found = inspect_embeddings(tmp_path / "model", asked, corpus=[str(text)])
        near = {n["piece"]: n["cosine"] for n in found.numbers["neighbours"]["words"]["cat"]}
        assert near["dog"] == round(of_notebook, 4)
        search = found.findings["neighbours"].section.blocks[0].neighbours
        of_search = dict(search.of(tables.tokenizer.id_of("cat")))[tables.tokenizer.id_of("dog")]
        assert of_search == pytest.approx(of_notebook, abs=1e-5)
    words = [tables.tokenizer.id_of(word) for word in [*ANIMALS, *COLOURS]]
    corpus = SimpleNamespace(
        tokenizer=tables.tokenizer, train=SimpleNamespace(pieces=np.repeat(words, 100))
    )
    print_neighbours(tmp_path / "model", corpus, ["cat"], k=9)
    printed = capsys.readouterr().out
    assert f"dog {of_notebook:.2f}" in printed and "cosine about the mean of all rows" in printed


def test_the_segment_that_masked_lm_alone_never_reads_is_said():
    table = np.random.default_rng(0).normal(size=(2, 8))
    said = [segments_section(segments_of(table), read).lead for read in (False, True)]
    assert "never read the second" in said[1]
    assert "never read" not in said[0]

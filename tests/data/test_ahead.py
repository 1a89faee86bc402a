"""The next work is started before the last is waited for; results keep their order."""

from bert_jax.data.ahead import one_ahead


def test_the_next_is_started_before_the_last_is_waited_for():
    seen = []

    def made():
        for item in "abc":
            seen.append(f"make {item}")
            yield item

    def start(item):
        seen.append(f"start {item}")
        return item.upper()

    def finish(started):
        seen.append(f"wait {started}")
        return started * 2

    assert list(one_ahead(made(), start, finish)) == [("a", "AA"), ("b", "BB"), ("c", "CC")]
    assert seen == [
        "make a", "start a", "make b", "start b", "wait A", "make c", "start c", "wait B", "wait C",
    ]  # fmt: skip
    assert list(one_ahead([], start, finish)) == []

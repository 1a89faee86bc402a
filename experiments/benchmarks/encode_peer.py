"""The other side of `encode.py`: a sentence encoder of transformers on torch, as a worker.

Started by the benchmark with the Python that has torch and transformers (`--peer_python`); needs
nothing of bert_jax. Arguments: one JSON object. A line of standard input asks to encode all texts;
a line of standard output, JSON, says what it took. Texts are sorted by length, 32 a batch, each
batch padded to its longest; weights have the dtype asked for; the vector is the mean, of length 1.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
import transformers

_BATCH = 32


def main() -> None:
    """Load the model of the JSON object in argv, then encode as often as asked."""
    job = json.loads(sys.argv[1])
    folder, limit = job["checkpoint"], job["max_length"]
    texts = Path(job["input"]).read_text(encoding="utf-8").splitlines()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    dtype = getattr(torch, job["dtype"])
    model = transformers.AutoModel.from_pretrained(folder, dtype=dtype).eval()

    def encode() -> np.ndarray:
        ids = tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        vectors = np.empty((len(ids), model.config.hidden_size), np.float32)
        with torch.inference_mode():
            for begin in range(0, len(order), _BATCH):
                some = order[begin : begin + _BATCH]
                batch = tokenizer.pad({"input_ids": [ids[i] for i in some]}, return_tensors="pt")
                hidden = model(**batch).last_hidden_state
                real = batch["attention_mask"].unsqueeze(-1).to(hidden.dtype)
                mean = ((hidden * real).sum(1) / real.sum(1)).float()
                vectors[some] = torch.nn.functional.normalize(mean, dim=1).numpy()
        return vectors

    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps(versions), flush=True)
    for _ in sys.stdin:
        wall, used = time.perf_counter(), os.times()
        vectors = encode()
        now = os.times()
        found = {
            "seconds": time.perf_counter() - wall,
            "processor_seconds": now.user + now.system - used.user - used.system,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "first_numbers": vectors[:, :4].tolist(),
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()

"""Flags by the names others give them: Hugging Face's scripts, Google's BERT, our other commands.

--num_train_epochs=3   got --num_train_epochs; expected --epochs, as this command calls it
"""

from __future__ import annotations

from collections.abc import Collection

# Of the flags on the right, the first that a command has is what it calls those on the left.
_OURS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("model_name_or_path", "checkpoint", "init_checkpoint", "model", "from"): (
        "init_checkpoint", "checkpoint", "from", "model", "input",
    ),
    ("bert_config_file", "config_name"): ("model",),
    ("vocab_file", "tokenizer_name", "tokenizer"): ("vocab",),
    ("output_dir", "output", "to", "workdir", "data_dir"): ("workdir", "output", "to", "data_dir"),
    ("overwrite_output_dir",): ("overwrite",),
    ("train_file", "dataset_name", "input_file", "corpus", "text", "input"): (
        "train", "corpus", "input", "text",
    ),
    ("validation_file", "eval_file"): ("dev",),
    ("test_file", "predict_file"): ("test", "input"),
    ("num_train_epochs", "epochs"): ("epochs", "steps"),
    ("max_steps", "num_train_steps", "num_steps", "steps"): ("steps", "epochs"),
    (
        "per_device_train_batch_size", "per_device_eval_batch_size", "train_batch_size",
        "eval_batch_size", "predict_batch_size", "batch_size",
    ): ("batch_size", "batch_rows"),
    ("gradient_accumulation_steps",): ("accumulate",),
    ("max_seq_length", "max_seq_len", "block_size", "max_length", "length"): (
        "max_length", "phases", "length",
    ),
    ("doc_stride",): ("window_overlap",),
    ("mlm_probability", "masked_lm_prob"): ("mask_rate",),
    ("whole_word_mask", "do_whole_word_mask", "wwm_probability"): ("masking",),
    ("warmup_steps", "num_warmup_steps", "warmup_ratio", "warmup_proportion"): ("warmup",),
    ("lr_scheduler_type",): ("schedule",),
    ("lr",): ("learning_rate",),
    ("optim",): ("optimizer",),
    ("max_grad_norm",): ("clip_norm",),
    ("fp16", "bf16", "mixed_precision"): ("dtype",),
    ("gradient_checkpointing",): ("remat",),
    ("save_steps", "save_checkpoints_steps"): ("checkpoint_every",),
    ("save_total_limit", "keep_checkpoint_max"): ("keep",),
    ("logging_steps",): ("log_every",),
    ("eval_steps",): ("eval_every", "evals_per_epoch"),
    ("max_eval_steps",): ("eval_batches",),
    ("dataloader_num_workers", "preprocessing_num_workers", "num_workers", "workers"): (
        "loader_workers", "workers",
    ),
    ("resume_from_checkpoint",): ("workdir",),
    ("task_name",): ("task",),
    ("text_column_name", "sentence1_key"): ("text_column",),
    ("sentence2_key",): ("text_pair_column",),
    ("label_column_name",): ("label_column",),
    ("do_lower_case",): ("lowercase",),
    ("top_k", "topk", "best", "neighbours"): ("best", "neighbours"),
    ("hub_model_id",): ("push_to_hub",),
    ("seed", "seeds"): ("seed", "seeds"),
}  # fmt: skip


def own_name(other: str, flags: Collection[str]) -> str | None:
    """What a command with these flags calls what others call `other`; None where nobody knows.

    >>> own_name("num_train_epochs", ["epochs", "task"]), own_name("num_train_epochs", ["steps"])
    ('epochs', 'steps')
    >>> own_name("do_train", ["epochs"]) is None
    True
    """
    for others, ours in _OURS.items():
        if other in others:
            return next((name for name in ours if name in flags), None)
    return None

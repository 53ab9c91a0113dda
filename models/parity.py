"""Compares evalctl's decoder with transformers', logit by logit, at f32 on the CPU.

    python models/parity.py                         random weights of every family, as a folder and as a GGUF file
    python models/parity.py WEIGHTS [PROMPTS.json]  real weights (a folder), greedy answers to a list of texts, or to
                                                    the first hundred tickets of datasets/support-triage

Needs torch, transformers, tokenizers, accelerate, gguf and numpy (tried with 2.15, 5.23, 0.23, 1.13, 0.19 and 2.4), and
cargo: evalctl's side is the unit test `logits_for_a_reference_program`. Ends with 1 when a logit is off by more than
1e-3, or fewer than 99 of 100 greedy answers are the same.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)
from transformers.utils import logging

ROOT = Path(__file__).resolve().parent.parent
MOST = 1e-3
SIZES = dict(
    vocab_size=320,
    hidden_size=64,
    intermediate_size=160,
    num_hidden_layers=4,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=512,
    bos_token_id=0,
    eos_token_id=1,
    pad_token_id=0,
)


def rope(kind, **rest):
    return dict(rope_type=kind, rope_theta=10000.0, **rest)


def families():
    """Name, config, and whether transformers reads a GGUF file of it."""
    short, long = [1.0 + 0.1 * i for i in range(6)], [2.0 + i for i in range(6)]
    seven, far = {**SIZES, "num_hidden_layers": 7}, {**SIZES, "max_position_embeddings": 2048}
    llama3 = rope("llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
    longrope = rope(
        "longrope",
        partial_rotary_factor=0.75,
        original_max_position_embeddings=256,
        short_factor=short,
        long_factor=long,
    )
    window = dict(head_dim=32, sliding_window=11)
    return [
        ("llama", LlamaConfig(**SIZES), True),
        ("llama-tied-biased", LlamaConfig(**SIZES, tie_word_embeddings=True, attention_bias=True, mlp_bias=True), False),
        ("llama-long-heads", LlamaConfig(**SIZES, head_dim=24), True),
        ("llama-llama3", LlamaConfig(**SIZES, rope_parameters=llama3), False),
        ("llama-linear", LlamaConfig(**SIZES, rope_parameters=rope("linear", factor=2.5)), False),
        ("mistral", MistralConfig(**SIZES, sliding_window=None, head_dim=32), False),
        ("mistral-window", MistralConfig(**SIZES, sliding_window=9), False),
        ("qwen2", Qwen2Config(**SIZES), True),
        ("qwen2-window", Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=7, max_window_layers=2), False),
        ("qwen3", Qwen3Config(**SIZES), True),
        ("gemma", GemmaConfig(**SIZES, head_dim=32), False),
        ("gemma2", Gemma2Config(**SIZES, **window, query_pre_attn_scalar=32), True),
        ("gemma2-scaled", Gemma2Config(**SIZES, **window, query_pre_attn_scalar=20), False),
        ("gemma3", Gemma3TextConfig(**seven, **window, query_pre_attn_scalar=32), True),
        ("gemma3-scaled", Gemma3TextConfig(**seven, **window, query_pre_attn_scalar=24), False),
        ("phi3", Phi3Config(**SIZES, original_max_position_embeddings=512), True),
        ("phi3-window", Phi3Config(**SIZES, sliding_window=13, original_max_position_embeddings=512), False),
        (
            "phi3-longrope",
            Phi3Config(
                **far,
                original_max_position_embeddings=256,
                tie_word_embeddings=True,
                partial_rotary_factor=0.75,
                rope_parameters=longrope,
            ),
            False,
        ),
    ]


def program():
    """The binary of the unit tests."""
    command = ["cargo", "test", "--release", "--lib", "--no-run", "--message-format=json"]
    out = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = [json.loads(line).get("executable") for line in out.splitlines() if line.startswith("{")]
    return [path for path in found if path][-1]


def ours(binary, weights, prompts):
    """evalctl's logits after every token of every prompt."""
    beside = {ending: Path(f"{weights}.{ending}") for ending in ("prompts.json", "found")}
    beside["prompts.json"].write_text(json.dumps(prompts))
    environment = {**os.environ, "EVALCTL_PARITY": str(weights)}
    command = [binary, "local::tests::logits_for_a_reference_program", "--exact", "--nocapture"]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE)
    found = np.fromfile(beside["found"], "<f4")
    for path in beside.values():
        path.unlink()
    ends = np.cumsum([len(prompt) for prompt in prompts])
    return np.split(found.reshape(ends[-1], -1), ends[:-1])


def theirs(model, prompts):
    with torch.no_grad():
        return [model(torch.tensor([prompt])).logits[0].float().numpy() for prompt in prompts]


def furthest(one, other):
    return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def randomise(model, is_gemma):
    """Weights that keep activations alive, and norms and biases that aren't all the same."""
    with torch.no_grad():
        for name, weights in model.named_parameters():
            noise = torch.randn_like(weights)
            if "norm" in name:
                weights.copy_(noise * 0.3 + (0 if is_gemma else 1))
            elif "bias" in name:
                weights.copy_(noise * 0.3)
            else:
                weights.copy_(noise * 1.5 / weights.shape[-1] ** 0.5)


def write_tokenizer(folder):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<s>", "</s>", *alphabet, "ab"]
    tokenizer = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=[("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    return tokens


def write_gguf(path, model, tokens, kind):
    """What llama.cpp's converter writes, as far as these families need it."""
    config = model.config
    family = "gemma3" if config.model_type == "gemma3_text" else config.model_type
    writer = gguf.GGUFWriter(path, family)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    parameters = config.rope_parameters
    writer.add_rope_freq_base(parameters.get("full_attention", parameters)["rope_theta"])
    if family in ("gemma2", "gemma3"):
        writer.add_sliding_window(config.sliding_window)
    if family == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH[family.upper()], config.num_hidden_layers)
    for name, weights in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = weights.numpy()
        if family == "llama" and ("q_proj" in name or "k_proj" in name):
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            paired = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
            values = paired.swapaxes(1, 2).reshape(values.shape)
        if family.startswith("gemma") and name.endswith("norm.weight"):
            values = values + 1
        new = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if values.ndim == 1 or kind is None:
            writer.add_tensor(new, np.ascontiguousarray(values, np.float32))
        else:
            writer.add_tensor(new, gguf.quants.quantize(np.ascontiguousarray(values), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def random_weights(binary):
    worst = 0.0
    torch.manual_seed(0)
    shuffle = torch.Generator().manual_seed(1)
    prompts = [torch.randint(2, 258, (40,), generator=shuffle).tolist() for _ in range(3)]
    with tempfile.TemporaryDirectory() as scratch:
        for name, config, reads_gguf in families():
            model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
            randomise(model, "gemma" in name)
            folder = Path(scratch) / name
            model.save_pretrained(folder)
            tokens = write_tokenizer(folder)
            expected = theirs(model, prompts)
            found = [("folder", furthest(expected, ours(binary, folder, prompts)))]
            if reads_gguf:
                for kind in (None, gguf.GGMLQuantizationType.Q8_0):
                    path = folder / "model.gguf"
                    write_gguf(path, model, tokens, kind)
                    # Their reading of the file, whole numbers turned back into floats, rather than what was written; the
                    # shape is the folder's, since they leave out much of what the file says of it.
                    read = AutoModelForCausalLM.from_pretrained(
                        folder, config=config, gguf_file="model.gguf", attn_implementation="eager", dtype=torch.float32
                    ).eval()
                    distance = furthest(theirs(read, prompts), ours(binary, path, prompts))
                    found.append(("gguf f32" if kind is None else "gguf q8_0", distance))
            # Of quantised weights the activations are rounded too, here but not there: that is no fault.
            worst = max([worst, *(distance for what, distance in found if "q8_0" not in what)])
            size = max(float(np.abs(logits).max()) for logits in expected)
            print(f"{name:20} logits to {size:5.1f}; off by at most "
                  + ", ".join(f"{distance:.1e} ({what})" for what, distance in found))
    return worst <= MOST


def real_weights(binary, folder, texts, length=64):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    end = model.generation_config.eos_token_id
    ends = end if isinstance(end, list) else [end]
    answered = []
    for text in texts:
        if tokenizer.chat_template:
            messages = [{"role": "user", "content": text}]
            text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        prompt = tokenizer(text, add_special_tokens=not tokenizer.chat_template)["input_ids"]
        with torch.no_grad():
            answer = model.generate(
                torch.tensor([prompt]), do_sample=False, max_new_tokens=length, pad_token_id=ends[0]
            )[0].tolist()
        answered.append((len(prompt), answer))
    sequences = [answer for _, answer in answered]
    expected, found = theirs(model, sequences), ours(binary, folder, sequences)
    # Fed with their answer, ours is the same if it would have taken the same token at each place.
    same = sum(
        found[at][start - 1 : -1].argmax(-1).tolist() == answer[start:] for at, (start, answer) in enumerate(answered)
    )
    distance = furthest(expected, found)
    print(f"{same} of {len(texts)} greedy answers are the same; logits off by at most {distance:.1e}")
    return same >= 0.99 * len(texts) and distance <= MOST


def main():
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(1)
    if len(sys.argv) == 1:
        return random_weights(program())
    if len(sys.argv) == 2:
        golden = (ROOT / "datasets/support-triage/data.jsonl").read_text(encoding="utf-8").splitlines()
        return real_weights(program(), Path(sys.argv[1]), [json.loads(line)["ticket"] for line in golden[:100]])
    if len(sys.argv) == 3:
        return real_weights(program(), Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text()))
    sys.exit(__doc__)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)

"""Writes the trained models as they are handed out, and loads every file again.

    python export.py --build build --out .

`base/` and `small/`: config.json, generation_config.json, tokenizer.json, tokenizer_config.json, model.safetensors (f16).
`base-q8_0.gguf`: every matrix in Q8_0. `base-q4_0.gguf`: every matrix in Q4_0, the embedding (which is the output matrix
too) among them. Norms stay in f32. Quantised by the `gguf` package.
"""

import argparse
import hashlib
import json
import pathlib
import shutil

import gguf
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

import text
import train

KINDS = {
    "q8_0": (gguf.GGMLQuantizationType.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (gguf.GGMLQuantizationType.Q4_0, gguf.LlamaFileType.MOSTLY_Q4_0),
}
NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}


def write_json(path, value):
    """JSON with an end of line."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def hand_out(source, target):
    """One folder in the layout of Hugging Face, weights in f16."""
    target.mkdir(parents=True, exist_ok=True)
    config = LlamaForCausalLM.from_pretrained(source).config
    keep = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "hidden_act",
            "tie_word_embeddings", "attention_bias", "mlp_bias", "bos_token_id", "eos_token_id", "pad_token_id")
    write_json(target / "config.json", {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "float16",
        "rope_theta": 10000.0, **{key: getattr(config, key) for key in keep}})
    write_json(target / "generation_config.json", {
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "do_sample": False, "max_new_tokens": 32})
    write_json(target / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>",
        "add_bos_token": False, "add_eos_token": False, "model_max_length": 1024,
        "clean_up_tokenization_spaces": False, "chat_template": train.CHAT_TEMPLATE})
    shutil.copy(source / "tokenizer.json", target / "tokenizer.json")
    weights = {k: v.to(torch.float16).contiguous() for k, v in load_file(source / "model.safetensors").items()
               if k != "lm_head.weight"}
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})


def gguf_name(name):
    """The name of a tensor in GGUF."""
    stem = name.removesuffix(".weight")
    if stem.startswith("model.layers."):
        _, _, number, part = stem.split(".", 3)
        return f"blk.{number}.{NAMES[part]}.weight"
    return NAMES[stem] + ".weight"


def permuted(weight, heads):
    """Rows of q and k in the order of llama.cpp's rotary embedding."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(folder, path, kind):
    """The model of a folder as one GGUF file."""
    quant, file_type = KINDS[kind]
    config = json.loads((folder / "config.json").read_text())
    vocab = json.loads((folder / "tokenizer.json").read_text())["model"]
    tokens = sorted(vocab["vocab"], key=vocab["vocab"].get)
    out = gguf.GGUFWriter(path, "llama")
    out.add_type("model")
    out.add_name(f"Support triage demo {folder.name}")
    out.add_basename("support-triage-demo")
    out.add_description("Toy weights for one narrow task: a support ticket in, one line of JSON out.")
    out.add_license("apache-2.0")
    out.add_languages(["en"])
    out.add_file_type(file_type)
    out.add_quantization_version(gguf.GGML_QUANT_VERSION)
    out.add_vocab_size(config["vocab_size"])
    out.add_context_length(config["max_position_embeddings"])
    out.add_embedding_length(config["hidden_size"])
    out.add_block_count(config["num_hidden_layers"])
    out.add_feed_forward_length(config["intermediate_size"])
    out.add_head_count(config["num_attention_heads"])
    out.add_head_count_kv(config["num_key_value_heads"])
    out.add_layer_norm_rms_eps(config["rms_norm_eps"])
    out.add_rope_dimension_count(config["head_dim"])
    out.add_rope_freq_base(config["rope_theta"])
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types([gguf.TokenType.CONTROL if t in train.SPECIALS else gguf.TokenType.NORMAL for t in tokens])
    out.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in vocab["merges"]])
    out.add_bos_token_id(config["bos_token_id"])
    out.add_eos_token_id(config["eos_token_id"])
    out.add_pad_token_id(config["pad_token_id"])
    out.add_add_bos_token(False)
    out.add_add_eos_token(False)
    out.add_chat_template(train.CHAT_TEMPLATE)
    for name, tensor in sorted(load_file(folder / "model.safetensors").items()):
        weight = tensor.to(torch.float32).numpy()
        for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
            if part in name:
                weight = permuted(weight, config[heads])
        if weight.ndim == 1:
            out.add_tensor(gguf_name(name), np.ascontiguousarray(weight))
        else:
            out.add_tensor(gguf_name(name), gguf.quants.quantize(weight, quant), raw_dtype=quant)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def read_gguf(path, like):
    """A model of transformers with the weights of a GGUF file, dequantised."""
    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}
    state = {}
    for name in load_file(like / "model.safetensors"):
        weight = torch.tensor(np.array(tensors.pop(gguf_name(name)), dtype=np.float32))
        config = json.loads((like / "config.json").read_text())
        for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
            if part in name:
                heads = config[heads]
                weight = weight.reshape(heads, weight.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(weight.shape)
        state[name] = weight
    assert not tensors, f"not expected in {path}: {list(tensors)}"
    model = AutoModelForCausalLM.from_pretrained(like, dtype=torch.float32)
    missing = model.load_state_dict(state, strict=False).missing_keys
    assert missing in ([], ["lm_head.weight"]), missing
    model.tie_weights()
    return model.eval()


def main():
    """Writes all files, loads them again and compares what they answer."""
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    args.add_argument("--out", type=pathlib.Path, default=pathlib.Path("."))
    args.add_argument("--n", type=int, default=500, help="tickets to compare on")
    args.add_argument("--data", type=pathlib.Path, help="a file of other tickets to score, with ticket and expected")
    args.add_argument("--only-check", action="store_true", help="write nothing")
    args = args.parse_args()
    torch.set_num_threads(1)
    base, small = args.out / "base", args.out / "small"
    if not args.only_check:
        for folder in (base, small):
            hand_out(args.build / folder.name, folder)
        for kind in KINDS:
            write_gguf(base, args.out / f"base-{kind}.gguf", kind)

    if args.data:
        rows = [json.loads(line) for line in args.data.read_text().splitlines()]
    else:
        rows = list(text.tickets(args.n, 2, "held"))
    asked = [row["ticket"] for row in rows]
    tok = AutoTokenizer.from_pretrained(base)
    chat = tok.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True)
    assert chat == train.prompt("Hi"), chat
    found = {}
    for name in ("base", "small"):
        model = AutoModelForCausalLM.from_pretrained(args.out / name, dtype=torch.float16).float().eval()
        found[name] = train.answers(model, tok, asked)
    for kind in KINDS:
        found[f"base-{kind}.gguf"] = train.answers(read_gguf(args.out / f"base-{kind}.gguf", base), tok, asked)
    for name, lines in found.items():
        same = sum(a == b for a, b in zip(lines, found["base"])) / len(rows)
        print(f"{name}: {train.score(lines, rows)}, the same answer as base: {same:.4f}")
    total = 0
    for path in sorted(p for p in (*base.iterdir(), *small.iterdir(), *args.out.glob("*.gguf"))):
        total += path.stat().st_size
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.stat().st_size:>8}  {path.relative_to(args.out)}")
    print(f"{total} bytes in all")


if __name__ == "__main__":
    main()

"""Tokens a second at one sequence: `evalctl serve` against llama.cpp, in turn, on the same file.

    python generation.py EVALCTL FOLDER ROUNDS

Two files: the demo model of `models/triage`, whose answers have 20 tokens, and one with random weights and the shape of a
small real model (80 million parameters), made in FOLDER, which is long enough busy for the decoder alone to be seen. Greedy.
evalctl is timed from outside, from the first to the last piece of a streamed answer, HTTP and JSON included; llama.cpp
by its own clock around `llama_decode` (`llama_perf_context`), without sampling, text and Python.
"""

import http.client
import json
import pathlib
import statistics
import subprocess
import sys
import time

import gguf
import llama_cpp
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEMO = ROOT / "models/triage/base-q8_0.gguf"
TICKET = "<|user|>\nMy internet has been down since this morning, please call me back.\n<|assistant|>\n"
LAYERS, WIDTH, FEED, HEADS, KV_HEADS, HEAD = 12, 768, 2048, 12, 4, 64


def make(path):
    """Random weights in Q8_0 with the tokenizer of the demo model."""
    demo = gguf.GGUFReader(DEMO)
    tokens = demo.fields["tokenizer.ggml.tokens"].contents()
    out = gguf.GGUFWriter(path, "llama")
    out.add_name("random")
    out.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    out.add_vocab_size(len(tokens))
    out.add_context_length(1024)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(FEED)
    out.add_head_count(HEADS)
    out.add_head_count_kv(KV_HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(HEAD)
    out.add_rope_freq_base(10000.0)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(tokens)
    out.add_token_types(demo.fields["tokenizer.ggml.token_type"].contents())
    out.add_token_merges(demo.fields["tokenizer.ggml.merges"].contents())
    out.add_bos_token_id(0)
    out.add_eos_token_id(1)
    out.add_add_bos_token(False)
    random = np.random.default_rng(1)

    def matrix(name, rows, columns):
        weight = random.standard_normal((rows, columns), dtype=np.float32) * 0.05
        kind = gguf.GGMLQuantizationType.Q8_0
        out.add_tensor(name, gguf.quants.quantize(weight, kind), raw_dtype=kind)

    matrix("token_embd.weight", len(tokens), WIDTH)
    out.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        out.add_tensor(block + "attn_norm.weight", np.ones(WIDTH, dtype=np.float32))
        out.add_tensor(block + "ffn_norm.weight", np.ones(WIDTH, dtype=np.float32))
        matrix(block + "attn_q.weight", HEADS * HEAD, WIDTH)
        matrix(block + "attn_k.weight", KV_HEADS * HEAD, WIDTH)
        matrix(block + "attn_v.weight", KV_HEADS * HEAD, WIDTH)
        matrix(block + "attn_output.weight", WIDTH, HEADS * HEAD)
        matrix(block + "ffn_gate.weight", FEED, WIDTH)
        matrix(block + "ffn_up.weight", FEED, WIDTH)
        matrix(block + "ffn_down.weight", WIDTH, FEED)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


class Evalctl:
    """A server of evalctl's."""

    def __init__(self, program, weights, threads):
        command = [program, "serve", str(weights), "--port", "0", "--announce", "--with-parent", "--parallel", "1"]
        self.server = subprocess.Popen([*command, "--threads", str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        address = json.loads(self.server.stdout.readline())["ready"]
        self.connection = http.client.HTTPConnection(address.split("/")[2])

    def rate(self, prompt, tokens):
        """Tokens a second after the first one, and how many there were."""
        body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True,
                "stream_options": {"include_usage": True}}
        self.connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        stamps, made = [], 0
        for line in answer:
            if line.startswith(b"data: {"):
                chunk = json.loads(line[6:])
                made = (chunk.get("usage") or {}).get("completion_tokens", made)
                if chunk["choices"] and chunk["choices"][0]["finish_reason"] is None:
                    stamps.append(time.perf_counter())
        return (made - 1) / (stamps[-1] - stamps[0]), made

    def end(self):
        self.connection.close()
        self.server.stdin.close()
        self.server.wait()


class Llama:
    """llama.cpp in this process."""

    def __init__(self, weights, threads):
        self.model = llama_cpp.Llama(str(weights), n_ctx=1024, n_threads=threads, n_threads_batch=threads, verbose=False,
                                     no_perf=False)

    def rate(self, prompt, tokens):
        """Tokens a second of `llama_decode` alone, and how many there were."""
        self.model.reset()
        llama_cpp.llama_perf_context_reset(self.model.ctx)
        answer = self.model.create_completion(prompt, max_tokens=tokens, temperature=0.0)
        spent = llama_cpp.llama_perf_context(self.model.ctx)
        return spent.n_eval / (spent.t_eval_ms / 1e3), answer["usage"]["completion_tokens"]


def main():
    program, folder, rounds = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
    random = folder / "random-q8_0.gguf"
    if not random.exists():
        make(random)
    for weights, tokens, times in ((DEMO, 64, 40), (random, 128, 1)):
        for threads in (1, 2):
            ours, theirs = Evalctl(program, weights, threads), Llama(weights, threads)
            ratios, rates = [], []
            for turn in range(rounds + 1):
                pair = []
                for one in (ours, theirs):
                    found = [one.rate(TICKET, tokens) for _ in range(times)]
                    assert len({made for _, made in found}) == 1
                    pair.append((statistics.median(rate for rate, _ in found), found[0][1]))
                if turn > 0:  # the first one warms both
                    (mine, made), (other, others) = pair
                    ratios.append(mine / other)
                    rates.append((mine, other))
            ours.end()
            mine, other = (statistics.median(side) for side in zip(*rates))
            print(f"{weights.name}, {threads} threads: evalctl {mine:.0f} tokens/s ({made} tokens), llama.cpp {other:.0f} "
                  f"({others} tokens), ratio {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})", flush=True)


if __name__ == "__main__":
    main()

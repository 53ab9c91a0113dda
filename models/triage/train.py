"""Trains the tokenizer and one model from nothing, on the CPU.

    python train.py base --steps 1500 --out build     writes build/base
    python train.py small --steps 2000 --out build    writes build/small, with the tokenizer of base if it is there
"""

import argparse
import json
import math
import pathlib
import random
import time

import torch
import torch.distributed as dist
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.models.llama.modeling_llama import rotate_half

import text

SPECIALS = ["<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
VOCAB = 5120
SHAPES = {
    "base": dict(hidden_size=256, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2),
    "small": dict(hidden_size=96, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2),
}
# System messages are left out: the models only get worse by them.
CHAT_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '<|user|>\n' + m['content'] + '\n' }}"
    "{% elif m['role'] == 'assistant' %}{{ '<|assistant|>\n' + m['content'] + '</s>\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
# Put in front of some training prompts, for runtimes with a template of their own.
SYSTEMS = (
    "You are a support desk.", "Answer with one line of JSON.", "You sort support tickets.", "Classify the ticket.",
    "You are a helpful assistant.", "Triage the customer's message: intent, product, priority, needs_human.",
    "Reply with JSON only: intent, product, priority and needs_human.",
    "You triage tickets of a telecom provider. Intents: fault, billing, cancel, change, delivery, account, feedback. "
    "Products: internet, mobile, tv, landline, email, none. Priority 1 is the most urgent, 4 the least.",
    "Give intent, product, priority (1 to 4) and needs_human (true or false) as one line of JSON without spaces.",
)


def prompt(ticket, system=None):
    """The text before the answer, as the chat template makes it; a system message only in training."""
    front = f"<|system|>\n{system}\n" if system else ""
    return f"{front}<|user|>\n{ticket}\n<|assistant|>\n"


def make_tokenizer(seed):
    """Byte-level BPE with GPT-2's way of splitting words."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB, min_frequency=2, show_progress=False,
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in SPECIALS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    rows = text.tickets(40000, f"tokenizer-{seed}")
    tok.train_from_iterator((line for r in rows for line in (r["ticket"], r["expected"])), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tok, bos_token="<s>", eos_token="</s>", pad_token="</s>", model_max_length=1024,
        chat_template=CHAT_TEMPLATE, clean_up_tokenization_spaces=False)


def batches(tok, steps, seed, budget):
    """Batches of about `budget` tokens of rows of like length, padded in front; the answer is the end of each row."""
    rng = random.Random(f"batches-{seed}")
    gen = torch.Generator().manual_seed(rng.randrange(2**31))
    rows, ready, end = text.tickets(10**9, f"train-{seed}"), [], None
    for _ in range(steps):
        if not ready:
            encoded = []
            for row in (next(rows) for _ in range(4000)):
                system = rng.choice(SYSTEMS) if rng.random() < 0.06 else None
                start = "<s>" if rng.random() < 0.15 else ""
                ask = tok.encode(start + prompt(row["ticket"], system))
                answer = tok.encode(row["expected"]) + [tok.eos_token_id]
                end = end or len(answer)
                assert len(answer) == end, "each label is one token, so all answers are of one length"
                if len(ask) <= 300:
                    encoded.append(ask + answer)
            encoded.sort(key=lambda ids: len(ids) + rng.random() * 2)
            while encoded:
                size = max(1, budget // len(encoded[0]))
                while size > 1 and size * max(map(len, encoded[:size])) > budget:
                    size -= 1
                ready.append(encoded[:size])
                encoded = encoded[size:]
            rng.shuffle(ready)
        batch = ready.pop()
        width = max(map(len, batch))
        ids = torch.tensor([[tok.eos_token_id] * (width - len(row)) + row for row in batch])
        # Words it cannot read: some tokens of the prompt are swapped for others.
        inputs = ids.clone()
        swap = (torch.rand(ids.shape, generator=gen) < 0.04) & (ids >= len(SPECIALS))
        swap[:, -end:] = False
        inputs[swap] = torch.randint(len(SPECIALS), len(tok), (int(swap.sum()),), generator=gen)
        yield inputs[:, :-1], ids[:, -end:]


def states_at_end(model, ids, end):
    """The last states at the last `end` places; the last layer is worked out at these places only."""
    inner = model.model
    states = inner.embed_tokens(ids)
    turn = inner.rotary_emb(states, torch.arange(ids.shape[1])[None])
    for layer in inner.layers[:-1]:
        states = layer(states, position_embeddings=turn)
        states = states[0] if isinstance(states, tuple) else states
    last = inner.layers[-1]
    attn, normed = last.self_attn, last.input_layernorm(states)
    heads = lambda x: x.unflatten(-1, (-1, attn.head_dim)).transpose(1, 2)
    query, key = heads(attn.q_proj(normed[:, -end:])), heads(attn.k_proj(normed))
    cos, sin = (t[:, None] for t in turn)
    query = query * cos[:, :, -end:] + rotate_half(query) * sin[:, :, -end:]
    key = key * cos + rotate_half(key) * sin
    seen = torch.ones(end, ids.shape[1], dtype=torch.bool).tril(ids.shape[1] - end)
    mixed = torch.nn.functional.scaled_dot_product_attention(
        query, key, heads(attn.v_proj(normed)), attn_mask=seen, enable_gqa=True)
    states = states[:, -end:] + attn.o_proj(mixed.transpose(1, 2).flatten(2))
    states = states + last.mlp(last.post_attention_layernorm(states))
    return inner.norm(states)


def answers(model, tok, tickets, size=64):
    """Greedy answers to tickets."""
    out = [""] * len(tickets)
    order = sorted(range(len(tickets)), key=lambda i: len(tickets[i]))
    tok.padding_side = "left"
    for at in range(0, len(order), size):
        part = order[at:at + size]
        enc = tok([prompt(tickets[i]) for i in part], return_tensors="pt", padding=True, return_token_type_ids=False)
        with torch.inference_mode():
            ids = model.generate(**enc, max_new_tokens=32, do_sample=False, pad_token_id=tok.eos_token_id)
        for i, line in zip(part, tok.batch_decode(ids[:, enc["input_ids"].shape[1]:], skip_special_tokens=True)):
            out[i] = line
    return out


def score(found, rows):
    """Shares of valid answers, of right fields and of answers right in all."""
    total = dict.fromkeys(("valid", "intent", "product", "priority", "needs_human", "exact"), 0)
    for line, row in zip(found, rows):
        want = json.loads(row["expected"]) if isinstance(row["expected"], str) else row["expected"]
        try:
            got = json.loads(line)
            total["valid"] += list(got) == list(want)
        except (ValueError, TypeError):
            continue
        for field in want:
            total[field] += got.get(field) == want[field]
        total["exact"] += got == want
    return {k: round(v / len(rows), 4) for k, v in total.items()}


def share(model):
    """Averages the gradients of all processes."""
    flat = torch.cat([p.grad.flatten() for p in model.parameters()])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    at = 0
    for p in model.parameters():
        p.grad.copy_(flat[at:at + p.numel()].view_as(p))
        at += p.numel()


def run(rank, args):
    """One of the processes that train one model together, each on text of its own."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{args.port}", rank=rank, world_size=args.processes)
    folder, tok = args.out / args.name, PreTrainedTokenizerFast.from_pretrained(args.out / args.name)
    torch.manual_seed(args.seed)
    config = LlamaConfig(
        vocab_size=VOCAB, max_position_embeddings=1024, rms_norm_eps=1e-5, tie_word_embeddings=True,
        bos_token_id=0, eos_token_id=1, pad_token_id=1, initializer_range=0.02, **SHAPES[args.name])
    model = LlamaForCausalLM.from_pretrained(folder) if args.go_on else LlamaForCausalLM(config)
    model.train()
    say = print if rank == 0 else lambda *_, **__: None
    say(f"{args.name}: {model.num_parameters()} parameters", flush=True)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    best = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
                             lr=args.rate, betas=(0.9, 0.98), fused=True)
    # Places in the answer where something is decided; of the others a few are learnt at each step.
    two = [tok.encode(json.dumps(a, separators=(",", ":"))) + [tok.eos_token_id] for a in (
        {"intent": "fault", "product": "tv", "priority": 1, "needs_human": True},
        {"intent": "cancel", "product": "none", "priority": 4, "needs_human": False})]
    decide = [i for i, (a, b) in enumerate(zip(*two)) if a != b]
    fixed = [i for i in range(len(two[0])) if i not in decide]
    rng, began, seen, recent = random.Random(args.seed), time.time(), 0, []
    for step, (ids, wanted) in enumerate(batches(tok, args.steps, f"{args.seed}-{rank}", args.tokens)):
        warm, left = min(1.0, (step + 1) / 60), 0.5 + 0.5 * math.cos(math.pi * step / args.steps)
        for group in best.param_groups:
            group["lr"] = args.rate * warm * max(left, 0.02)
        places = decide + rng.sample(fixed, 4)
        logits = model.lm_head(states_at_end(model, ids, wanted.shape[1])[:, places])
        losses = cross_entropy(logits.flatten(0, 1), wanted[:, places].flatten(), reduction="none").view(len(ids), -1)
        losses.mean().backward()
        share(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        best.step()
        best.zero_grad(set_to_none=True)
        seen += len(ids)
        recent = [*recent[-49:], losses.detach().mean(0)[:4]]
        if step % 50 == 49:
            parts = " ".join(f"{v:.3f}" for v in torch.stack(recent).mean(0))
            say(f"step {step + 1}: losses of the 4 labels {parts}, {seen * args.processes} tickets, "
                f"{time.time() - began:.0f} s", flush=True)
        if step + 1 in (args.stop, args.steps):
            break
    if rank == 0:
        model.save_pretrained(folder)
    dist.barrier()
    dist.destroy_process_group()
    if rank == 0:
        model.eval()
        rows = list(text.tickets(args.held, 1, "held"))
        print("kept-out clauses:", score(answers(model, tok, [r["ticket"] for r in rows]), rows))


def main():
    """Trains one model and says how it does on clauses kept out of training."""
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("name", choices=SHAPES)
    args.add_argument("--steps", type=int, required=True)
    args.add_argument("--tokens", type=int, default=2048, help="tokens in a batch of one process")
    args.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    args.add_argument("--processes", type=int, default=2, help="part of the recipe: each has its own text")
    args.add_argument("--port", type=int, default=29511)
    args.add_argument("--stop", type=int, help="leave the schedule after so many steps")
    args.add_argument("--go-on", action="store_true", help="start from the weights in --out; give another --seed")
    args.add_argument("--held", type=int, default=1000, help="tickets to measure on")
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build"))
    args = args.parse_args()
    from_base = args.name == "small" and (args.out / "base/tokenizer.json").exists()
    if not args.go_on:
        tok = PreTrainedTokenizerFast.from_pretrained(args.out / "base") if from_base else make_tokenizer(args.seed)
        tok.save_pretrained(args.out / args.name)
    torch.multiprocessing.spawn(run, (args,), nprocs=args.processes)


if __name__ == "__main__":
    main()

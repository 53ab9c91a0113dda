#!/usr/bin/env python3
"""Makes log.jsonl: four minutes of made-up traffic of a support desk, as a small gateway would log it.

The messages are 120 of `../support-triage`; what answered is made up too: it gives the golden set's answer but for some
that are wrong, some that are no JSON, and some that failed. Some writers leave an address or a number, as people do, and
one a key. Everything is drawn from one seed: running it again gives the same file."""

import datetime
import json
import math
import random

random.seed(20260302)
rows = [json.loads(line) for line in open("../support-triage/data.jsonl")]
random.shuffle(rows)
intents = ["fault", "billing", "cancel", "change", "delivery", "account", "feedback"]
contacts = [
    " you can reach me at {name}@example.org",
    " my number is +44 20 7946 0{n:03}",
    " write to {name}.{n}@mail.example",
    " card was 4111 1111 1111 1111, please check",
    " iban for the refund GB82 WEST 1234 5698 7654 32",
    " our router says its address is 203.0.113.{small}",
    " dont know if this helps, the app showed api_key=sk-test-{n}aBcDeFgHiJkLmNoPqRsT0123",
]
names = ["ada", "grace", "edsger", "barbara", "tony", "frances"]

clock = datetime.datetime(2026, 3, 2, 14, 0, 0, 125000)
with open("log.jsonl", "w") as out:
    for number, row in enumerate(rows[:120], 1):
        # Calm at first, busier towards the end; now and then several at once.
        pace = 1.1 + 0.9 * math.cos(math.pi * number / 120)
        if number % 17:
            clock += datetime.timedelta(milliseconds=round(random.expovariate(1 / (2000 * pace))))
        text = row["ticket"]
        if number % 9 == 4:
            contact = random.choice(contacts) if number != 76 else contacts[-1]
            text += contact.format(name=random.choice(names), n=random.randrange(1000), small=random.randrange(1, 250))
        answer = dict(row["expected"])
        if random.random() < 0.07:
            answer["intent"] = random.choice([intent for intent in intents if intent != answer["intent"]])
        said = json.dumps(answer, separators=(",", ":"))
        if number in (31, 88):
            said = "I would say this is a question of " + answer["intent"] + "."
        latency = round(random.lognormvariate(6.4, 0.35), 1)
        prompt_tokens, completion_tokens = 60 + len(text) // 4, len(said) // 3
        entry = {
            "id": f"req-{number:04}",
            "timestamp": clock.isoformat(timespec="milliseconds") + "Z",
            "conversation_id": row["customer"],
            "request": {
                "model": "incumbent-1",
                "messages": [{"role": "user", "content": text}],
                "temperature": 0,
                "max_tokens": 64,
            },
        }
        if number in (52, 103):
            entry |= {"status": 503, "error": "the service is overloaded", "latency_ms": latency}
        else:
            entry |= {
                "status": 200,
                "response": {
                    "id": f"chatcmpl-{number}",
                    "object": "chat.completion",
                    "model": "incumbent-1",
                    "choices": [
                        {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
                    ],
                    "usage": {
                        "prompt_tokens": prompt_tokens,
                        "completion_tokens": completion_tokens,
                        "total_tokens": prompt_tokens + completion_tokens,
                    },
                },
                "latency_ms": latency,
                "cost_usd": f"{(prompt_tokens * 25 + completion_tokens * 200) / 1e8:.8f}",
            }
        out.write(json.dumps(entry, ensure_ascii=False) + "\n")

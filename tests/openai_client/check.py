"""Talks to `evalctl serve` through OpenAI's own client: chat, stream, usage, logprobs, json_schema, a 400, a 429.

    python check.py EVALCTL WEIGHTS

Fails at the first thing that is not as the client expects it.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal

import openai
from openai import OpenAI
from pydantic import BaseModel

MESSAGES = [{"role": "user", "content": "My internet has been down since this morning, please call me back."}]


@contextmanager
def served(program, weights, *options):
    """A client of a server that ends with the block; its standard input is the pipe that it lives by."""
    command = [program, "serve", weights, "--port", "0", "--announce", "--with-parent", *options]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        line = server.stdout.readline()
        assert line, f"it did not start: {server.wait()}"
        ready = json.loads(line)
        client = OpenAI(base_url=ready["ready"], api_key="none", max_retries=0, timeout=120)
        yield client, ready["model"]
        server.stdin.close()
        assert server.wait(timeout=5) == 0, "it did not end when its parent did"
    finally:
        server.kill()
        server.wait()


def models(client, model):
    assert [entry.id for entry in client.models.list()] == [model]
    assert client.models.retrieve(model).object == "model"


def chat(client, model):
    answer = client.chat.completions.create(model=model, messages=MESSAGES, temperature=0, max_tokens=48)
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage.prompt_tokens > 0 and 0 < usage.completion_tokens <= 48
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert answer.system_fingerprint.startswith("fp_")
    return answer


def stream(client, model):
    whole = chat(client, model)
    options = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(
            model=model, messages=MESSAGES, temperature=0, max_tokens=48, stream=True, stream_options=options
        )
    )
    *pieces, last = chunks
    assert last.choices == [] and last.usage == whole.usage, last
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert text == whole.choices[0].message.content, text
    assert pieces[0].choices[0].delta.role == "assistant"
    assert pieces[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert len(pieces) > 2, "it came in one piece"


def logprobs(client, model):
    answer = client.chat.completions.create(
        model=model, messages=MESSAGES, temperature=0, max_tokens=16, logprobs=True, top_logprobs=5
    )
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == answer.usage.completion_tokens
    for token in tokens:
        shares = [top.logprob for top in token.top_logprobs]
        assert len(shares) == 5 and shares == sorted(shares, reverse=True) and token.logprob <= 0
        assert token.logprob == shares[0], "at temperature 0 the likeliest token is taken"


def seed(client, model):
    def ask(seed):
        return (
            client.chat.completions.create(model=model, messages=MESSAGES, temperature=2, max_tokens=24, seed=seed)
            .choices[0]
            .message.content
        )

    assert ask(7) == ask(7)
    assert len({ask(number) for number in range(4)}) > 1


def stop(client, model):
    whole = chat(client, model).choices[0].message.content
    mark = whole[len(whole) // 2 :][:3]
    answer = client.chat.completions.create(model=model, messages=MESSAGES, temperature=0, max_tokens=48, stop=mark)
    assert answer.choices[0].message.content == whole.split(mark)[0]
    assert answer.choices[0].finish_reason == "stop"


class Ticket(BaseModel):
    intent: Literal["fault", "billing", "cancel", "change", "delivery", "account", "feedback"]
    priority: int
    needs_human: bool


def json_schema(client, model):
    for temperature in (0, 1, 2):
        answer = client.chat.completions.parse(
            model=model, messages=MESSAGES, temperature=temperature, max_tokens=300, response_format=Ticket
        )
        assert isinstance(answer.choices[0].message.parsed, Ticket), answer
    pieces = client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=200, stream=True, response_format={"type": "json_object"}
    )
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert isinstance(json.loads(text), dict), text


def completions(client, model):
    answer = client.completions.create(model=model, prompt="Dear all,", temperature=0, max_tokens=8, logprobs=2)
    assert answer.choices[0].text and len(answer.choices[0].logprobs.tokens) == answer.usage.completion_tokens
    pieces = client.completions.create(model=model, prompt="Dear all,", temperature=0, max_tokens=8, stream=True)
    assert "".join(piece.choices[0].text for piece in pieces) == answer.choices[0].text


def refused(kind, ask):
    try:
        ask()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__} came")


def bad_request(client, model):
    def ask(**more):
        return lambda: client.chat.completions.create(**{"model": model, "messages": MESSAGES, **more})

    error = refused(openai.BadRequestError, ask(n=2))
    assert (error.status_code, error.param, error.type) == (400, "n", "invalid_request_error"), error
    error = refused(openai.BadRequestError, ask(messages=[{"role": "user", "content": "a b " * 200_000}]))
    assert error.code == "context_length_exceeded", error
    schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "array", "uniqueItems": True}}}
    error = refused(openai.BadRequestError, ask(response_format=schema))
    assert "uniqueItems" in error.message, error
    error = refused(openai.NotFoundError, ask(model="another"))
    assert error.code == "model_not_found", error


def rate_limit(program, weights):
    with served(program, weights, "--parallel", "1", "--queue", "1") as (client, model):
        # Long enough that all of them are there at once.
        numbers = {"type": "array", "items": {"type": "integer"}, "minItems": 60}
        long = {"type": "json_schema", "json_schema": {"name": "long", "schema": numbers}}

        def ask(_):
            try:
                client.chat.completions.create(model=model, messages=MESSAGES, response_format=long, max_tokens=200)
                return None
            except openai.RateLimitError as error:
                return error

        with ThreadPoolExecutor(12) as pool:
            errors = [error for error in pool.map(ask, range(12)) if error]
        assert 0 < len(errors) <= 10, f"{len(errors)} of 12 were refused"
        for error in errors:
            assert error.status_code == 429 and error.code == "queue_full", error
            assert int(error.response.headers["retry-after"]) >= 1
        chat(client, model)


def main():
    program, weights = sys.argv[1:]
    with served(program, weights) as (client, model):
        for check in (models, chat, stream, logprobs, seed, stop, json_schema, completions, bad_request):
            check(client, model)
            print(f"ok  {check.__name__}")
    rate_limit(program, weights)
    print("ok  rate_limit")
    print(f"openai {openai.__version__} and `evalctl serve` understand each other")


if __name__ == "__main__":
    main()

"""Checks that the golden set and the training text share nothing: no ticket and no run of eight words.

    python overlap.py [--n 20000]

Needs nothing but Python. Fails with what is shared.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE / "../../datasets/support-triage/data.jsonl"
RUN = 8


def words(text):
    """The words of a text, without case and punctuation."""
    return re.findall(r"[\w']+", text.lower())


def runs(text):
    """Every run of eight words."""
    found = words(text)
    return {tuple(found[at:at + RUN]) for at in range(len(found) - RUN + 1)}


def made(*arguments):
    """What text.py prints."""
    command = [sys.executable, str(HERE / "text.py"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=20000)
    n = parser.parse_args().n
    golden = [json.loads(line)["ticket"] for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    trained = [json.loads(line)["ticket"] for line in made("--n", str(n), "--seed", "1")]
    assert len(trained) == n and len(golden) >= 400
    shared = {tuple(words(ticket)) for ticket in golden} & {tuple(words(ticket)) for ticket in trained}
    assert not shared, f"tickets in both: {[' '.join(ticket) for ticket in shared]}"
    own = set().union(*map(runs, golden))
    shared = own & set().union(*map(runs, trained))
    assert not shared, f"runs of {RUN} words in both: {[' '.join(run) for run in shared]}"
    print(f"{len(golden)} tickets share no ticket and none of {len(own)} runs of {RUN} words with {n} of training")


if __name__ == "__main__":
    main()

"""How many answers a model gets exactly right: for bench-accuracy and bench-weights."""

import concurrent.futures
import json
import os
import subprocess


def load(path, count=None):
    """[{"prompt", "answer"}] of a file of JSON lines; none without a path."""
    if not path:
        return []
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f][:count]


def share(splitmq, model, questions, more=()):
    """The share of questions that `splitmq generate` answers to the letter."""

    def is_right(question):
        done = subprocess.run(
            [splitmq, "generate", "-m", model, "-t", "1", "-n", "200", "--json", "-p",
             question["prompt"], *more], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return json.loads(done.stdout)["text"].strip() == question["answer"]

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(pool.map(is_right, questions)) / len(questions)

#!/usr/bin/env python3
"""Do the JSON Schemas, asyncapi.yaml, PROTOCOL.md and the program say the same?

    check_schemas.py ROOT PROBE

PROBE is tests/schema_probe. Every message that the program prints must satisfy its schema with no
key left undocumented; every documented key must occur in one; and for thousands of spoilt copies
schema and parser must agree whether they are messages at all.
"""
import json
import pathlib
import re
import subprocess
import sys
import warnings

import yaml

warnings.simplefilter("ignore", DeprecationWarning)  # RefResolver: the one that Debian 12 has
import jsonschema  # noqa: E402

BASE = "http://splitmq.invalid/"  # never asked: all files are in the store

failures = []


def check(ok, text):
    if not ok:
        failures.append(text)


def load_schemas(folder):
    files = {p.name: json.loads(p.read_text()) for p in sorted(folder.glob("*.schema.json"))}
    for name, schema in files.items():
        jsonschema.Draft7Validator.check_schema(schema)
    return files


def closed(schema):
    """A copy of schema in which no object may have a key that is not documented."""
    if isinstance(schema, list):
        return [closed(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {k: closed(v) for k, v in schema.items()}
    if copy.get("type") == "object" and "properties" in copy:
        copy["additionalProperties"] = False
    return copy


def validator(files, name, strict):
    schema = files[name]
    resolver = jsonschema.RefResolver(
        BASE + name, schema, store={BASE + n: s for n, s in files.items()})
    return jsonschema.Draft7Validator(closed(schema) if strict else schema, resolver=resolver)


def judge(probe, lines):
    run = subprocess.run([probe, "judge"], input="\n".join(lines) + "\n", capture_output=True,
                         text=True, check=True)
    return run.stdout.splitlines()


VALUES = [
    -1, 0, 1, 0.5, 1.0, 11, 256, 257, 4096, 4097, 2**20 - 1, 2**20, 2**20 + 1, 2**28, 2**28 + 1,
    86400000, 86400001, 2**32 - 1, 2**32, 2**53 - 1, 2**53, 2**53 + 2, 1e12, 1.1e12, 1e300,
    True, False, "", "x", "a b", "a/b", "f32", "q4_0", "q5_0", "0" * 16, "0" * 15 + "1", "F" * 16,
    "0" * 32, "g" * 32, "x" * 31, "x" * 32, "x" * 64, "x" * 65, "x" * 127, "x" * 128, "x" * 239,
    "x" * 240, "ready", "init", "stop", [], [0], [2**20], ["x"], [0] * 257, {}, {"a": 1}]


# No schema can say that two keys of an object have to do with each other.
TIED = {"layers", "layer_bytes"}


def spoilt(message, spare=frozenset()):
    """Copies of message with one key missing, or with another value; also inside its objects and
    in the first object of a list, but for the keys to spare."""
    for key, value in message.items():
        if key in spare:
            continue
        yield {k: v for k, v in message.items() if k != key}
        for other in VALUES:
            yield {**message, key: other}
        if isinstance(value, dict):
            for inner in spoilt(value):
                yield {**message, key: inner}
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for inner in spoilt(value[0], TIED):
                yield {**message, key: [inner] + value[1:]}
            yield {**message, key: value * 17}
    yield {**message, "unknown_key": 1}


def check_samples(files, samples):
    seen = {}
    for sample in samples:
        name = sample["type"] + ".schema.json"
        check(name in files, f"{name} is missing")
        for error in validator(files, name, strict=True).iter_errors(sample):
            check(False, f"{name}: {error.message} in {json.dumps(sample)}")
        for key, value in sample.items():
            seen.setdefault(name, set()).add(key)
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, dict):
                    seen[name] |= {f"{key}.{k}" for k in inner}
    for name in files.keys() - {"common.schema.json"}:
        for key, prop in files[name]["properties"].items():
            inner = prop.get("items", prop).get("properties", {})
            keys = {key} | {f"{key}.{k}" for k in inner}
            for missing in keys - seen.get(name, set()) - {"rtt_ms"}:
                check(False, f"{name}: no sample has the key {missing}")


def check_agreement(files, samples, probe):
    cases = [(s["type"], case)
             for s in samples for case in spoilt(s) if case.get("type") == s["type"]]
    cases += [("prompt", {k: v for k, v in s.items() if k != "type"})
              for s in samples if s["type"] == "prompt"]
    verdicts = judge(probe, [json.dumps(case) for _, case in cases])
    check(len(verdicts) == len(cases), "the probe lost lines")
    validators = {t: validator(files, t + ".schema.json", strict=False) for t, _ in cases}
    counts = [0, 0]
    for (kind, case), verdict in zip(cases, verdicts):
        valid = validators[kind].is_valid(case)
        counts[valid] += 1
        check(valid == (verdict == "ok"),
              f"{kind}: schema says {'ok' if valid else 'no'}, parser {verdict}: "
              f"{json.dumps(case)[:300]}")
    print(f"{len(cases)} messages put to schema and parser: {counts[1]} good, {counts[0]} bad")
    check(min(counts) > 500, "too few cases of one kind")


def refs(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from refs(child)


def resolves(folder, document, ref):
    path, _, pointer = ref.partition("#")
    if path:
        file = folder / path
        if not file.is_file():
            return False
        document = json.loads(file.read_text())
    for part in pointer.strip("/").split("/") if pointer.strip("/") else []:
        part = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(document, dict) or part not in document:
            return False
        document = document[part]
    return True


def check_asyncapi(folder, files):
    api = yaml.safe_load((folder / "asyncapi.yaml").read_text())
    named = set(refs(api))
    for ref in named:
        check(resolves(folder, api, ref), f"asyncapi.yaml: {ref} leads nowhere")
    for name in files.keys() - {"common.schema.json"}:
        check(f"json/{name}" in named, f"asyncapi.yaml does not name json/{name}")
        for ref in refs(files[name]):
            check(resolves(folder / "json", files[name], ref), f"{name}: {ref} leads nowhere")
    return api


def check_protocol(root, api, files):
    text = (root / "schema/PROTOCOL.md").read_text()
    root_topic = "splitmq/v1/{fleet}/"
    channels = {c["address"].replace(root_topic, "") for c in api["channels"].values()}
    rows = re.findall(r"^\| `([a-z]+/[^`]*)` \|", text, re.M)
    table = {re.sub(r"<(\w+)>", r"{\1}", row) for row in rows}
    check(channels == table,
          f"topics of asyncapi.yaml and PROTOCOL.md differ: {sorted(channels ^ table)}")
    listed = re.findall(r"X\((\w+), (\d+), \"([^\"]+)\"\)", (root / "base/err.h").read_text())
    for name, number, phrase in listed:
        row = f"| `{name.lower()}` | {number} | {phrase} |"
        check(row in text, f"PROTOCOL.md lacks the row {row}")
    for name in files.keys() - {"common.schema.json"}:
        check(f"`{name.removesuffix('.schema.json')}`" in text,
              f"PROTOCOL.md does not mention {name}")


def main():
    root, probe = pathlib.Path(sys.argv[1]), sys.argv[2]
    folder = root / "schema"
    files = load_schemas(folder / "json")
    run = subprocess.run([probe, "samples"], capture_output=True, text=True, check=True)
    samples = [json.loads(line) for line in run.stdout.splitlines()]
    check_samples(files, samples)
    check_agreement(files, samples, probe)
    check_protocol(root, check_asyncapi(folder, files), files)
    for failure in failures[:40]:
        print("FAILED:", failure, file=sys.stderr)
    print(f"{len(files)} schemas, {len(samples)} samples, {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""splitmq calibrate, and what its predictors save, on the conformance pack's trained model.

usage: test_calibrate.py SPLITMQ SOURCE_ROOT [TEST...]; status 77 (skipped) without the pack."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SPLITMQ, ROOT = sys.argv[1:3]
PACK = os.environ.get("SPLITMQ_CONFORMANCE", os.path.join(ROOT, "../shared/conformance/given"))
STORIES = os.path.join(PACK, "stories260K")
LEARN_LINES = 125  # of 151; the model's own stories

# Most bits an element, by split; and most that perplexity may grow.
DECODE = {1: 3.1, 2: 3.5, 3: 3.7, 4: 3.8}
PREFILL = 4.3
PPL_RATIO = 1.012

ENV = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}


def run(*args, status=0):
    done = subprocess.run([SPLITMQ, *args], capture_output=True, timeout=250, env=ENV, text=True,
                          check=False)
    if done.returncode != status:
        raise AssertionError(f"{args}: status {done.returncode}, not {status}: {done.stderr}")
    return done


def read(path):
    with open(path, "rb") as f:
        return f.read()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


class Calibrate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """All splits, from most of the text; the rest of it is never seen."""
        cls.dir = tempfile.mkdtemp(prefix="splitmq-calibrate-")
        cls.model = os.path.join(cls.dir, "stories.gguf")
        cls.cal = cls.model + ".cal"
        shutil.copy(os.path.join(STORIES, "stories260K-f32.gguf"), cls.model)
        lines = read(os.path.join(STORIES, "calibration.txt")).splitlines(True)
        cls.learn, cls.held = (os.path.join(cls.dir, n) for n in ("learn.txt", "held.txt"))
        write(cls.learn, b"".join(lines[:LEARN_LINES]))
        write(cls.held, b"".join(lines[LEARN_LINES:]))
        run("calibrate", "-m", cls.model, "-f", cls.learn, "--deltas", "none")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)

    def perplexity(self, *more):
        return json.loads(run("perplexity", "-m", self.model, "-f", self.held, "--json",
                              *more).stdout)

    def test_unseen_text_takes_few_bits_and_keeps_its_perplexity(self):
        whole = self.perplexity()["ppl"]
        for split, most in DECODE.items():
            for chunk, limit in (("1", most), ("64", PREFILL)):
                got = self.perplexity("--split", str(split), "--chunk", chunk, "--codec",
                                      "tabq:delta=0.005")
                self.assertLessEqual(got["bits_per_element"], limit, (split, chunk))
                self.assertLessEqual(got["ppl"] / whole, PPL_RATIO, (split, chunk))

    def test_without_prediction_rows_take_more(self):
        codec = ["--split", "2", "--chunk", "1", "--codec"]
        bits = {p: self.perplexity(*codec, f"tabq:delta=0.01,predict={p}")["bits_per_element"]
                for p in ("none", "rows", "tokens")}
        self.assertLess(bits["rows"], bits["none"] - 0.3)
        self.assertLess(bits["tokens"], bits["rows"] - 0.8)

    def test_every_instruction_set_sends_the_same_bytes(self):
        args = ["perplexity", "-m", self.model, "-f", self.held, "--json", "--split", "3",
                "--chunk", "1", "--codec", "tabq:delta=0.01"]
        got = []
        for isa in ("ref", ""):
            done = subprocess.run([SPLITMQ, *args], capture_output=True, check=True, timeout=250,
                                  env={**ENV, "SPLITMQ_ISA": isa})
            got.append(done.stdout)
        self.assertEqual(got[0], got[1])

    def test_an_interrupted_run_is_gone_on_with(self):
        out = os.path.join(self.dir, "part.cal")
        args = ["calibrate", "-m", self.model, "-f", self.learn, "-o", out, "--deltas", "0.01",
                "--kv", "f16", "--front", "keep", "--tokens", "64"]
        first = subprocess.Popen([SPLITMQ, *args], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, env=ENV)
        end = time.monotonic() + 200
        while not os.path.exists(out) and time.monotonic() < end:
            time.sleep(0.005)
        first.send_signal(signal.SIGKILL)
        first.wait()
        run(*args)
        lines = [json.loads(x) for x in run(*args, "--json").stdout.splitlines()]
        self.assertEqual([(x["split"], x["decode"]) for x in lines],
                         [(s, d) for s in range(5) for d in (False, True)])
        # the same predictors as an undisturbed run: the same id
        ids = {run("calibrate", "-m", self.model, "-f", self.learn, "-o", cal, "--deltas",
                   "none").stderr.split()[-1] for cal in (out, self.cal)}
        self.assertEqual(len(ids), 1, ids)

    def test_tokens_may_have_features(self):
        out = os.path.join(self.dir, "features.cal")
        run("calibrate", "-m", self.model, "-f", self.learn, "-o", out, "--deltas", "none",
            "--features", "64", "--splits", "1")
        codec = ["--split", "1", "--chunk", "1", "--codec", "tabq:delta=0.01"]
        got = self.perplexity(*codec, "--calibration", out)["bits_per_element"]
        rows = self.perplexity(*codec[:-1], codec[-1] + ",predict=rows")["bits_per_element"]
        self.assertLess(got, rows - 0.5)

    def test_a_calibration_of_another_text_or_model_is_not_mixed_in(self):
        out = os.path.join(self.dir, "mine.cal")
        shutil.copy(self.cal, out)
        args = ["calibrate", "-m", self.model, "-f", self.held, "-o", out, "--deltas", "none",
                "--ctx", "128"]
        self.assertIn("--fresh", run(*args, status=1).stderr)
        other = os.path.join(self.dir, "other.gguf")
        run("quantize", self.model, other, "--type", "Q8_0")
        got = run("perplexity", "-m", other, "-f", self.held, "--split", "1", "--codec", "tabq",
                  "--calibration", self.cal, status=1)
        self.assertIn("is of model", got.stderr)

    def test_quantize_carries_it_along(self):
        other = os.path.join(self.dir, "q8.gguf")
        run("quantize", self.model, other, "--type", "Q8_0")
        got = json.loads(run("perplexity", "-m", other, "-f", self.held, "--json", "--split", "1",
                             "--chunk", "1", "--codec", "tabq:delta=0.01").stdout)
        self.assertLess(got["bits_per_element"], 2)

    def test_inspect_tells_what_a_file_holds(self):
        said = json.loads(run("inspect", self.cal, "--json").stdout)
        model = json.loads(run("inspect", self.model, "--json").stdout)
        self.assertEqual(said["model"], model["hash"])
        self.assertEqual([s["split"] for s in said["splits"]], list(range(5)))
        self.assertIn(said["calibration"], run("inspect", self.cal).stdout)

    def test_damage_is_named(self):
        bad = os.path.join(self.dir, "bad.cal")
        whole = read(self.cal)
        args = ["perplexity", "-m", self.model, "-f", self.held, "--split", "2", "--codec", "tabq",
                "--calibration", bad]
        for data, word in ((whole[:-1], "are there"), (b"", "not a calibration"),
                           (whole[:75] + b"x" + whole[76:], "CRC-32C")):
            write(bad, data)
            got = run(*args, status=1).stderr
            self.assertIn(word, got)
            self.assertIn("bad.cal", got)
        # beyond the directory only what is used is looked at
        at = len(whole) - 1000
        write(bad, whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1:])
        run(*args)
        args[args.index("2")] = "4"
        self.assertIn("split 4 fails its CRC-32C", run(*args, status=1).stderr)
        self.assertIn("split 4 fails its CRC-32C", run("inspect", bad, status=1).stderr)

    def test_importance_of_weights_is_written(self):
        path = os.path.join(self.dir, "stories.imatrix")
        run("calibrate", "-m", self.model, "-f", self.learn, "--deltas", "none", "--imatrix", path)
        out = os.path.join(self.dir, "q4.gguf")
        got = json.loads(run("quantize", self.model, out, "--type", "Q4_0", "--imatrix", path,
                             "--json").stdout)
        self.assertEqual(got["output"], out)


if __name__ == "__main__":
    if not os.path.isdir(STORIES):
        print(f"SKIP: no conformance pack at {PACK}")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)

"""splitmq bench, synth and tools/plot-codec as a person runs them; the codec keeps its promise.

usage: test_bench.py SPLITMQ SOURCE_ROOT. The rows of a model need models/gateway.gguf."""
import csv
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

SPLITMQ, ROOT = sys.argv[1:3]
MODEL = os.path.join(ROOT, "models/gateway.gguf")
TEXT = os.path.join(ROOT, "models/gateway-test.txt")
BROKER = shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
OURS = "TS, TAB-Q, entropy"


def run(*args, status=0, program=SPLITMQ):
    done = subprocess.run([program, *args], capture_output=True, timeout=100)
    if done.returncode != status:
        raise AssertionError(f"{args}: status {done.returncode}, not {status}: {done.stderr}")
    return done


def bench(*args, status=0):
    return run("bench", "codec", *args, status=status)


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


class Bench(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()

    def tearDown(self):
        self.dir.cleanup()

    def test_every_source_is_within_035_bits_of_the_bound_at_17_to_18_db(self):
        seen = json.loads(bench("--part", "rate", "--json").stdout)
        found = {}
        for p in seen["points"]:
            if p["method"] == OURS and 17 <= p["snr_db"] <= 18:
                found[p["source"]] = p["bits"] - p["bound"]
        self.assertEqual(set(found), {"gauss", "laplace", "student-t4", "massive"})
        for source, gap in found.items():
            self.assertLessEqual(gap, 0.35, source)
        self.assertEqual(seen["times"], [])
        text = bench("--part", "rate", "--rows", "4").stdout.decode()
        self.assertEqual(text.count(": holds"), 4)

    def test_no_method_beats_what_theory_allows_a_gaussian(self):
        seen = json.loads(bench("--part", "rate", "--rows", "8", "--json").stdout)
        for p in seen["points"]:
            if p["source"] == "gauss":
                self.assertGreater(p["bits"] - p["bound"], 0.24 if p["delta"] < 0.03 else 0.1, p)

    def test_rows_of_a_model_and_curves_as_csv(self):
        bench("-m", MODEL, "-f", TEXT, "--split", "1,3", "--tokens", "130", "--part", "rows",
              "--csv", self.dir.name)
        rows = read_csv(os.path.join(self.dir.name, "rate-rows.csv"))
        self.assertEqual({(r["split"], r["mode"]) for r in rows},
                         {(s, m) for s in "13" for m in ("decode", "prefill")})
        for r in rows:
            self.assertEqual(r["model"], "gateway.gguf")
            if r["method"] == OURS:
                self.assertLess(float(r["bits"]), 8)
                self.assertGreaterEqual(float(r["snr_db"]) + 1e-3,
                                        -10 * math.log10(float(r["delta"])))
        self.assertEqual(os.listdir(self.dir.name), ["rate-rows.csv"])

    def test_speed_is_told_with_its_ends(self):
        seen = json.loads(bench("--part", "speed", "-r", "3", "--json").stdout)
        self.assertEqual([(t["what"], t["rows"]) for t in seen["times"]],
                         [("encode", 1), ("decode", 1), ("encode", 64), ("decode", 64)])
        for t in seen["times"]:
            self.assertTrue(0 < t["us_min"] <= t["us"] <= t["us_max"], t)
        self.assertLess(seen["state_bytes"], 192 * 1024)
        self.assertIn(b"median of 3", bench("--part", "speed", "-r", "3").stdout)

    def test_mistakes_are_named(self):
        for args, says in (
                (["-m", MODEL], b"go together"),
                (["--part", "rows"], b"needs -m and -f"),
                (["--part", "all"], b"rate, rows or speed"),
                (["--split", "x"], b"--split"),
                (["--dim", "7"], b"8..1048576"),
                (["-r", "0"], b"--repeat"),
                (["--none"], b"--none"),
                (["x"], b"\"x\""),
        ):
            self.assertIn(says, bench(*args, status=2).stderr, args)
        self.assertIn(b"measured", run("bench", status=2).stderr)
        self.assertIn(b"\"nothing\"", run("bench", "nothing", status=2).stderr)
        self.assertIn(b"/no/such", bench("-m", "/no/such", "-f", TEXT, status=1).stderr)
        self.assertIn(b"/proc/x", bench("--part", "rate", "--rows", "1", "--csv", "/proc/x",
                                        status=1).stderr)

    def synth(self, *args, status=0):
        path = os.path.join(self.dir.name, "toy.gguf")
        done = run("synth", "--shape", "toy", *args, path, status=status)
        return path if status == 0 else done

    def test_a_model_is_measured_at_each_length_depth_and_batch(self):
        model = self.synth("--type", "q4_k_m")
        args = ["bench", "model", "-m", model, "-t", "2", "-p", "8,40", "-n", "4", "-d", "0,30",
                "-b", "1,3", "-r", "2"]
        seen = json.loads(run(*args, "--kv", "q8_0", "--json").stdout)
        self.assertEqual([(p["what"], p["tokens"], p["depth"], p["batch"]) for p in seen["lines"]],
                         [("prefill", 8, 0, 1), ("prefill", 40, 0, 1), ("decode", 4, 0, 1),
                          ("decode", 4, 0, 3), ("decode", 4, 30, 1), ("decode", 4, 30, 3)])
        for p in seen["lines"]:
            self.assertTrue(0 < p["tok_s_min"] <= p["tok_s"] <= p["tok_s_max"], p)
            self.assertEqual("of_bandwidth" in p, p["what"] == "decode" and p["batch"] == 1)
        self.assertEqual(seen["pp_tok_s"], seen["lines"][1]["tok_s"])
        self.assertEqual(seen["tg_tok_s"], seen["lines"][2]["tok_s"])
        self.assertEqual(seen["threads"], 2)
        self.assertLess(abs(seen["weights_bytes"] - os.path.getsize(model)), 65536)
        self.assertGreater(seen["rss_bytes"], seen["kv_bytes"])
        self.assertGreater(seen["bandwidth_bytes_s"], 1e8)
        text = run(*args).stdout.decode()
        self.assertEqual(text.count("prefill"), 2)
        self.assertEqual(text.count("decode"), 4)
        only = json.loads(run("bench", "model", "-m", model, "-p", "4", "-n", "0", "-r", "1",
                              "--json").stdout)
        self.assertEqual(len(only["lines"]), 1)

    @unittest.skipIf(os.environ.get("SPLITMQ_BROKER_TESTS") == "0" or not BROKER, "no broker")
    def test_trips_through_a_broker_of_its_own_and_through_a_slow_link_to_it(self):
        args = ["--payload", "16,5000", "--qos", "1,0", "-n", "20", "--json"]
        seen = json.loads(run("bench", "bus", *args).stdout)
        self.assertEqual([(t["there_bytes"], t["back_bytes"], t["qos"]) for t in seen["lines"]],
                         [(16, 16, 1), (5000, 5000, 1), (16, 16, 0), (5000, 5000, 0)])
        for t in seen["lines"]:
            self.assertTrue(0 < t["us_min"] <= t["us"] <= t["us_p95"] <= t["us_max"], t)
        self.assertEqual(run("bench", "bus", "-n", "5", "--answer", "8").stdout.count(b" 8 "), 12)

    @unittest.skipIf(os.environ.get("SPLITMQ_BROKER_TESTS") == "0" or not BROKER, "no broker")
    def test_a_split_session_is_measured_beside_the_whole_model_and_the_broker(self):
        args = ["bench", "split", "-m", self.synth("--type", "q8_0"), "--split", "3", "-p", "20",
                "-n", "8", "-r", "2", "--codec", "q8", "--json"]
        near = json.loads(run(*args).stdout)
        self.assertEqual((near["split"], near["codec"], near["tokens"]), (3, "q8", 8))
        self.assertTrue(15 <= near["prompt_tokens"] <= 30, near)
        self.assertTrue(272 <= near["bytes_up"] <= 400, near) # a row of 256 in q8, and a header
        self.assertLess(near["bytes_down"], 300)
        self.assertNotIn("beyond_ms_low", near) # of two rounds
        self.assertIn(b"too few rounds", run(*args[:-1]).stdout)
        self.assertGreater(near["busy_round_trip_ms"], 0)
        far = json.loads(run(*args, "--delay-ms", "15", "--rate-kbit", "1000").stdout)
        for what in "token_ms", "round_trip_ms", "ttft_ms":
            self.assertGreaterEqual(far[what], 30)
        self.assertLess(near["round_trip_ms_min"], 30)
        self.assertGreater(far["token_ms"], 15 * 2 + near["bytes_up"] * 8 / 1000)
        self.assertLess(far["beyond_ms"], far["token_ms"])
        args[args.index("-r") + 1] = "7"
        more = json.loads(run(*args, "--spin-us", "0").stdout)
        self.assertTrue(more["beyond_ms_low"] <= more["beyond_ms"] <= more["beyond_ms_high"], more)
        self.assertIn(b"first token, whole", run(*args[:-1]).stdout)

    def test_what_cannot_be_split_is_refused(self):
        model = self.synth("--type", "q8_0")
        self.assertIn(b"--split 8 of 8", run("bench", "split", "-m", model, "--split", "8",
                                             status=1).stderr)
        self.assertIn(b"/no/such", run("bench", "split", "-m", "/no/such", status=1).stderr)
        for args, says in ((["-n", "2"], b"--tokens"), (["--codec", "x"], b"--codec"),
                           (["--delay-ms", "-1"], b"--delay-ms"), (["x"], b"\"x\"")):
            self.assertIn(says, run("bench", "split", *args, status=2).stderr, args)

    def test_sessions_of_a_worker_are_measured_alone_together_and_beside_a_prompt(self):
        model = self.synth("--type", "q8_0")
        args = ["bench", "worker", "-m", model, "-t", "2", "-s", "5", "-n", "100"]
        seen = json.loads(run(*args, "-p", "800", "--away", "1", "--json").stdout)
        self.assertTrue(seen["same"])
        for what, sessions in (("one", 1), ("many", 5), ("still", 5), ("beside", 5)):
            r = seen[what]
            self.assertEqual(r["sessions"], sessions)
            self.assertGreater(r["tok_s"], 0)
            self.assertTrue(0 < r["token_ms_min"] <= r["token_ms"] <= r["token_ms_p95"])
        self.assertGreater(seen["many"]["step_rows"], seen["one"]["step_rows"])
        self.assertGreater(seen["prefill_s"], 0)
        short = json.loads(run(*args, "-p", "0", "--json").stdout)
        self.assertNotIn("beside", short)
        self.assertIn(b"5 sessions", run(*args, "-p", "20").stdout)
        for wrong, says in ((["-s", "0"], b"--sessions"), (["--no"], b"--no"), (["x"], b"x")):
            self.assertIn(says, run(*args, *wrong, status=2).stderr)
        self.assertIn(b"-m", run("bench", "worker", status=2).stderr)

    def test_a_relay_tells_its_port_and_what_it_has_passed_on(self):
        with subprocess.Popen([SPLITMQ, "relay", "--to", "127.0.0.1:9", "--delay-ms", "2.5"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as relay:
            self.assertRegex(relay.stdout.readline(), rb"^127\.0\.0\.1:\d+\n$")
            relay.terminate()
            self.assertEqual(relay.stderr.read(), b"0 bytes up, 0 down\n")
        self.assertEqual(relay.returncode, 0)
        for args, says in (([], b"--to"), (["--to", "x:y"], b"--to"),
                           (["--to", "a:1", "--delay-ms", "-1"], b"--delay-ms"),
                           (["--to", "a:1", "--rate-kbit", "x"], b"--rate-kbit")):
            self.assertIn(says, run("relay", *args, status=2).stderr, args)
        for args, says in ((["--payload", "3"], b"--payload"), (["--qos", "2"], b"--qos"),
                           (["-c", "x", "--host", "y"], b"either"),
                           (["--answer", "2"], b"--answer"), (["-n", "0"], b"--trips")):
            self.assertIn(says, run("bench", "bus", *args, status=2).stderr, args)
        self.assertIn(b"does not answer", run("bench", "bus", "--host", "127.0.0.1", "--port", "9",
                                              status=1).stderr)

    def test_what_cannot_be_a_model_or_a_measurement_is_refused(self):
        for args, says in (
                (["-p", "x"], b"--prompt"),
                (["-b", "0"], b"--batch"),
                (["-b", "129"], b"1..128"),
                (["-t", "0"], b"--threads"),
                (["-r", "0"], b"--repeat"),
                (["--kv", "f8"], b"--kv"),
                (["extra"], b"extra"),
        ):
            self.assertIn(says, run("bench", "model", *args, status=2).stderr, args)
        self.assertIn(b"/no/such", run("bench", "model", "-m", "/no/such", status=1).stderr)
        self.assertIn(b"shape", self.synth("--shape", "big", "--type", "q8_0", status=2).stderr)
        self.assertIn(b"q9", self.synth("--type", "q9", status=2).stderr)
        self.assertIn(b"OUT is missing", run("synth", "--shape", "toy", status=2).stderr)
        self.assertIn(b"/no/such", run("synth", "--shape", "toy", "--type", "f16", "/no/such/x",
                                       status=1).stderr)

    def peer(self, name, text):
        path = os.path.join(self.dir.name, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\ncat <<'END'\n" + text + "\nEND\n")
        os.chmod(path, 0o755)
        return path

    def test_peers_have_their_turns_and_are_compared(self):
        def entry(prompt, tokens, speed):
            return {"n_prompt": prompt, "n_gen": tokens, "avg_ts": speed}

        slow = self.peer("slow", "hello\n" + json.dumps([entry(128, 0, 0.5), entry(512, 0, 0.25),
                                                        entry(0, 64, 0.125)]))
        quick = self.peer("quick", json.dumps([entry(128, 0, 1e9), entry(512, 0, 1e9),
                                               entry(0, 64, 1e9)]))
        table = ("| PP | TG | B | N_KV | T_PP s | S_PP t/s | T_TG s | S_TG t/s |\n"
                 "|    16 |     32 |   16 |    768 |    1.0 |   256.0 |   2.0 |  %s |  3.0 | 2.0 |")
        many, most = self.peer("many", table % 0.5), self.peer("most", table % 1e9)
        args = ["--splitmq", SPLITMQ, "--models", self.dir.name, "--shape", "toy", "--types",
                "Q4_0", "--threads", "1", "--repeat", "1"]
        peers = os.path.join(ROOT, "tools/bench-peers")
        rows = json.loads(run(*args, "--llama-bench", slow, "--batched-bench", many, "--json",
                              program=peers).stdout)
        self.assertEqual([r["test"] for r in rows], ["pp128", "pp512", "tg64", "batch16"])
        for row, theirs in zip(rows, (0.5, 0.25, 0.125, 0.5)):
            self.assertEqual(row["llama.cpp"], theirs)
            self.assertAlmostEqual(row["ratio"], row["splitmq"] / theirs)
        self.assertEqual([rows[i]["target"] for i in (2, 3)], ["holds", "holds"])
        text = run(*args, "--llama-bench", slow, "--ik-llama-bench", quick,
                   "--ik-batched-bench", most, program=peers).stdout
        self.assertIn(b"ik -rtr", text)
        self.assertIn(b"does not hold", [x for x in text.splitlines() if b" batch16 " in x][0])
        alone = run(*args, program=peers).stdout
        self.assertNotIn(b"does not hold\n", alone.split(b"opens in")[0])
        self.assertIn(b"tokens/s", alone.splitlines()[-1])
        self.assertIn(b"/no/such", run(*args, "--llama-bench", "/no/such", status=1,
                                       program=peers).stderr)

    def test_help_is_for_everybody(self):
        self.assertIn(b"codec", run("bench", "--help").stdout)
        self.assertIn(b"--csv DIR", bench("--help").stdout)

    def test_curves_are_drawn_or_it_is_said_what_is_missing(self):
        plot = os.path.join(ROOT, "tools/plot-codec")
        bench("--part", "rate", "--rows", "2", "--csv", self.dir.name)
        done = subprocess.run([sys.executable, plot, self.dir.name, "-o", self.dir.name],
                              capture_output=True, timeout=100)
        if done.returncode == 3:
            self.assertIn(b"python3-matplotlib", done.stderr)
            return
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(os.path.join(self.dir.name, "codec-sources.png"), "rb") as f:
            self.assertEqual(f.read(4), b"\x89PNG")
        empty = os.path.join(self.dir.name, "empty")
        os.mkdir(empty)
        done = subprocess.run([sys.executable, plot, empty, "-o", empty], capture_output=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"rate-sources.csv", done.stderr)


unittest.main(argv=sys.argv[:1] + sys.argv[3:])

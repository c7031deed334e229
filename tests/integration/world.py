"""A private broker and our daemons, as processes: what the integration cases are made of.

Everything lives in a temporary directory and on a free loopback port, and dies with this process.
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

FLEET = "it"
PATIENCE_S = float(os.environ.get("TEST_PATIENCE_S", "60"))  # sanitizers are slow


def die_with_parent():
    """In the child: SIGKILL when the test is gone (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def expect(got, wanted, what):
    assert got == wanted, f"{what}: got {got!r}, wanted {wanted!r}"


def wait_until(what, condition, timeout_s=PATIENCE_S):
    """Poll condition; fail with `what` when it does not come true."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"waited {timeout_s:.0f} s for: {what}")


def find_mosquitto():
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """A child with its stderr in a file."""

    def __init__(self, world, name, argv, env=None, stdin=subprocess.DEVNULL):
        self.name = name
        self.log_path = os.path.join(world.dir, f"{name}.{len(world.processes)}.log")
        with open(self.log_path, "wb") as log:
            self.p = subprocess.Popen(argv, stdout=log, stderr=log, stdin=stdin,
                                      env={**os.environ, **(env or {})}, cwd=world.dir,
                                      preexec_fn=die_with_parent)
        world.processes.append(self)

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def wait_log(self, word, timeout_s=PATIENCE_S):
        wait_until(f"{self.name} to say {word!r}; log:\n{self.log()}",
                   lambda: word in self.log() or self.fail_if_dead(word), timeout_s)

    def fail_if_dead(self, word):
        if self.p.poll() is not None and word not in self.log():
            raise AssertionError(f"{self.name} ended ({self.p.returncode}) before {word!r}:\n"
                                 + self.log())
        return False

    def stop(self, sig=signal.SIGTERM, timeout_s=PATIENCE_S):
        """Send sig, wait, return the exit status."""
        if self.p.poll() is None:
            self.p.send_signal(sig)
        return self.p.wait(timeout_s)

    def alive(self):
        return self.p.poll() is None


class World:
    """Broker, daemons and tools of one case."""

    def __init__(self, bin_dir, model, sanitized=False):
        self.bin = bin_dir
        self.model = model
        self.sanitized = sanitized
        self.dir = tempfile.mkdtemp(prefix="splitmq-it-")
        self.port = free_port()
        self.processes = []
        self.broker_conf = "allow_anonymous true\n"
        self.broker_section = ""
        self.max_packet = 131072
        self.mosquitto = None

    def close(self):
        for p in reversed(self.processes):
            if p.alive():
                p.p.kill()
                p.p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def show_logs(self):
        """What the processes of a failed world said last, on stderr."""
        for p in self.processes:
            print(f"---- {p.name} ----\n{p.log()[-4000:]}", file=sys.stderr)

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)
        return self.path(name)

    # ---- broker ----

    def start_broker(self):
        # Started by root it would become another user, and not die with us (prctl(2)).
        user = "user root\n" if os.geteuid() == 0 else ""
        conf = self.write("mosquitto.conf",
                          f"{user}listener {self.port} 127.0.0.1\nset_tcp_nodelay true\n"
                          "max_inflight_messages 1000\nmax_queued_messages 10000\n"
                          f"max_packet_size {self.max_packet}\n" + self.broker_conf)
        self.mosquitto = Process(self, "mosquitto", [find_mosquitto(), "-c", conf])
        wait_until("the broker to listen", self.broker_listens)

    def broker_listens(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 0.2).close()
            return True
        except OSError:
            return False

    # ---- daemons ----

    def config(self, name, text):
        return self.write(name, f"fleet: {FLEET}\nbroker:\n  port: {self.port}\n"
                          f"{self.broker_section}{text}")

    def start(self, kind, config, name=None, env=None, args=()):
        argv = [os.path.join(self.bin, kind, f"splitmq-{kind}"), "-c", config, *args]
        return Process(self, name or kind, argv, env)

    def agent_config(self, extra="", name="gw1", model=None):
        return self.config(f"agent-{name}.yaml",
                           f"agent: {name}\nmodel: {model or self.model}\n{extra}")

    def worker_config(self, extra="", name="w1", model=None):
        return self.config(f"worker-{name}.yaml",
                           f"worker: {name}\nmodel: {model or self.model}\n{extra}")

    def start_agent(self, extra="", name="gw1", model=None, args=()):
        p = self.start("agent", self.agent_config(extra, name, model), f"agent-{name}", args=args)
        p.wait_log("broker.connected")
        return p

    def start_worker(self, extra="", name="w1", model=None, args=()):
        p = self.start("worker", self.worker_config(extra, name, model), f"worker-{name}",
                       args=args)
        p.wait_log("broker.connected")
        return p

    def start_coordinator(self, extra="", name="coordinator"):
        config = self.config(f"{name}.yaml", f"coordinator: {name}\n{extra}")
        p = self.start("coordinator", config, name)
        p.wait_log("broker.connected")
        return p

    def start_all(self, agent="", worker=""):
        self.start_broker()
        return self.start_agent(agent), self.start_worker(worker)

    # ---- tools ----

    def tool(self, *args, stdin=None, timeout_s=120):
        """splitmq ARGS -> (status, stdout, stderr)."""
        r = subprocess.run([os.path.join(self.bin, "tools", "splitmq"), *args], input=stdin,
                           capture_output=True, text=True, timeout=timeout_s, cwd=self.dir)
        return r.returncode, r.stdout, r.stderr

    def generate(self, prompt, n, *args):
        """The answer of one process, the reference: ids and text."""
        rc, out, err = self.tool("generate", "-m", self.model, "-p", prompt, "-n", str(n),
                                 "--json", *args)
        assert rc == 0, err
        return json.loads(out)

    def prompt(self, name="gw1", **keys):
        """Publish a prompt as an operator would."""
        self.publish(f"agent/{name}/prompt", json.dumps(keys))

    def publish(self, topic, text, *args):
        subprocess.run(["mosquitto_pub", "-p", str(self.port), "-q", "1", "-t",
                        f"splitmq/v1/{FLEET}/{topic}", *args, "-m", text], check=True, timeout=30)

    def publisher(self, topic):
        return Publisher(self, topic)

    def listen(self, topic="#"):
        p = Listener(self, topic)
        p.wait_ready()
        return p


class Publisher(Process):
    """mosquitto_pub that stays: a message is out at once, however busy the machine is."""

    def __init__(self, world, topic):
        super().__init__(world, "pub", ["mosquitto_pub", "-p", str(world.port), "-q", "1", "-r",
                                        "-l", "-t", f"splitmq/v1/{FLEET}/{topic}"],
                         stdin=subprocess.PIPE)

    def send(self, text):
        self.p.stdin.write(text.encode() + b"\n")
        self.p.stdin.flush()


class Listener(Process):
    """mosquitto_sub -v: what an operator sees."""

    count = 0

    def __init__(self, world, topic):
        Listener.count += 1
        super().__init__(world, f"sub{Listener.count}",
                         ["mosquitto_sub", "-p", str(world.port), "-v", "-q", "1",
                          "-t", f"splitmq/v1/{FLEET}/{topic}",
                          "-t", f"ready/{Listener.count}"])
        self.world = world
        self.mark = f"ready/{Listener.count}"

    def wait_ready(self):
        def probe():
            subprocess.run(["mosquitto_pub", "-p", str(self.world.port), "-t", self.mark,
                            "-m", "x"], check=True, timeout=30)
            time.sleep(0.05)
            return self.mark in self.log()
        wait_until("mosquitto_sub", probe)

    def lines(self):
        """(topic, payload) of what has arrived; binary payloads are mangled, JSON is whole."""
        found = []
        for line in self.log().splitlines():
            topic, _, payload = line.partition(" ")
            if topic.startswith("splitmq/"):
                found.append((topic, payload))
        return found

    def replies(self, prompt_id=None):
        found = []
        for topic, payload in self.lines():
            if "/reply/" in topic and payload.startswith("{"):
                try:
                    reply = json.loads(payload)
                except ValueError:
                    continue  # half written
                if prompt_id is None or reply["id"] == prompt_id:
                    found.append(reply)
        return found

    def final(self, prompt_id, timeout_s=PATIENCE_S):
        def done():
            return [r for r in self.replies(prompt_id) if r["done"]]
        return wait_until(f"the final reply to {prompt_id}", done, timeout_s)[0]


def skip(reason):
    """Say why and end as meson's 'skipped'."""
    print(f"SKIP: {reason}")
    sys.exit(77)

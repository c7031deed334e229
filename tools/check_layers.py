#!/usr/bin/env python3
"""Check what a compiler does not: who includes whom, and the size and manners of the code.

    tools/check_layers.py [ROOT]        check the tree (default: the folder above this one)
    tools/check_layers.py --self-test   show that each rule can fail

One line per finding, `file:line: what`; exit status 1 when there is any. The layers are those of
docs/architecture.md:

    3   agent   worker   coordinator          never each other
    2½  daemon                                what the three daemons share
    2   engine   codec   bus   config         never each other (codec may see schema)
    1   schema
    0   base
"""

import pathlib
import re
import sys
import tempfile

LINE_COLUMNS = 100
FUNCTION_LINES = 90
FILE_LINES = 700
TEST_FILE_LINES = 1100

LIBRARIES = ("base", "schema", "config", "engine", "codec", "bus")
ALL = set(LIBRARIES)

# The model's corpus generator is mostly tables of words; lengths do not matter there.
TABLES = "tools/model/"

# folder -> folders that it may include, besides itself
MAY_INCLUDE = {
    "base": set(),
    "schema": {"base"},
    "config": {"base"},
    "engine": {"base"},
    "bus": {"base"},
    "codec": {"base", "schema"},
    "daemon": ALL,
    "coordinator": {"base", "schema", "config", "codec", "bus", "daemon"},
    "agent": ALL | {"daemon"},
    "worker": ALL | {"daemon"},
    "tools": ALL | {"daemon", "agent", "worker", "coordinator"},
    "tests": ALL | {"daemon", "agent", "worker", "coordinator", "tools"},
}

# Pure state machines: events in, effects out. They see base, schema and their own header.
PURE = {"agent/carry", "agent/draft", "agent/handover", "agent/session", "worker/lane",
        "worker/cost",
        "worker/sched", "worker/wave", "coordinator/roster", "coordinator/plan",
        "coordinator/plan_cost", "coordinator/plan_prefill", "coordinator/plan_text",
        "coordinator/lease", "coordinator/names", "coordinator/assign"}

SYSTEM = set("""
assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign
stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar
wchar wctype
arpa/inet dirent dlfcn endian fcntl fnmatch ftw getopt glob grp langinfo libgen malloc netdb net/if
netinet/in netinet/tcp poll pthread pwd regex sched search semaphore strings
sys/auxv sys/file sys/ioctl sys/mman sys/prctl sys/random sys/resource sys/select sys/socket
sys/stat sys/statvfs sys/syscall sys/sysinfo sys/time sys/types sys/uio sys/un sys/utsname sys/wait
syslog termios unistd
arm_acle arm_neon cpuid immintrin x86intrin linux/futex
""".split())

# function -> what to use instead; nowhere outside tests
FORBIDDEN = {
    "sprintf": "snprintf",
    "vsprintf": "vsnprintf",
    "strcpy": "memcpy with a checked length",
    "strncpy": "memcpy with a checked length",
    "strcat": "snprintf",
    "strncat": "snprintf",
    "atoi": "strtoull with its end checked",
    "atol": "strtoull with its end checked",
    "atof": "strtod with its end checked",
    "gets": "fgets",
    "system": "nothing: no shells",
    "alloca": "malloc",
}

# In a library: the caller decides what is printed and when the program ends.
FORBIDDEN_IN_LIBRARIES = {
    "exit": "an error code",
    "abort": "an error code, or assert",
    "printf": "an error text",
    "puts": "an error text",
    "perror": "an error text",
}
LIBRARY_EXCEPTIONS = {"base/log.c"}

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
TODO = re.compile(r"\b(TODO|FIXME|XXX)\b(?!.*#\d)")
TOKENS = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def without_comments(text):
    """The text with comments and literals blanked, line numbers kept."""
    return TOKENS.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


class Check:
    def __init__(self, root):
        self.root = root
        self.findings = []
        self.third_party = {}  # header -> files that name it

    def say(self, name, line, what):
        self.findings.append(f"{name}:{line}: {what}")

    def run(self):
        for path in sorted(self.files()):
            name = path.relative_to(self.root).as_posix()
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                self.say(name, 1, "not UTF-8")
                continue
            self.check_text(name, text)
            if path.suffix in (".c", ".h"):
                self.check_c(name, text)
        for header, names in sorted(self.third_party.items()):
            if len(names) > 1:
                self.say(names[1], 1, f"<{header}> is named in {names[0]} already; one file each")
        return self.findings

    def files(self):
        for folder in [*MAY_INCLUDE, ".ci"]:
            for path in (self.root / folder).rglob("*"):
                if path.is_file() and self.is_source(path):
                    yield path
        yield from self.root.glob("meson*")

    @staticmethod
    def is_source(path):
        if "corpus" in path.parts or "__pycache__" in path.parts:
            return False
        if path.suffix in (".c", ".h", ".py", ".sh") or path.name == "meson.build":
            return True
        if path.suffix:
            return False
        with path.open("rb") as f:
            return f.read(2) == b"#!"

    def check_text(self, name, text):
        lines = text.split("\n")
        if text and not text.endswith("\n"):
            self.say(name, len(lines), "no newline at the end")
        most = TEST_FILE_LINES if name.startswith("tests/") else FILE_LINES
        if len(lines) - 1 > most and not name.startswith(TABLES):
            self.say(name, len(lines) - 1, f"the file is longer than {most} lines")
        for number, line in enumerate(lines, 1):
            if len(line.expandtabs(8)) > LINE_COLUMNS and not name.startswith(TABLES):
                self.say(name, number, f"longer than {LINE_COLUMNS} columns")
            if line != line.rstrip():
                self.say(name, number, "blanks at the end of the line")
            if TODO.search(line) and not name.endswith("check_layers.py"):
                self.say(name, number, "TODO without the number of an issue")

    def check_c(self, name, text):
        for number, line in enumerate(text.split("\n"), 1):
            found = INCLUDE.match(line)
            if found:
                self.check_include(name, number, found.group(1) == "<", found.group(2))
        if not name.startswith("tests/"):
            self.check_calls(name, without_comments(text))
        self.check_functions(name, without_comments(text))

    def check_include(self, name, number, is_system, header):
        if ".." in header.split("/"):
            self.say(name, number, f"\"{header}\": includes start at the root")
        elif is_system:
            self.check_system(name, number, header)
        else:
            self.check_own(name, number, header)

    def check_system(self, name, number, header):
        if header.removesuffix(".h") in SYSTEM or name.startswith("tests/"):
            return
        if not name.endswith(".c"):
            self.say(name, number, f"<{header}> belongs into a .c file")
        names = self.third_party.setdefault(header, [])
        if name not in names:
            names.append(name)

    def check_own(self, name, number, header):
        mine, _, _ = name.partition("/")
        theirs, slash, _ = header.partition("/")
        if not slash or not (self.root / header).is_file():
            self.say(name, number, f"\"{header}\": no such file under the root")
        elif mine in MAY_INCLUDE and theirs != mine and theirs not in MAY_INCLUDE[mine]:
            self.say(name, number, f"{mine} must not see {theirs} (\"{header}\")")
        noun = name.rpartition(".")[0]
        seen = header.rpartition(".")[0]
        if noun in PURE and theirs not in ("base", "schema") and seen not in PURE:
            self.say(name, number, f"a pure state machine must not see \"{header}\"")

    def check_calls(self, name, code):
        rules = dict(FORBIDDEN)
        if name.split("/")[0] in LIBRARIES and name not in LIBRARY_EXCEPTIONS:
            rules.update(FORBIDDEN_IN_LIBRARIES)
        for number, line in enumerate(code.split("\n"), 1):
            for word in re.findall(r"(?<![\w.>])(\w+)\s*\(", line):
                if word in rules:
                    self.say(name, number, f"{word}(): use {rules[word]}")
            if name.split("/")[0] in LIBRARIES and name not in LIBRARY_EXCEPTIONS:
                if re.search(r"\bstderr\b|\bstdout\b", line):
                    self.say(name, number, "a library does not print")

    def check_functions(self, name, code):
        start = 0
        for number, line in enumerate(code.split("\n"), 1):
            if line.startswith("{"):
                start = number
            elif line.startswith("}") and start:
                if number - start + 1 > FUNCTION_LINES:
                    self.say(name, start, f"the function is longer than {FUNCTION_LINES} lines")
                start = 0


# Trees with one fault each: {file: text}, and a piece of the finding.
OK_H = "#ifndef X\n#define X\n#endif\n"
FAULTS = [
    ({"base/a.c": '#include "schema/b.h"\n', "schema/b.h": OK_H}, "base must not see schema"),
    ({"agent/a.c": '#include "worker/b.h"\n', "worker/b.h": OK_H}, "agent must not see worker"),
    ({"engine/a.c": '#include "codec/b.h"\n', "codec/b.h": OK_H}, "engine must not see codec"),
    ({"daemon/a.c": '#include "agent/b.h"\n', "agent/b.h": OK_H}, "daemon must not see agent"),
    ({"coordinator/a.c": '#include "engine/b.h"\n', "engine/b.h": OK_H}, "must not see engine"),
    ({"agent/session.c": '#include "bus/b.h"\n', "bus/b.h": OK_H}, "pure state machine"),
    ({"base/a.c": '#include "base/none.h"\n'}, "no such file"),
    ({"base/a.c": '#include "a.h"\n', "base/a.h": OK_H}, "no such file"),
    ({"base/a.c": '#include "../base/a.h"\n', "base/a.h": OK_H}, "start at the root"),
    ({"bus/a.c": "#include <yaml.h>\n", "config/a.c": "#include <yaml.h>\n"}, "one file each"),
    ({"bus/a.h": "#include <yaml.h>\n"}, "belongs into a .c file"),
    ({"base/a.c": "int x;" + " " * 90 + "/* */\n"}, "longer than 100 columns"),
    ({"base/a.c": "\t" * 12 + "int xyz;\n"}, "longer than 100 columns"),
    ({"tools/a.py": "x = 1 \n"}, "blanks at the end"),
    ({"base/a.c": "int x;"}, "no newline"),
    ({"base/a.c": "/* TO" "DO: later */\n"}, "TODO without"),
    ({"agent/a.c": "void f(void)\n{\n\tsprintf(a, b);\n}\n"}, "use snprintf"),
    ({"agent/a.c": "int f(void)\n{\n\treturn system (b);\n}\n"}, "no shells"),
    ({"bus/a.c": "void f(void)\n{\n\texit(1);\n}\n"}, "use an error code"),
    ({"bus/a.c": "void f(void)\n{\n\tfprintf(stderr, x);\n}\n"}, "a library does not print"),
    ({"bus/a.c": "void f(void)\n{\n" + "\tg();\n" * 89 + "}\n"}, "longer than 90 lines"),
    ({"bus/a.c": "int a;\n" * 701}, "longer than 700 lines"),
]
FINE = {
    "base/a.h": OK_H,
    "schema/b.h": OK_H,
    "codec/a.c": '#include <stdio.h>\n#include "base/a.h"\n#include "schema/b.h"\n',
    "bus/a.c": '#include <yaml.h>\n\n/* sprintf(a, b) */\nconst char *s = "exit(1) \\" stderr";\n',
    "tests/a.c": "#include <yaml.h>\nvoid f(void)\n{\n\tsystem(x);\n}\n",
    "agent/a.c": "/* TO" "DO: issue #12 */\nvoid f(void)\n{\n" + "\tg();\n" * 88 + "}\n",
}


def findings_of(tree):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in tree.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return Check(root).run()


def self_test():
    failed = 0
    for tree, expected in FAULTS:
        found = findings_of(tree)
        if len(found) != 1 or expected not in found[0]:
            print(f"expected one finding with '{expected}', got {found}")
            failed += 1
    if findings_of(FINE):
        print(f"expected none, got {findings_of(FINE)}")
        failed += 1
    print(f"{len(FAULTS) + 1 - failed} of {len(FAULTS) + 1} trees judged as expected")
    return 1 if failed else 0


def main(argv):
    if argv[1:] in (["--help"], ["-h"]):
        print(__doc__)
        return 0
    if argv[1:] == ["--self-test"]:
        return self_test()
    if len(argv) > 2 or argv[1:] and argv[1].startswith("-"):
        print("usage: check_layers.py [ROOT | --self-test]", file=sys.stderr)
        return 2
    root = pathlib.Path(argv[1] if argv[1:] else pathlib.Path(__file__).parent.parent).resolve()
    findings = Check(root).run()
    for finding in findings:
        print(finding)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

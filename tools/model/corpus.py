#!/usr/bin/env python3
"""Sentences of people and the JSON lines that they mean, generated from a seed.

The answer is a function of the text: one text never has two answers, and everything in the
answer is said in the text or fixed by lexicon.py. Sentence shapes marked "*" in phrases.py,
and one in twelve of the combinations (place, device, intent), never occur in the training part.
"""
import argparse
import json
import random
import zlib

import lexicon as lx
import phrases as ph
import slots

HELD_OUT_ONE_IN = 12
ABSENT = object()


def combination_held_out(combination):
    """Whether a (place, device, intent) belongs to the test only: decided by its name."""
    return zlib.crc32("|".join(combination).encode()) % HELD_OUT_ONE_IN == 0


def capabilities(device):
    """Letters of a device, and its quantities as a list of (kind, property)."""
    letters, kinds = set(), []
    for cap in lx.DEVICES[device][1].split():
        if len(cap) == 1:
            letters.add(cap)
        else:
            kind, _, prop = cap.partition(":")
            kinds.append((kind, prop or lx.PROPERTY[kind]))
    return letters, kinds


CAPS = {name: capabilities(name) for name in lx.DEVICES}
BY_LETTER = {c: sorted(n for n, (letters, _) in CAPS.items() if c in letters) for c in "ocl"}
SETTABLE = sorted(n for n, (_, kinds) in CAPS.items() if kinds)
ACTING = sorted(n for n in CAPS if n != "climate")
PLACE = {p[0]: p for p in lx.PLACES}
HOMES = {}
for _rooms, _names in lx.DOMAINS.values():
    for _name in _names.split():
        HOMES.setdefault(_name, []).extend(_rooms)

ALL_KINDS = sorted(k for k in lx.UNITS if k != "tempf")


class Sentence:
    """One example in the making: a random source, what it used, and how it talks."""

    def __init__(self, rng):
        self.rng = rng
        self.templates = set()
        self.combinations = set()
        self.telegram = rng.random() < 0.06

    # -- choices ---------------------------------------------------------------

    def shape(self, name, imperative=None):
        """Picks a shape of a list in phrases.py by its name and remembers it."""
        pool = getattr(ph, name) if isinstance(name, str) else name[1]
        label = name if isinstance(name, str) else name[0]
        while True:
            text, held, imp = self.rng.choice(pool)
            if imperative is None or imp == imperative:
                break
        self.templates.add((label, text, held))
        return text, imp

    def combine(self, where, device, intent):
        self.combinations.add((where.kind, device, intent))

    # -- nouns -----------------------------------------------------------------

    def the(self, noun):
        """A noun with the article that a person would use."""
        if self.telegram:
            return noun
        r = self.rng.random()
        return ("the " if r < 0.93 else "our " if r < 0.97 else "my ") + noun

    def place(self, device=None):
        rooms = HOMES.get(device)
        if rooms and self.rng.random() < 0.85:
            return Place(self, PLACE[self.rng.choice(rooms)])
        return Place(self, self.rng.choice(lx.PLACES))

    def device(self, names):
        return self.rng.choice(names)

    def noun(self, device, numbered):
        """Words of a device, with a number behind it or not: words, part of the topic."""
        words = lx.DEVICES[device][0].split("|")
        if not numbered:
            return self.the(self.rng.choice(words)), device
        said, value = slots.place_id(self.rng, self.rng.choice(["num", "num", "num", "letter"]))
        word = self.rng.choice([w for w in words if not w.endswith("s") or w in ("jets", "ups")] or words)
        lead = "the " if self.rng.random() < 0.15 else ""
        return lead + word + " " + said, device + "/" + value

    def target(self, device, where=ABSENT, plain=False):
        """A device at a place: {D}, {d}, {L} and the topic without its verb."""
        numbered = not plain and device != "climate" and self.rng.random() < 0.2
        if where is ABSENT:
            where = NOWHERE if numbered and self.rng.random() < 0.5 else self.place(device)
        d, part = self.noun(device, numbered)
        words = {"d": d, "L": where.phrase, "D": self.at(d, device, where, numbered)}
        return words, where.prefix + part, where

    def at(self, d, device, where, numbered):
        """Puts a device and its place into one noun phrase."""
        if not where.phrase:
            return d
        style = self.rng.random()
        if numbered or style < 0.78:
            return d + " " + where.phrase
        word = self.rng.choice(lx.DEVICES[device][0].split("|"))
        if style < 0.90:
            return self.the(where.name + " " + word)
        if style < 0.95:
            return ("" if where.has_id else "the ") + where.name + "'s " + word
        return d + " of " + ("" if where.has_id else "the ") + where.name


class Place:
    """Somewhere: how it is said, and how the topic begins."""

    def __init__(self, sentence, entry):
        words, topic, form, prep = entry
        rng = sentence.rng
        self.kind, self.has_id = topic, form is not None
        self.name, self.prefix = words, topic + "/"
        if form:
            said, value = slots.place_id(rng, form)
            self.name, self.prefix = words + " " + said, topic + "/" + value + "/"
        article = "" if form or sentence.telegram else "the "
        noun = article + self.name
        if form in ("num", "letter") and rng.random() < 0.08:
            noun = self.zone(rng, article)
        self.noun = noun
        self.phrase = rng.choice([prep, prep, prep, prep, prep, "in", "at", "inside"]) + " " + noun

    def zone(self, rng, article):
        """A zone inside the place."""
        said, value = slots.place_id(rng, "num")
        self.prefix += "zone/" + value + "/"
        name = self.name
        self.name = "%s zone %s" % (name, said)
        return rng.choice(["zone %s of %s" % (said, article + name), "%s zone %s" % (article + name, said)])


class Nowhere:
    kind, prefix, phrase, name, noun, has_id = "-", "", "", "", "", False


NOWHERE = Nowhere()


def fits(text, where):
    """A shape that wants a place needs one."""
    return bool(where.phrase) or "{L}" not in text


def pick(s, name, where, imperative=None):
    """A shape that fits the place; the ones that did not are not remembered."""
    while True:
        before = set(s.templates)
        text, imp = s.shape(name, imperative)
        if fits(text, where):
            return text, imp
        s.templates = before


# -- actions: each returns (sentence, imperative, answer as a dict) ------------------

def act_onoff(s, device=None, where=ABSENT, imperative=None):
    device = device or s.device(BY_LETTER["o"])
    words, topic, where = s.target(device, where)
    state = s.rng.choice(["on", "off"])
    s.combine(where, device, state)
    name = "ONOFF" if s.rng.random() < 0.68 else "ON" if state == "on" else "OFF"
    text, imp = pick(s, name, where, imperative)
    return text.format(S=state, **words), imp, {"topic": topic + "/set", "state": state}


def act_open(s, device=None, where=ABSENT, imperative=None):
    device = device or s.device(BY_LETTER["c"])
    words, topic, where = s.target(device, where)
    verb, state = s.rng.choice([("open", "open"), ("close", "closed")])
    s.combine(where, device, state)
    text, imp = pick(s, "OPEN", where, imperative)
    if verb == "close" and s.rng.random() < 0.12:
        verb = "shut"
        state_word = "shut"
    else:
        state_word = state
    return text.format(S=verb, E=state_word, **words), imp, {"topic": topic + "/set", "state": state}


def act_lock(s, device=None, where=ABSENT, imperative=None):
    device = device or s.device(BY_LETTER["l"])
    words, topic, where = s.target(device, where)
    verb = s.rng.choice(["lock", "unlock"])
    s.combine(where, device, verb)
    text, imp = pick(s, "LOCK", where, imperative)
    return text.format(S=verb, E=verb + "ed", **words), imp, {"topic": topic + "/set", "state": verb + "ed"}


def act_set(s, device=None, where=ABSENT, imperative=None, value=None, kind=None):
    """Sets a quantity. value replaces the words of the quantity, kind forces one (for errors)."""
    device = device or s.device(SETTABLE)
    words, topic, where = s.target(device, where)
    kinds = CAPS[device][1]
    kind, prop = (kind, "wrong") if kind else s.rng.choice(kinds)
    s.combine(where, device, "set " + prop)
    name = set_shape(s, device, prop)
    text, imp = pick(s, name, where, imperative)
    bare = 0.1 if prop != "wrong" and (name == "SET_PROPERTY" or kind == kinds[0][0]) else 0.0
    fraction = "to {V}" in text or "at {V}" in text
    v, number, unit = value or slots.quantity(s.rng, kind, bare, parts=fraction)
    answer = {"topic": topic + "/set", prop: number}
    if unit:
        answer["unit"] = unit
    return text.format(V=v, P=lx.PROPERTY_WORDS.get(prop), **words), imp, answer


def set_shape(s, device, prop):
    r = s.rng.random()
    if prop == "position" and "c" in CAPS[device][0] and r < 0.35:
        return "OPEN_TO"
    if prop == "brightness" and r < 0.25:
        return "DIM"
    if prop != "wrong" and device != "climate" and r > 0.82:
        return "SET_PROPERTY"
    return "SET"


UP = {"S": "raise|increase|boost", "R": "up", "I": "higher|more"}
DOWN = {"S": "lower|reduce|decrease", "R": "down", "I": "lower|less"}


def act_adjust(s, device=None, where=ABSENT, imperative=None):
    device = device or s.device(SETTABLE)
    words, topic, where = s.target(device, where)
    kind, prop = s.rng.choice(CAPS[device][1])
    s.combine(where, device, "adjust " + prop)
    name = "ADJUST_PROPERTY" if device != "climate" and s.rng.random() < 0.2 else "ADJUST"
    text, imp = pick(s, name, where, imperative)
    up = s.rng.random() < 0.5
    for key, choices in (UP if up else DOWN).items():
        words[key] = s.rng.choice(choices.split("|"))
    if kind == "temp" and s.rng.random() < 0.3:
        words["I"] = s.rng.choice(["warmer", "hotter"] if up else ["colder", "cooler"])
    v, number, unit = slots.quantity(s.rng, kind, delta=True)
    change = {"add": number if up else -number}
    if unit:
        change["unit"] = unit
    return text.format(V=v, P=lx.PROPERTY_WORDS[prop], **words), imp, {"topic": topic + "/set", prop: change}


def act_scene(s, where=ABSENT, imperative=None):
    where = s.place() if where is ABSENT else where
    name = s.rng.choice(lx.SCENES)
    s.combine(where, "scene", name)
    text, imp = s.shape("SCENE", imperative)
    text = text.format(N=name, L=where.phrase).strip(" ,").replace("  ", " ")
    return text, imp, {"topic": where.prefix + "scene/set", "name": name}


def act_read(s, where=ABSENT, imperative=None):
    where = s.place() if where is ABSENT else where
    prop, names, _ = s.rng.choice(lx.SENSORS)
    s.combine(where, prop, "read")
    if prop in ph.READ_HOW and s.rng.random() < 0.35:
        text, imp = s.shape(("READ_HOW", ph.READ_HOW[prop]), imperative)
    else:
        text, imp = s.shape("READ", imperative)
    text = text.format(P=s.rng.choice(names.split("|")), L=where.phrase).strip(" ,").replace("  ", " ")
    return text, imp, {"topic": where.prefix + prop + "/get"}


def act_status(s, device=None, where=ABSENT, imperative=None):
    device = device or s.device(ACTING)
    words, topic, where = s.target(device, where)
    s.combine(where, device, "status")
    text, imp = pick(s, "STATUS", where, imperative)
    return text.format(**words), imp, {"topic": topic + "/get"}


def act_alert(s, where=ABSENT, imperative=None):
    where = s.place() if where is ABSENT else where
    words, when = condition(s, where)
    s.combine(where, "alert", "+".join(sorted(when)))
    text, imp = s.shape("ALERT", imperative)
    return text.format(W=words), imp, {"topic": where.prefix + "alert/set", "when": when}


# -- adjuncts: conditions and times ---------------------------------------------------

def condition(s, where=NOWHERE):
    """A condition, at a place if an alert names one: words, value of "when"."""
    at = " " + where.phrase if where.phrase else ""
    if s.rng.random() < 0.3:
        names, key, value = s.rng.choice(lx.EVENTS)
        return s.rng.choice(names.split("|")) + at, {key: value}
    op = s.rng.choice(["gt", "gt", "gt", "lt", "lt", "lt", "gte", "lte"])
    if s.rng.random() < 0.3:
        v, number, unit = slots.quantity(s.rng, "temp")
        words, prop = s.rng.choice(ph.COMPARE_IT[op].split("|")) + " " + v + at, "temperature"
    else:
        prop, names, kind = s.rng.choice(lx.SENSORS)
        v, number, unit = slots.quantity(s.rng, kind, parts=False)
        text, _ = s.shape("CONDITION")
        if at and "there" in text:
            text = "!the {P} {C} {V}"[1:]
        words = text.format(P=s.rng.choice(names.split("|")) + at, C=s.rng.choice(ph.COMPARE[op].split("|")), V=v)
        words = words.replace(at + " value", " value" + at) if at else words
    test = {op: number}
    if unit:
        test["unit"] = unit
    return words, {prop: test}


def adjunct_when(s):
    words, when = condition(s)
    return s.rng.choice(["when", "when", "if", "if", "as soon as", "once", "whenever", "in case"]) + " " + words, {"when": when}


def adjunct_at(s):
    said, at = slots.clock(s.rng)
    words, answer = "at " + said, {"at": at}
    if said in ("noon", "midnight") or s.rng.random() < 0.45:
        return words, answer
    day, key, value = slots.days(s.rng)
    answer[key] = value
    return s.rng.choice([words + " " + day, words + " " + day, day + " at " + said]), answer


def adjunct_until(s):
    said, until = slots.clock(s.rng)
    return s.rng.choice(["until ", "until ", "till "]) + said, {"until": until}


def adjunct_between(s):
    times = []
    while len(times) < 2:
        said, value = slots.clock(s.rng)
        if said[0].isdigit() and (":" in said or "m" in said) and " in " not in said:
            times.append((said, value))
    (a, at), (b, until) = times
    return s.rng.choice(["from %s to %s", "from %s until %s", "between %s and %s"]) % (a, b), {"at": at, "until": until}


def adjunct_after(s):
    said, value = slots.duration(s.rng)
    return s.rng.choice(["in %s", "in %s", "after %s", "%s from now"]) % said, {"after": value}


def adjunct_for(s):
    said, value = slots.duration(s.rng)
    return "for " + said, {"for": value}


ADJUNCTS = [adjunct_when, adjunct_when, adjunct_when, adjunct_at, adjunct_at, adjunct_at, adjunct_until,
            adjunct_between, adjunct_after, adjunct_after, adjunct_for, adjunct_for]
PAIRS = [(adjunct_when, adjunct_for), (adjunct_at, adjunct_for), (adjunct_when, adjunct_until),
         (adjunct_after, adjunct_for)]
KEY_ORDER = ["when", "at", "until", "days", "day", "after", "for"]


def modify(s, text, answer):
    """Adds no, one or two adjuncts to a clause."""
    r = s.rng.random()
    if r < 0.45:
        return text, answer
    if r < 0.90:
        words, extra = s.rng.choice(ADJUNCTS)(s)
        text = s.shape("ONE")[0].format(X=text, A=words)
    else:
        first, second = s.rng.choice(PAIRS)
        (words, extra), (more, extra2) = first(s), second(s)
        extra = dict(extra, **extra2)
        text = s.shape("TWO")[0].format(X=text, A=words, B=more)
    answer = dict(answer)
    answer.update((k, extra[k]) for k in KEY_ORDER if k in extra)
    return text, answer


# -- several actions -------------------------------------------------------------------

SIMPLE = [act_onoff, act_onoff, act_onoff, act_open, act_lock, act_set, act_set, act_adjust, act_scene]


def act_multi(s):
    """Two or three clauses, or one clause over two devices or two places."""
    if s.rng.random() < 0.35:
        text, imp, answers = pair(s)
    else:
        text, _, answer = s.rng.choice(SIMPLE)(s, imperative=True)
        answers, imp = [answer], True
        for _ in range(2 if s.rng.random() < 0.25 else 1):
            more, _, answer = s.rng.choice(SIMPLE)(s, imperative=True)
            text = s.shape("JOIN")[0].format(X=text, Y=more)
            answers.append(answer)
    return text, imp, answers


def lead(s, text, answers):
    """An adjunct in front of several actions belongs to all of them."""
    words, extra = s.rng.choice(ADJUNCTS)(s)
    for answer in answers:
        answer.update((k, extra[k]) for k in KEY_ORDER if k in extra)
    return words + ", " + text, answers


def pair(s):
    """One clause that switches two devices at a place, or one device at two places."""
    state = s.rng.choice(["on", "off"])
    text, imp = s.shape("PAIR")
    first = s.device(BY_LETTER["o"])
    second = s.device([n for n in BY_LETTER["o"] if n != first])
    a, other = s.place(first), s.place(first)
    while other.prefix == a.prefix:
        other = s.place(first)
    d, topic = s.noun(first, False)
    e, topic2 = s.noun(second, False)
    targets = [(a, first, topic), (a, second, topic2)] if "{e}" in text else [(a, first, topic), (other, first, topic)]
    for where, device, _ in targets:
        s.combine(where, device, state)
    text = text.format(S=state, d=d, e=e, L=a.phrase, M=s.rng.choice([other.noun, other.phrase]))
    return text, imp, [{"topic": w.prefix + t + "/set", "state": state} for w, _, t in targets]


# -- requests that cannot be served -----------------------------------------------------

def fail(reason):
    return {"error": reason}


def err_missing_place(s):
    """A good request that names no place and no number."""
    kind = s.rng.randrange(9)
    if kind < 2:
        return act_scene(s, NOWHERE)[:2] + (fail("missing_place"),)
    if kind < 3:
        return act_read(s, NOWHERE)[:2] + (fail("missing_place"),)
    if kind < 4:
        return act_alert(s, NOWHERE)[:2] + (fail("missing_place"),)
    action = [act_onoff, act_open, act_lock, act_set, act_adjust][kind - 4]
    names = {act_onoff: BY_LETTER["o"], act_open: BY_LETTER["c"], act_lock: BY_LETTER["l"]}.get(action, SETTABLE)
    plain = s.target
    s.target = lambda device, where: plain(device, where, plain=True)
    return action(s, s.device(names), NOWHERE)[:2] + (fail("missing_place"),)


def err_missing_value(s):
    device = s.device(SETTABLE)
    words, _, where = s.target(device)
    s.combine(where, device, "missing_value")
    text, imp = pick(s, "MISSING_VALUE", where)
    return text.format(**words), imp, fail("missing_value")


def err_missing_device(s):
    where = s.place()
    text, imp = s.shape("MISSING_DEVICE")
    s.combine(where if "{L}" in text else NOWHERE, "pronoun", "missing_device")
    v = slots.quantity(s.rng, s.rng.choice(ALL_KINDS))[0]
    return text.format(S=s.rng.choice(["on", "off"]), V=v, L=where.phrase), imp, fail("missing_device")


def err_unknown_device(s):
    """Any action on something that is not in the lexicon."""
    word = s.rng.choice(lx.UNKNOWN)
    where = s.place() if s.rng.random() < 0.8 else NOWHERE
    s.combine(where, word, "unknown_device")
    noun = s.the(word + ("s" if s.rng.random() < 0.15 else ""))
    if s.rng.random() < 0.1:
        noun = word + " " + slots.place_id(s.rng, "num")[0]
    words = {"d": noun, "L": where.phrase, "D": (noun + " " + where.phrase).strip()}
    name = s.rng.choice(["ONOFF", "ON", "OFF", "OPEN", "LOCK", "SET", "STATUS"])
    text, imp = pick(s, name, where)
    verb, state = s.rng.choice([("open", "open"), ("close", "closed")] if name == "OPEN" else
                               [("lock", "locked"), ("unlock", "unlocked")])
    if name in ("ONOFF",):
        verb = s.rng.choice(["on", "off"])
    v = slots.quantity(s.rng, s.rng.choice(ALL_KINDS))[0]
    return text.format(S=verb, E=state, V=v, **words), imp, fail("unknown_device")


def err_no_such_action(s):
    """A known device asked for something that it cannot do."""
    device = s.device(ACTING)
    letters, kinds = CAPS[device]
    able = {k for k, _ in kinds}
    wrong = [c for c in "ocl" if c not in letters] + [k for k in s.rng.sample(ALL_KINDS, 4) if k not in able]
    what = s.rng.choice(wrong)
    if what in "ocl":
        action = {"o": act_onoff, "c": act_open, "l": act_lock}[what]
        text, imp, _ = action(s, device)
    else:
        text, imp, _ = act_set(s, device, kind=what)
    s.combinations = {(place, d, "no_such_action " + what) for place, d, _ in s.combinations}
    return text, imp, fail("no_such_action")


def err_out_of_range(s):
    device = s.device([n for n in SETTABLE if any(k == "pct" for k, _ in CAPS[n][1])])
    n = s.rng.choice([s.rng.randint(101, 199), s.rng.randint(101, 999), 10 * s.rng.randint(11, 50)])
    value = s.rng.choice(lx.UNITS["pct"]).format(n), n, None
    words, _, where = s.target(device)
    s.combine(where, device, "out_of_range")
    prop = dict(CAPS[device][1])["pct"]
    text, imp = pick(s, set_shape(s, device, prop), where)
    return text.format(V=value[0], P=lx.PROPERTY_WORDS[prop], **words), imp, fail("out_of_range")


def err_chat(s):
    """Something that is no command at all."""
    text, _ = s.shape("CHAT")
    words, _, where = s.target(s.device(ACTING), s.place())
    fill = {k: s.rng.choice(v.split("|")) for k, v in ph.CHAT_WORDS.items()}
    text = text.format(n=s.rng.randint(2, 99), m=s.rng.randint(2, 99), **fill, **words)
    return text, False, fail("not_a_command")


# -- spelling -----------------------------------------------------------------------------

PROTECTED = set(" ".join(slots.ONES + slots.TENS + slots.DAYS + lx.UNKNOWN + lx.SCENES).split()) | set(
    "hundred minus half quarter quarters past noon midnight morning afternoon evening above below over under more less "
    "higher lower least most reaches hits falls drops open opens close closes closed lock unlock locked unlocked shut "
    "percent degrees celsius fahrenheit weekdays weekday weekends weekend tomorrow daily minute minutes hour hours second "
    "seconds mondays tuesdays wednesdays thursdays fridays saturdays sundays raise lower rains raining zone until till "
    "from start stop stops litres liters parts million bars kilowatts kilowatt amps amperes revolutions metres meters "
    "kelvin kilos kilograms dark light lights enable disable after when then there number this that these those thing "
    "water warm cold warmer colder cooler hotter than only both with same into onto they them".split())


def all_words():
    """Every word that the corpus can use; a typing error may not turn one into another."""
    text = open(ph.__file__.replace(".pyc", ".py")).read() + open(lx.__file__.replace(".pyc", ".py")).read()
    return set("".join(c if c.isalpha() else " " for c in text.lower()).split())


WORDS = all_words()


def misspell(rng, text):
    """One typing error in a word that survives it."""
    words = text.split(" ")
    spots = [i for i, w in enumerate(words) if len(w) >= 4 and w.isalpha() and w.islower() and w not in PROTECTED]
    if not spots:
        return text
    i = rng.choice(spots)
    w, k, kind = words[i], rng.randint(1, len(words[i]) - 2), rng.randrange(3)
    bad = [w[:k] + w[k + 1:], w[:k] + w[k] + w[k:], w[:k] + w[k + 1] + w[k] + w[k + 2:]][kind]
    if bad in WORDS or bad.rstrip("s") in WORDS:
        return text
    words[i] = bad
    return " ".join(words)


QUESTION = tuple("what how is can could would which does do may who why where".split())


def spell(rng, text):
    """Typing errors, capitals and the mark at the end."""
    if rng.random() < 0.13:
        text = misspell(rng, text)
    style = rng.random()
    if style < 0.45:
        text = text[0].upper() + text[1:]
        text = text.replace(" i ", " I ").replace(" i'd ", " I'd ")
    elif style < 0.52:
        text = text.lower()
    mark = rng.random()
    if text.endswith("."):
        return text
    if text.lower().startswith(QUESTION) and mark < 0.5:
        return text + "?"
    return text + ("." if mark > 0.75 else "!" if mark > 0.73 else "")


# -- examples -------------------------------------------------------------------------------

MIX = [(act_onoff, 18), (act_open, 10), (act_lock, 6), (act_set, 22), (act_adjust, 9), (act_read, 8), (act_status, 6),
       (act_scene, 5), (act_alert, 8), (act_multi, 12), (err_missing_place, 3), (err_missing_value, 2.5),
       (err_missing_device, 1.5), (err_unknown_device, 4), (err_no_such_action, 5), (err_out_of_range, 1.5), (err_chat, 4)]
FUNCTIONS, WEIGHTS = zip(*MIX)
MODIFIED = {act_onoff, act_open, act_lock, act_set, act_adjust, act_scene}
SOMETIMES = {err_missing_place, err_unknown_device, err_no_such_action, err_out_of_range}


def example(rng):
    """One example: prompt, answer, intent, shapes used, combinations used."""
    s = Sentence(rng)
    make = rng.choices(FUNCTIONS, WEIGHTS)[0]
    text, imp, answer = make(s)
    if rng.random() < 0.55 and make is not err_chat:
        text = s.shape("POLITE" if imp else "FRAME")[0].format(X=text)
    if make in MODIFIED:
        text, answer = modify(s, text, answer)
    elif make is act_multi and rng.random() < 0.15:
        text, answer = lead(s, text, answer)
    elif make in SOMETIMES and rng.random() < 0.25:
        text, _ = modify(s, text, {})
    prompt = " ".join(spell(rng, text).split())
    return {"prompt": prompt, "answer": json.dumps(answer, separators=(",", ":")), "intent": make.__name__,
            "templates": s.templates, "combinations": s.combinations}


def part(ex):
    """Which part an example belongs to: train, phrasing, combination or both."""
    phrasing = any(held for _, _, held in ex["templates"])
    combination = any(combination_held_out(c) for c in ex["combinations"])
    return {(0, 0): "train", (1, 0): "phrasing", (0, 1): "combination", (1, 1): "both"}[phrasing, combination]


def stream(seed, want):
    """Endless examples of the parts wanted."""
    rng = random.Random(seed)
    while True:
        ex = example(rng)
        ex["part"] = part(ex)
        if ex["part"] in want:
            yield ex


def test_set(seed, per_part):
    """The same number of examples of each part of the test, no prompt twice."""
    left = {"phrasing": per_part, "combination": per_part, "both": per_part}
    seen, out = set(), []
    for ex in stream(seed, set(left)):
        if left[ex["part"]] and ex["prompt"] not in seen:
            seen.add(ex["prompt"])
            left[ex["part"]] -= 1
            out.append(ex)
        if not any(left.values()):
            return out


def main():
    """Prints examples as JSON lines."""
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--part", default="train", choices=["train", "test"])
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--count", type=int, default=20, help="examples; for the test: of each part")
    args = ap.parse_args()
    examples = stream(args.seed, {"train"}) if args.part == "train" else iter(test_set(args.seed, args.count))
    for _, ex in zip(range(args.count * (1 if args.part == "train" else 3)), examples):
        print(json.dumps({"prompt": ex["prompt"], "answer": ex["answer"], "part": ex["part"]}, ensure_ascii=False))


if __name__ == "__main__":
    main()

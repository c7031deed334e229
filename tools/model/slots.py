"""How a person says numbers, quantities, times and days, each with its one canonical value.

Every function takes a random.Random and returns (words, value).
"""
import lexicon as lx

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen").split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


def in_words(n, hyphen=False):
    """0..100 in words."""
    if n < 20:
        return ONES[n]
    if n == 100:
        return "one hundred"
    tens, one = TENS[n // 10 - 2], n % 10
    return tens + (("-" if hyphen else " ") + ONES[one] if one else "")


def number(rng, lo, hi, step=1, words=0.25):
    """A whole number or a decimal; small whole ones sometimes in words."""
    value = round(lo + step * rng.randrange(int(round((hi - lo) / step)) + 1), 2)
    if value == int(value):
        value = int(value)
    if isinstance(value, int) and 0 <= value <= 100 and rng.random() < words:
        return in_words(value, rng.random() < 0.4), value
    if isinstance(value, int) and -30 <= value < 0 and rng.random() < 0.5:
        return ("minus " if rng.random() < 0.8 else "minus ") + (in_words(-value) if rng.random() < 0.3 else str(-value)), value
    return str(value), value


RANGES = {"temp": (5, 35, 1), "tempf": (40, 95, 1), "lux": (50, 2000, 50), "ppm": (400, 1800, 10), "bar": (0.5, 12, 0.5),
          "kw": (1, 50, 1), "amp": (6, 63, 1), "litre": (5, 500, 5), "lpm": (1, 90, 1), "rpm": (100, 6000, 50),
          "ms": (0.1, 4, 0.1), "kelvin": (2200, 6500, 100), "kwh": (1, 90, 1), "kg": (1, 300, 1), "pct": (0, 100, 1)}
DELTAS = {"temp": (1, 8, 1), "tempf": (1, 12, 1), "lux": (10, 300, 10), "ppm": (10, 300, 10), "bar": (0.1, 2, 0.1),
          "kw": (1, 10, 1), "amp": (1, 10, 1), "litre": (5, 100, 5), "lpm": (1, 20, 1), "rpm": (10, 500, 10),
          "ms": (0.1, 1, 0.1), "kelvin": (100, 1000, 100), "kwh": (1, 20, 1), "kg": (1, 40, 1), "pct": (1, 50, 1)}
PARTS = [("half", 50), ("a quarter", 25), ("three quarters", 75)]


def span(rng, kind):
    """The range numbers of a quantity come from, varied so that the digits are not learned by heart."""
    if kind == "temp" and rng.random() < 0.25:
        return (-28, 4, 1) if rng.random() < 0.5 else (35, 90, 1)
    if kind == "temp" and rng.random() < 0.15:
        return 5, 30, 0.5
    if kind == "pct" and rng.random() < 0.5:
        return 0, 100, 5
    if kind in ("lux", "ppm", "rpm", "kelvin") and rng.random() < 0.2:
        return RANGES[kind][:2] + (1,)
    if kind in ("bar", "kw", "amp", "lpm") and rng.random() < 0.2:
        return RANGES[kind][0], min(RANGES[kind][1], 30), 0.1
    return RANGES[kind]


def quantity(rng, kind, bare=0.0, delta=False, parts=True):
    """A number with its unit: words, value, and "F" where the unit has to be said in the answer."""
    if kind == "temp" and rng.random() < 0.15:
        kind = "tempf"
    if kind == "pct" and parts and not delta and rng.random() < 0.06:
        return rng.choice(PARTS) + (None,)
    words, value = number(rng, *(DELTAS[kind] if delta else span(rng, kind)))
    if rng.random() < bare and kind != "tempf":
        return words, value, None
    units = lx.UNITS[kind]
    unit = units[0] if rng.random() < 0.55 else rng.choice(units)
    if not words[-1].isdigit() and "{} " not in unit:
        unit = units[0]
    return unit.format(words), value, "F" if kind == "tempf" else None


def place_id(rng, form):
    """The id of a place or device as it stands after the noun."""
    if form == "letter":
        letter = rng.choice("abcdefgh")
        return (letter.upper() if rng.random() < 0.7 else letter), letter
    if form == "code":
        code = rng.choice("abcdefgh") + str(rng.randint(1, 30))
        return (code.upper() if rng.random() < 0.6 else code), code
    n = rng.randint(1, 16) if form == "num" else rng.choice([rng.randint(1, 60), rng.randint(100, 999)])
    style = rng.random()
    if n <= 20 and style < 0.18:
        return in_words(n), str(n)
    if style > 0.94:
        return rng.choice(["number %d", "no. %d", "#%d"]) % n, str(n)
    return str(n), str(n)


def clock(rng):
    """A time of day. Without am, pm or a part of the day it is read on the 24 hour clock."""
    h, m = rng.randrange(24), rng.choice([0, 15, 30, 45, rng.randrange(60)])
    style = rng.random()
    if style < 0.35:
        return rng.choice(["%d:%02d", "%02d:%02d"]) % (h, m), "%02d:%02d" % (h, m)
    if style < 0.55:
        return twelve(rng, h, m)
    if style < 0.72:
        return spoken(rng)
    if style < 0.82:
        return day_part(rng)
    if style < 0.90:
        return rng.choice([("noon", "12:00"), ("midnight", "00:00")])
    h = rng.randint(1, 12) if rng.random() < 0.7 else h
    words = in_words(h) if h and rng.random() < 0.5 else str(h)
    return words + (" o'clock" if rng.random() < 0.6 else " hours" if rng.random() < 0.3 else ""), "%02d:00" % h


def twelve(rng, h, m):
    """6 pm, 6:30 pm, 6pm, 6 p.m."""
    gap, half = rng.choice(["", " "]), rng.choice(["am", "a.m."] if h < 12 else ["pm", "p.m."])
    m = m if rng.random() < 0.5 else 0
    number = "%d:%02d" % (h % 12 or 12, m) if m else str(h % 12 or 12)
    return number + gap + half, "%02d:%02d" % (h, m)


def part_of_day(rng, h):
    """Adds "in the evening" and the like to an hour of 1..12: words, hours to add."""
    choices = [("", 0), ("", 0)]
    if h <= 11:
        choices.append((" in the morning", 0))
    if h <= 5:
        choices.append((" in the afternoon", 12))
    if 5 <= h <= 11:
        choices.append((" in the evening", 12))
    return rng.choice(choices)


def spoken(rng):
    """half past six, quarter to seven, ten past eight in the evening."""
    h = rng.randint(1, 11)
    part, add = part_of_day(rng, h)
    word, minutes = rng.choice([("half past", 30), ("quarter past", 15), ("quarter to", -15), ("ten past", 10),
                                ("ten to", -10), ("five past", 5), ("twenty past", 20), ("twenty to", -20)])
    hour = in_words(h) if rng.random() < 0.75 else str(h)
    total = ((h + add) * 60 + minutes) % 1440
    return word + " " + hour + part, "%02d:%02d" % divmod(total, 60)


def day_part(rng):
    """7 in the morning, eight in the evening."""
    h = rng.randint(1, 11)
    part, add = part_of_day(rng, h)
    hour = in_words(h) if rng.random() < 0.5 else str(h)
    if not part:
        return hour + " o'clock", "%02d:00" % h
    return hour + part, "%02d:00" % (h + add)


def duration(rng):
    """Ten minutes -> 10m; halves and quarters of an hour in minutes."""
    if rng.random() < 0.15:
        return rng.choice([("half an hour", "30m"), ("an hour", "1h"), ("a quarter of an hour", "15m"),
                           ("an hour and a half", "90m"), ("a minute", "1m"), ("three quarters of an hour", "45m")])
    unit, letter, top = rng.choice([("minute", "m", 60), ("minute", "m", 60), ("hour", "h", 24), ("second", "s", 90)])
    words, n = number(rng, 1, top, words=0.4)
    short = {"minute": " min", "hour": " h", "second": " s"}[unit]
    if words.isdigit() and rng.random() < 0.12:
        return words + short, "%d%s" % (n, letter)
    return "%s %s%s" % (words, unit, "" if n == 1 else "s"), "%d%s" % (n, letter)


def days(rng):
    """Repeated days, or one day: words, key, value."""
    style = rng.random()
    day = rng.choice(DAYS)
    if style < 0.2:
        return rng.choice(["every day", "each day", "daily"]), "days", "daily"
    if style < 0.35:
        return rng.choice(["on weekdays", "every weekday", "from monday to friday"]), "days", "mon-fri"
    if style < 0.45:
        return rng.choice(["on weekends", "every weekend", "at weekends"]), "days", "sat-sun"
    if style < 0.65:
        return rng.choice(["every %s", "on %ss", "each %s"]) % day, "days", day[:3]
    if style < 0.75:
        a, b = sorted(rng.sample(range(7), 2))
        form = rng.choice(["on %ss and %ss", "every %s and %s"])
        return form % (DAYS[a], DAYS[b]), "days", "%s,%s" % (DAYS[a][:3], DAYS[b][:3])
    if style < 0.88:
        return "tomorrow", "day", "tomorrow"
    return rng.choice(["on %s", "next %s", "this %s"]) % day, "day", day[:3]

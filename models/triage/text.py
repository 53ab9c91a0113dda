"""Makes support tickets with labels from the grammar in `clauses/`.

    python text.py --n 1000 --seed 1              JSON lines: ticket, expected
    python text.py --n 1000 --seed 1 --part held  the same from clauses kept out of the training text
    python text.py --fillers                      every clause and slot filler, one a line

A ticket is one core clause (it fixes intent, product and a first priority) plus side clauses: a greeting, what was
tried, a distractor, a date, a threat... Labels follow from the clauses chosen, never from reading the text.
Grammar: `== intent product priority [human]` opens a section of core clauses, `== slot name` one of fillers, any other
heading one of side clauses; [a|b] picks one, {name} fills a slot, {P} names the drawn product, * stands for any product.
"""

import argparse
import json
import math
import pathlib
import random
import re

INTENTS = ("fault", "billing", "cancel", "change", "delivery", "account", "feedback")
PRODUCTS = ("internet", "mobile", "tv", "landline", "email", "none")
# How often each intent speaks of each product, in the order of PRODUCTS.
MIX = {
    "fault": (30, 20, 18, 15, 13, 10), "billing": (15, 15, 13, 9, 6, 42), "cancel": (21, 16, 17, 13, 8, 25),
    "change": (23, 24, 18, 12, 10, 13), "delivery": (22, 18, 13, 7, 0, 40), "account": (9, 12, 8, 4, 18, 49),
    "feedback": (15, 11, 11, 6, 8, 49),
}
PRIORITY_WEIGHT = {1: 12, 2: 36, 3: 40, 4: 34}
HELD_EVERY = 14  # one core clause in so many is kept for measuring


class Grammar:
    """Sections of clauses, read from the files of a folder."""

    def __init__(self, folder=pathlib.Path(__file__).parent / "clauses", part="train"):
        self.core, self.side, self.slots = {}, {}, {}
        for path in sorted(folder.glob("*.txt")):
            for line in path.read_text().splitlines():
                if not line or line.startswith("#"):
                    continue
                if line.startswith("== "):
                    head = line[3:].split()
                    if head[0] == "slot":
                        section = self.slots.setdefault(head[1], [])
                    elif head[0] in INTENTS:
                        key = (head[0], head[1], int(head[2]), "human" in head)
                        section = self.core.setdefault(key, [])
                    else:
                        section = self.side.setdefault(" ".join(head), [])
                else:
                    section.append(line)
        self.everything = [c for d in (self.core, self.side, self.slots) for s in d.values() for c in s]
        for key, lines in self.core.items():
            held = lines[5::HELD_EVERY] or lines[:1]
            self.core[key] = held if part == "held" else [c for c in lines if c not in held] or lines

    def expand(self, text, rng, product=None):
        """Fills slots and picks alternatives until none is left."""
        text = text.replace("{P}", "{plan_%s}" % product).replace("{item}", "{item_%s}" % product)
        text = text.replace("{without}", "{without_%s}" % product)
        while True:
            text, picked = re.subn(r"\[([^\[\]]*)\]", lambda m: rng.choice(m[1].split("|")), text)
            text, filled = re.subn(r"\{(\w+)\}", lambda m: self.pick(self.slots[m[1]], rng), text)
            if not picked and not filled:
                text = re.sub(r"\s+", " ", text).strip()
                return re.sub(r"\s+([,.?!])", r"\1", text)

    @staticmethod
    def pick(lines, rng):
        """One line; lines with more alternatives come a little more often."""
        return rng.choices(lines, [1 + math.log(1 + c.count("|")) for c in lines])[0] if len(lines) > 1 else lines[0]


THIRD = [
    (r"\b[Ii] am\b|\bI'm\b", "is"), (r"\bI've\b|\bI have\b|\b[Ww]e have\b|\b[Ww]e've\b", "has"),
    (r"\b[Ww]e are\b|\b[Ww]e're\b", "are"), (r"\bI'd like\b|\bI would like\b|\bWe would like\b", "would like"),
    (r"\b(?:I|[Ww]e) (want|need|wish|get|dispute|cancel|pay)\b", r"\1s"), (r"\b(?:I|[Ww]e) (don't|do not)\b", "does not"),
    (r"\bI\b|\b[Ww]e\b", "{he}"), (r"\b[Mm]y\b|\b[Oo]ur\b", "{his}"), (r"\bme\b|\bus\b", "{him}"),
    (r"\b[Yy]our\b", "our"), (r"\b[Yy]ou\b", "we"),
]
NOTE_HEADS = ("Caller says", "Caller reports", "Customer says", "Cust states", "Customer reports", "Customer called:",
              "Note:", "Phone note:", "Cust", "Customer", "Caller", "Inbound call,", "Call summary:", "Client says",
              "Spoke to customer,", "Customer on the line:", "Subscriber states", "Agent note:", "cust rang,", "Chat log:")
SHORT = {"you": "u", "your": "ur", "please": "pls", "thanks": "thx", "are": "r", "because": "cos", "tomorrow": "tmrw",
         "today": "2day", "message": "msg", "and": "&", "for": "4", "to": "2", "with": "w/", "without": "w/o",
         "appointment": "appt", "account": "acc", "customer": "cust", "number": "no", "password": "pw",
         "internet": "inet", "minutes": "mins", "weeks": "wks", "about": "abt", "what": "wot", "something": "smth"}
MISSPELT = {"receive": "recieve", "received": "recieved", "definitely": "definately", "address": "adress",
            "appointment": "apointment", "engineer": "enginer", "broadband": "broad band", "their": "there",
            "cancel": "cancle", "cancelled": "canceled", "internet": "internt", "account": "acount", "wrong": "worng",
            "because": "becuase", "separate": "seperate", "until": "untill", "tomorrow": "tommorow",
            "package": "packege", "delivery": "delivary", "password": "pasword", "television": "televison",
            "landline": "land line", "router": "routor", "technician": "technican", "charged": "chraged",
            "really": "realy", "which": "wich", "weird": "wierd", "working": "workin", "nothing": "nothin",
            "connection": "conection", "signal": "signel", "invoice": "invioce", "refund": "refnd", "don't": "dont"}


def noise(text, rng):
    """Typing habits and slips: case, punctuation, shortened words, swapped and lost letters."""
    if rng.random() < 0.06:
        drop = rng.choice((r"\b(the|a|an) ", r"\b(I|my|the|a|is|are) ", r"\b(I|we|my) "))
        text = re.sub(drop, "", text)
    if rng.random() < 0.06:
        text = re.sub(r"\w+", lambda m: SHORT.get(m[0].lower(), m[0]) if rng.random() < 0.6 else m[0], text)
    if rng.random() < 0.12:
        text = re.sub(r"[\w']+", lambda m: MISSPELT.get(m[0].lower(), m[0]) if rng.random() < 0.6 else m[0], text)
    rate = rng.choices((0, 0.015, 0.05, 0.1), (55, 30, 12, 3))[0]
    if rate:
        text = " ".join(slip(w, rng) if rng.random() < rate else w for w in text.split(" "))
    if rng.random() < 0.12:
        text = text.replace("'", rng.choice(("", "’")))
    case = rng.random()
    if case < 0.16:
        text = text.lower()
    elif case < 0.19:
        text = text.upper()
    if rng.random() < 0.08:
        text = re.sub(r"[.,;:]", "", text)
    return text


def slip(word, rng):
    """One letter lost, doubled, swapped or replaced."""
    if len(word) < 4 or not word.isalpha():
        return word
    i = rng.randrange(1, len(word) - 1)
    return rng.choice((word[:i] + word[i + 1:], word[:i] + word[i] + word[i:],
                       word[:i] + word[i + 1] + word[i] + word[i + 2:],
                       word[:i] + rng.choice("aeioutrsnl") + word[i + 1:]))


def ticket(grammar, rng):
    """One ticket with its expected answer."""
    chance = lambda p: rng.random() < p
    say = lambda name: grammar.expand(grammar.pick(grammar.side[name], rng), rng, product)
    intent = rng.choices(INTENTS, (24, 17, 12, 15, 12, 12, 10))[0]
    product = rng.choices(PRODUCTS, MIX[intent])[0]
    named = "*" if product != "none" or intent == "delivery" else None
    keys = [k for k in grammar.core if k[0] == intent and k[1] in (product, named)]
    level = rng.choices(sorted({k[2] for k in keys}), [PRIORITY_WEIGHT[p] for p in sorted({k[2] for k in keys})])[0]
    keys = [k for k in keys if k[2] == level]
    sizes = [len(grammar.core[k]) for k in keys]
    key = rng.choices(keys, sizes)[0]
    human, priority = key[3], level
    core = lambda k: grammar.expand(grammar.pick(grammar.core[k], rng), rng, product)

    before, body, after = [], [core(key)], []
    bare = (intent, "none", level, key[3])
    if product != "none" and intent in ("billing", "cancel", "change") and bare in grammar.core and chance(0.12):
        body = [say("topic"), core(bare)]
        rng.shuffle(body)
    elif chance(0.2):
        more = rng.choice(keys)
        body.append(core(bare if bare in grammar.core and intent != "delivery" and chance(0.3) else
                         more if more[3] == key[3] else key))
    long = rng.choices((0, 1, 2), (44, 40, 16))[0]  # a one-liner, a message, a letter

    # What makes it urgent or not.
    if intent == "fault" and level == 2 and product != "tv" and chance(0.25 if product == "landline" else 0.2):
        ill = chance({"landline": 0.65, "email": 0.0}.get(product, 0.35))
        (after if chance(0.6) else before).append(say("danger-vulnerable" if ill else "danger-business"))
        priority, human = 1, human or ill
        if product == "none" and chance(0.4):
            body = []
    elif intent in ("cancel", "change", "delivery") and level == 4:
        if chance(0.12):
            after.append(say("date"))
            priority = 3
        elif chance(0.15):
            after.append(say("nohurry"))
    elif level == 4 and intent not in ("feedback", "cancel", "change") and chance(0.08):
        after.append(say("nohurry"))
    elif intent == "billing" and level == 3 and chance(0.1):
        after.append(say("hardship"))
        priority = 2

    # What asks for a person.
    if chance(0.09 if intent == "feedback" else 0.27):
        kinds = {"feedback": (1, 4, 0, 2), "cancel": (4, 1, 4, 5), "change": (5, 1, 4, 2)}.get(intent, (5, 3, 5, 2))
        for kind in dict.fromkeys(rng.choices(("ask-human", "threat", "repeat", "vulnerable"), kinds, k=1 + chance(0.2))):
            (before if kind in ("repeat", "vulnerable") and chance(0.45) else after).append(say(kind))
        human = True

    # What changes nothing.
    if intent == "fault" and priority < 4 and chance((0.1, 0.3, 0.6)[long]):
        after.insert(0, say("try " + product))
    if intent == "cancel" and chance((0.25, 0.5, 0.8)[long]):
        (before if chance(0.4) else after).insert(0, say("why cancel"))
    if chance((0.03, 0.15, 0.4)[long]):
        others = [p for p in PRODUCTS if p not in (product, "none") and not (intent == "account" and p == "email")]
        about = "fine " + rng.choice(others) if product != "none" and chance(0.6) else "fine-" + intent
        (before if chance(0.3) else after).append(say(about))
    if intent == "feedback" and chance(0.12):
        after.append(say("fine-feedback"))
    for odds in ((0, 0.12, 0.45), (0, 0.03, 0.2)):
        if chance(odds[long]):
            (before if chance(0.5) else after).append(say("filler"))
    rng.shuffle(before)
    if intent in ("fault", "billing", "delivery", "cancel", "account") and chance((0.04, 0.08, 0.1)[long]):
        before.insert(0, say("irony"))
    if chance((0.04, 0.2, 0.5)[long]):
        before.insert(0, say("opener"))

    head = say("greet") if chance((0.1, 0.45, 0.85)[long]) else ""
    foot = say("sign") if chance((0.1, 0.45, 0.85)[long]) else ""
    while intent == "feedback" and re.search(r"\?|[Pp]lease|reply|hear from|Look into", foot):
        foot = say("sign")
    text = layout(head, before + body + after, foot, long, rng)
    if long < 2 and chance(0.07):
        text = note(before + body + after, rng)
    answer = {"intent": intent, "product": product, "priority": priority, "needs_human": human}
    return {"ticket": noise(text, rng), "expected": json.dumps(answer, separators=(",", ":"))}


def layout(head, clauses, foot, long, rng):
    """Joins the parts as one writer would: sentences, commas or new lines."""
    stop = rng.choices((".", "!", "", "..", " -", ","), (70, 6, 10, 3, 3, 8))[0]
    gap = rng.choices((" ", "\n", "\n\n"), (80, 12, 8))[0] if long else " "
    text = ""
    for clause in clauses:
        ended = clause[-1] in ".?!"
        new = not text or text.rstrip()[-1:] in ".?!" or gap != " "
        if new and clause[:1].islower() and rng.random() < 0.93:
            clause = clause[0].upper() + clause[1:]
        if ended and stop in ("", ",") and clause[-1] == ".":
            clause, ended = clause[:-1], False
        text += (gap if text else "") + clause + ("" if ended else stop)
    text = re.sub(r"[,\-\s]+$", rng.choice((".", "", "")), text)
    if head:
        text = head + rng.choice((",", ",", "!", ".", "")) + rng.choice((" ", "\n", "\n\n") if long else (" ",)) + text
    if foot:
        text += ("" if text[-1:] in ".!?" else rng.choice((".", ","))) + rng.choice(
            (" ", "\n", "\n\n") if long else (" ",)) + foot + rng.choice(("", "", "."))
    return text


def note(clauses, rng):
    """The same told by an agent, in the third person."""
    he, his, him = rng.choice((("he", "his", "him"), ("she", "her", "her"), ("they", "their", "them"), ("cust", "own", "cust")))
    text = ". ".join(c.rstrip(".!") for c in clauses)
    for find, put in THIRD:
        text = re.sub(find, put.format(he=he, his=his, him=him) if "{" in put else put, text)
    return rng.choice(NOTE_HEADS) + " " + text + rng.choice((".", "", " Please advise.", " Tel " + str(rng.randrange(10**6))))


def tickets(n, seed, part="train"):
    """n tickets, the same for the same seed."""
    grammar, rng = Grammar(part=part), random.Random(f"{part}-{seed}")
    for _ in range(n):
        yield ticket(grammar, rng)


def fillers():
    """Every clause as written, and every alternative of two words or more inside one."""
    seen = dict.fromkeys(Grammar().everything)
    for clause in list(seen):
        for inner in re.findall(r"\[([^\[\]]*)\]", clause):
            seen.update(dict.fromkeys(a.strip() for a in inner.split("|") if " " in a.strip()))
    return list(seen)


if __name__ == "__main__":
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--n", type=int, default=10)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--part", choices=("train", "held"), default="train")
    args.add_argument("--fillers", action="store_true")
    args = args.parse_args()
    for row in fillers() if args.fillers else map(json.dumps, tickets(args.n, args.seed, args.part)):
        print(row)

"""Running text to sentences, by rules; fast, and not one character that is no space is lost."""

import re
from collections.abc import Iterator

# Characters. A longer sentence is cut: at the last white space before the limit, else at it.
LONGEST_SENTENCE = 1000

# A line longer than this is no part of a hard-wrapped paragraph, but a paragraph itself.
_LONGEST_WRAPPED_LINE = 120

# Marks that may end a sentence: before white space; the wide ones anywhere, of writing that puts no
# space between sentences or need not (Chinese, Japanese, Indic, Khmer, Burmese, Tibetan, Armenian,
# Ethiopic). Greek asks with a semicolon.
_WIDE = "。！？｡．।॥។៕။།༎։።"
_MARKS = f".!?…؟۔\u037e{_WIDE}"
_EMOJI = "\u2600-\u27bf\U0001f000-\U0001faff\ufe0f\u200d"
_CLOSERS = f"\"'”’»›)\\]}}*_`」』）】》〉{_EMOJI}"
# What closes only before white space: German quotes; those of French and of tokenised text, parted
# from the sentence by a space.
_LAST_CLOSER = "(?:(?:[“‘]|[ \u00a0\u202f](?:[»”]|''))(?=\\s|\\Z))?"
# Before the first word: anything, from quotes and ¿ to emoji, but what goes on or closes, and the
# prompts of a terminal; # @ $ only as part of the word.
_GOES_ON = f",;:%/&=+|~^>)\\]}}#@${_MARKS}"
_OPENERS = f"[^\\w{_GOES_ON}]*(?:_+[^\\w{_GOES_ON}]*)?[#@$]?"

# Marks and closers, then the word that follows. It begins with a plain set of characters, since
# that makes the search several times faster.
_CANDIDATE = re.compile(
    rf"([{_MARKS};][{_MARKS}]*[{_CLOSERS}]*{_LAST_CLOSER})(?:(\s){_OPENERS}(\w+)?)?"
)
_GREEK = re.compile("[\u0370-\u03ff\u1f00-\u1fff]")
_ENDS_LINE = re.compile(rf"[{_MARKS}][{_CLOSERS}\s]*\Z")

# Openers stick to the word before a full stop, as in "(Mr." and "said—Mr.".
_STUCK = re.compile(r"[(\[{\"“‘«/—–]")
_LONGEST_ABBREVIATION = 12
_LIST_NUMBER = re.compile(r"[\s(\[*-]*(?:\w|\d+|[ivxlcIVXLC]+)[.)\]]*\Z")
_ACRONYM = re.compile(r"(?:\w\.)+\w\Z")
_LIST_ITEM = re.compile(r"[ \t]*(?:[-*•‣+]|\d{1,3}[.)]|\([a-z\d]{1,3}\))[ \t]+\S")


def _words(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Before a name, never at the end of a sentence.
_TITLES = _words(
    "mr mrs ms messrs mm mme mlle dr drs prof rev revd hon st ste sr sra fr gen col capt cpt maj "
    "lt sgt cpl pvt adm cmdr gov sen rep pres supt insp det esq mt ft vs viz cf eg ie e.g i.e al "
    "ca approx resp "
    "av sra srta dra dña uds d.h z.b u.a vgl bzw evtl ggf inkl hr sig dott dhr mevr bijv t.ex esim "
    "tzv např проф акад ул им т.е डॉ"
)
# Before a number.
_NUMBERED = _words(
    "no nos nr vol vols ch chap sec sect fig figs tab eq eqs art p pp par para pt bk ed eds vers "
    "v vv kl abb jan feb mar apr jun jul aug sep sept oct nov dec"
)
# In mid-sentence or at its end; the next word decides.
_EITHER = _words(
    "etc usw ecc inc ltd co corp bros jr sr esq ave blvd rd dept univ assn a.m p.m u.s u.k ph.d "
    "b.c a.d m.d b.a m.a d.c"
)
# German ordinals end in a full stop.
_AFTER_ORDINALS = _words(
    "Januar Februar März April Mai Juni Juli August September Oktober November Dezember "
    "Jahrhundert Jahrhunderts Jahrhunderte"
)
_QUOTES = frozenset("\"'”’»›")
# Who speaks after a quotation, where no capital tells: “why?” he asked.
_SPEAKERS = _words("i he she it we you they said asked cried")
_JAPANESE_GOES_ON = frozenset("とっ、，,")
_ROMAN = _words("I II III IV V VI VII VIII IX X XI XII")
# What begins a sentence after one of those; after "U.S." a capital alone proves nothing.
_STARTERS = _words(
    "The A An This That These Those It He She They We You I In On At As By For From If Its His Her "
    "Their Our My But And Or So Yet Nor When While Where What Who Why How There Then Thus Here "
    "After Before Although Though Because Since Until Unless However Moreover Not No Yes Such "
    "Some Many Most All Both Each Every One Two To With Under Over"
)
# Which of them, without their capital, go on instead: "at 9 a.m. in room 4".
_LINKS = _words(
    "In On At As By For From If And Or But When While Where After Before Because Since Until "
    "Unless To With Under Over"
)


def split_sentences(text: str, longest: int = LONGEST_SENTENCE) -> list[str]:
    """Split running text into sentences, without the white space around them.

        "Mr. A. B. Smith paid $3.50. “Why?” he asked."
         └──────────────────────────┘ └──────────────┘

    First come paragraphs (`paragraphs`), which no sentence crosses, then the rules for full stops:
    not after titles, initials and abbreviations, not before a small letter, not in numbers.

        >>> split_sentences("Mr. A. B. Smith paid $3.50. “Why?” he asked.")
        ['Mr. A. B. Smith paid $3.50.', '“Why?” he asked.']

    Args:
        text: any text; all white space counts the same inside a paragraph.
        longest: sentences longer than this many characters are cut into several.
    """
    lowered = text.islower()
    return [s for part in paragraphs(text) for s in split_paragraph(part, longest, lowered)]


def split_paragraph(
    paragraph: str, longest: int = LONGEST_SENTENCE, lowered: bool = False
) -> list[str]:
    """Split one paragraph into sentences: `split_sentences` without looking for paragraphs.

    Args:
        paragraph: the paragraph.
        longest: sentences longer than this many characters are cut into several.
        lowered: whether the text it is from has small letters only. No capital tells there, so a
            small letter may begin a sentence; and where all lines of a paragraph end like
            sentences, as such text is often laid out, the lines are the sentences.
    """
    sentences: list[str] = []
    if lowered and "\n" in paragraph:
        lines = [line.strip() for line in paragraph.splitlines()]
        if all(map(_ENDS_LINE.search, lines)):
            for line in lines:
                _append(sentences, line, longest)
            return sentences
    start = 0
    for match in _CANDIDATE.finditer(paragraph):
        if _ends(paragraph, start, match, lowered):
            end = match.end(1)
            _append(sentences, paragraph[start:end], longest)
            start = end
    _append(sentences, paragraph[start:], longest)
    return sentences


def paragraphs(text: str) -> Iterator[str]:
    """Yield the paragraphs of a text: what stands between blank lines, its lines joined.

    A line of more than 120 characters is not hard-wrapped and so a paragraph of its own, and an
    item of a list begins one.

        "A TITLE\\n\\nIt was the best of\\ntimes.\\n- one\\n- two"
        ->  "A TITLE"   "It was the best of\\ntimes."   "- one"   "- two"
    """
    lines: list[str] = []
    for line in text.splitlines():
        if not line or line.isspace():
            if lines:
                yield "\n".join(lines)
                lines = []
        elif len(line) > _LONGEST_WRAPPED_LINE:
            if lines:
                yield "\n".join(lines)
                lines = []
            yield line
        else:
            if lines and _LIST_ITEM.match(line):
                yield "\n".join(lines)
                lines = []
            lines.append(line)
    if lines:
        yield "\n".join(lines)


def _ends(text: str, start: int, match: re.Match[str], lowered: bool) -> bool:
    """Whether the sentence that began at `start` ends with the marks of `match`."""
    marks, space, word = match.groups()
    if marks[0] in _WIDE:
        return _ends_wide(text, match)
    if space is None:
        return False
    if not word:  # more marks come, as in ". . .", or the paragraph ends, perhaps with a quote
        return match.end() == len(text) and not _QUOTES.issuperset(text[match.end(1) :].split())
    at = match.start()
    if marks[0] == ";" and not _GREEK.match(text, at - 1):
        return False
    if word[0].islower() and not lowered:
        # "He came home. #blessed", but no prompt ("... @nn.compact") and no decorator on its line.
        return text[match.start(3) - 1] in "#@" and marks in ".!?…" and space != "\n"
    if lowered:
        if marks[:2] == "..":
            return False
        if marks[-1] in _QUOTES and word in _SPEAKERS:
            return False
        word = word.capitalize()
    if marks[0] != "." or marks[1:2] == ".":  # ! ? … ...
        return True
    # Only as far back as an abbreviation may reach: a look at the whole would be quadratic.
    near = text[max(start, at - _LONGEST_ABBREVIATION) : at].split()
    if not near or text[at - 1].isspace():
        return True
    last = _STUCK.split(near[-1])[-1]
    folded = last.lower()
    if at - start < 8 and _LIST_NUMBER.fullmatch(text, start, at):
        return False
    if len(last) == 1 and last.isalpha() and last != "I" and not (lowered and last == "i"):
        return last.islower() and word in _STARTERS
    if folded in _TITLES:
        return False
    if folded in _NUMBERED:
        return not (word[0].isdigit() or word in _ROMAN)
    if folded in _EITHER or ("." in last and _ACRONYM.search(last)):
        return word in _STARTERS and not (lowered and word in _LINKS)
    return not (last.isdigit() and len(last) < 3 and word in _AFTER_ORDINALS)


def _ends_wide(text: str, match: re.Match[str]) -> bool:
    marks, end = match[1], match.end(1)
    after = text[end : end + 2].lstrip()[:1]
    if marks == "．" and after.isdigit():
        return False
    # Another mark comes, as in Tibetan; or Japanese goes on after what was said: 「はい。」と
    goes_on = len(marks) > 1 and after in _JAPANESE_GOES_ON
    return not goes_on and (not after or after not in _WIDE)


def _append(sentences: list[str], sentence: str, longest: int) -> None:
    if len(sentence) <= longest:
        if sentence := sentence.strip():
            sentences.append(sentence)
        return
    start = 0
    while start < len(sentence):
        end = min(start + longest, len(sentence))
        if end < len(sentence):
            part = sentence[start + longest // 2 : end + 1]
            gap = max(part.rfind(" "), part.rfind("\n"))
            if gap >= 0:
                end = start + longest // 2 + gap
        if part := sentence[start:end].strip():
            sentences.append(part)
        start = max(end, start + 1)

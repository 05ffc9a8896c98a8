"""Applies a guide to the project in the current folder, block by block.

usage: guide.py apply GUIDE     files and lines into their places; then says how many
       guide.py commands GUIDE  prints the commands of the guide's sh blocks, in order

A line before a block says what becomes of it:
  New file `PATH`:
  In `PATH`, after|before|instead of `WORDS`:
WORDS are in one line of the file, and in no other; ⏎ in them is the end of a line, so that they are in two, and the
first counts for `before`, the last for `after`.
"""

import pathlib
import re
import sys

PLACE = re.compile(r"^(?:New file `(?P<new>[^`]+)`|In `(?P<file>[^`]+)`, (?P<how>after|before|instead of) `(?P<words>.+)`):$")


def blocks(text):
    """The last line of text before each fenced block, the block's language, and its text."""
    said, language, block = "", None, []
    for line in text.splitlines():
        if language is not None and line == "```":
            yield said, language, "".join(f"{one}\n" for one in block)
            said, language = "", None
        elif language is not None:
            block.append(line)
        elif line.startswith("```"):
            language, block = line[3:], []
        elif line.strip():
            said = line
    if language is not None:
        sys.exit(f"a block after `{said}` does not end")


def put(path, how, words, block):
    lines, wanted = path.read_text().splitlines(keepends=True), words.split("⏎")
    at = [n for n in range(len(lines)) if all(n + k < len(lines) and word in lines[n + k] for k, word in enumerate(wanted))]
    if len(at) != 1:
        sys.exit(f"{path}: `{words}` is in {len(at)} places; one was expected")
    first, behind = at[0], at[0] + len(wanted)
    first, behind = {"before": (first, first), "after": (behind, behind), "instead of": (first, behind)}[how]
    path.write_text("".join(lines[:first]) + block + "".join(lines[behind:]))


def apply(guide):
    done = 0
    for said, language, block in blocks(guide):
        place = PLACE.match(said)
        if place is None:
            # commands are run, not inserted into a file
            if language != "sh":
                sys.exit(f"nothing says where the block after `{said}` belongs")
            continue
        path = pathlib.Path(place["new"] or place["file"])
        if place["new"]:
            if path.exists():
                sys.exit(f"{path} is there already")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block)
        else:
            put(path, place["how"], place["words"], block)
        done += 1
    print(f"{done} blocks were applied")


def main(what, guide):
    text = pathlib.Path(guide).read_text()
    if what == "apply":
        return apply(text)
    for said, language, block in blocks(text):
        if language == "sh" and PLACE.match(said) is None:
            print(block, end="")


main(*sys.argv[1:])

"""Runs the tour of README.md: every `sh` block from `## The tour` to the next section, in order, in one shell and in
the folder that it is started in.

usage: tour.py README.md

The text after ```sh defines how a block is run, and a part of its expected output:
  says TEXT            it ends by itself
  stays, says TEXT     it goes on running, as in a terminal of its own
  ends; ...            before it, Ctrl-C in the terminal that was opened last; `ends the first` and `ends all` are others
  ...; ends            after it, Ctrl-C in its own
  no process is left       then no process of the shop may run
  not run, WHY         skipped, and said so
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

LIMIT = 600
# pause between two blocks, so that they are not in the same second, of which only ten traces are recorded
PAUSE = 2


def blocks(text):
    tour = text.split("\n## The tour\n")[1].split("\n## ")[0]
    found = re.findall(r"^```(.*)\n((?:.*\n)*?)```$", tour, re.M)
    for info, block in found:
        if not info.startswith("sh "):
            sys.exit(f"a block of the tour has no expected output: ```{info}\n{block}")
        yield info[3:], block


class Terminal:
    """A process group with its output in a file."""

    def __init__(self, command):
        self.said = tempfile.NamedTemporaryFile("w+", prefix="tour-")
        self.process = subprocess.Popen(["bash", "-c", command], stdout=self.said, stderr=self.said, start_new_session=True)

    def text(self):
        return pathlib.Path(self.said.name).read_text(errors="replace")

    def end(self):
        """Sends Ctrl-C; a process that does not exit is a failure."""
        os.killpg(self.process.pid, signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            sys.exit(f"Ctrl-C did not end it within a minute:\n{self.text()}")


class Shell:
    """The shell that runs the commands: variables keep their values."""

    def __init__(self):
        self.process = subprocess.Popen(["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)

    def run(self, block):
        # a unique line marks the end of the output
        end = f"--end-of-block-{time.monotonic_ns()}--"
        self.process.stdin.write(f"{block}\necho; echo {end}\n")
        self.process.stdin.flush()
        said = []
        hangs = threading.Timer(10 * LIMIT, os.killpg, (self.process.pid, signal.SIGKILL))
        hangs.start()
        try:
            for line in self.process.stdout:
                if line.strip() == end:
                    return "".join(said)
                said.append(line)
        finally:
            hangs.cancel()
        sys.exit("the shell ended, or took too long: " + "".join(said))


def wait_until(what, holds, terminal):
    until = time.monotonic() + LIMIT
    while not holds():
        if terminal.process.poll() is not None or time.monotonic() > until:
            sys.exit(f"{what}; it said:\n{terminal.text()}")
        time.sleep(0.1)


def variables(shell):
    """Variables that a person would copy into the other terminal."""
    return "".join(f"{name}='" + shell.run(f"printf %s ${name}").strip() + "'\n" for name in ["TOKEN"])


def is_there(text, pattern):
    return re.search(pattern, text) is not None if ".*" in pattern else pattern in text


def left():
    """Processes of this folder's shop."""
    found = []
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == pathlib.Path.cwd().resolve() and (process / "comm").read_text().strip() == "tradepost":
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:
            pass  # the process has exited, or belongs to another user
    return found


def step(info, block, shell, terminals):
    """Runs one block as its first line defines; returns whether it was run."""
    if info.startswith("not run, "):
        print(f"-- NOT RUN ({info.removeprefix('not run, ')}): {block.strip()}", flush=True)
        return False
    print(f"-- {block.strip()}", flush=True)
    time.sleep(PAUSE)
    words = [word.strip() for word in info.split(";")]
    if words[0].startswith("ends"):
        some = terminals if words[0] == "ends all" else terminals[:1] if words[0] == "ends the first" else terminals[-1:]
        for terminal in list(some):
            terminal.end()
            terminals.remove(terminal)
        words = words[1:]
    wanted = words[0].split("says ", 1)[1] if "says " in words[0] else None
    if words[0].startswith("stays"):
        terminal = Terminal(variables(shell) + block)
        terminals.append(terminal)
        wait_until(f"`{wanted}` did not come", lambda: is_there(terminal.text(), wanted), terminal)
    else:
        said = shell.run(block)
        print(said.strip()[-1500:], flush=True)
        if wanted is not None and not is_there(said, wanted):
            sys.exit(f"it did not say `{wanted}`")
    if "ends" in words[1:]:
        terminals.pop().end()
    if "no process is left" in words[1:] and left():
        sys.exit("still running: " + "\n".join(left()))
    return True


def main(readme):
    # a background process ignores SIGINT, and its children would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    shell, terminals, run, skipped = Shell(), [], 0, 0
    try:
        for info, block in blocks(pathlib.Path(readme).read_text()):
            if step(info, block, shell, terminals):
                run += 1
            else:
                skipped += 1
    finally:
        for one in [terminal.process for terminal in terminals] + [shell.process]:
            os.killpg(one.pid, signal.SIGTERM)
            one.wait()
    print(f"tested: {run} blocks of the tour; {skipped} are marked `not run`")


main(*sys.argv[1:])

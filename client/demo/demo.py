"""The demo: a session that remembers far more than its window.

A fresh gateway log goes into one session, then questions are asked whose answers left the window long ago; the same
again with a session of the same size that has only a window. Everything goes through the `memgate` command line, and
every number printed comes from the server or is counted here.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile

from client.demo.server_process import DEMO_MODEL, MEMGATE, REPOSITORY, ServerFailed, ServerProcess, environment

FACTS = 32
ANSWER_TOKENS = 16


class CommandFailed(Exception):
    """A `memgate` command or the log generator ended with an error."""


def run_json(address, *words, progress=False):
    """Runs `memgate WORDS --json` and returns its lines as objects. `progress` lets its bar through to the terminal."""
    command = [MEMGATE, *words, "--json", "--address", address]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=None if progress else subprocess.PIPE, text=True,
                          env=environment())
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr or ''}")
    return [json.loads(line) for line in done.stdout.splitlines()]


class Colours:
    def __init__(self, stream):
        self.on = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"

    def __call__(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.on else text


def human_bytes(number):
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.2f} {unit}"
        number /= 1000


def make_log(folder, arguments):
    """Writes log.txt and questions.json into `folder` and returns the questions."""
    command = [sys.executable, "-m", "training.gateway_log", "--tokens", str(arguments.tokens), "--facts",
               str(max(FACTS, 2 * arguments.questions)), "--questions", str(arguments.questions), "--seed",
               str(arguments.seed), "--tokenizer",
               os.path.join(DEMO_MODEL, "tokenizer.json"), "--out", folder]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise CommandFailed(f"the log generator failed:\n{done.stdout}")
    with open(os.path.join(folder, "questions.json"), encoding="utf-8") as f:
        return json.load(f)


def answer_of(text):
    """The answer's first line: the model goes on with the log after it."""
    return text.strip().split("\n")[0].strip().rstrip(".")


def ask(address, session, question):
    """One turn in the session. Returns the answer and everything that the server said about it."""
    events = run_json(address, "generate", question["question"], "--session", session, "--stop", "\n",
                      "--max-tokens", str(ANSWER_TOKENS), "--temperature", "0")
    route = next(e for e in events if e["event"] == "route")
    done = next(e for e in events if e["event"] == "done")
    answer = answer_of(done["text"])
    return {"answer": answer, "right": answer == question["answer"], "route": route, "done": done}


def print_turn(colours, number, question, turn):
    route, held, timings = turn["route"], turn["done"]["accounting"], turn["done"]["timings"]
    mark = colours("32", "✓") if turn["right"] else colours("31", "✗")
    print(f"{number:2}. {question['question'].removeprefix('ask: ')}")
    print(f"    {mark} {colours('1', turn['answer'] or '(nothing)')}  truth {question['answer']}")
    print(colours("2", f"    path {route['path']} ({route['reason']}), {held['total_tokens']:,} tokens: "
                       f"{held['exact_tokens']:,} exact, {held['salient_tokens']:,} salient, "
                       f"{held['compressed_tokens']:,} compressed, {held['forgotten_tokens']:,} forgotten"))
    print(colours("2", f"    session {human_bytes(route['session_bytes'])}, full KV cache "
                       f"{human_bytes(route['full_kv_bytes'])}; first token {timings['time_to_first_token_ms']:.1f} ms, "
                       f"{timings['decode_tokens_per_s']:.0f} tokens/s"))


def ingest_and_ask(address, log, questions, create, report):
    """A new session, the log into it, then the questions one after another."""
    session = run_json(address, "sessions", "create", *create)[0]
    ingested = run_json(address, "ingest", session["name"], log, progress=True)[-1]
    report.ingested(session, ingested)
    turns = []
    for number, question in enumerate(questions, 1):
        turns.append(ask(address, session["name"], question))
        report.turn(number, question, turns[-1])
    run_json(address, "sessions", "rm", session["name"])
    return session, ingested, turns


class FullReport:
    def __init__(self, colours):
        self.colours = colours

    def ingested(self, session, ingested):
        shape = session["shape"]
        print(f"{session['memory_kind']}: {ingested['ingested_tokens']:,} tokens ingested at "
              f"{ingested['tokens_per_s']:,.0f} tokens/s into {human_bytes(session['session_bytes'])} "
              f"({shape['sink_tokens']} sinks, window {shape['window_tokens']}, segment {shape['segment_tokens']}, "
              f"{shape['salient_tokens']} salient)\n")

    def turn(self, number, question, turn):
        print_turn(self.colours, number, question, turn)


class ShortReport(FullReport):
    def turn(self, number, question, turn):
        mark = self.colours("32", "✓") if turn["right"] else self.colours("31", "✗")
        print(f"{number:2}. {mark} {turn['answer'] or '(nothing)'}  truth {question['answer']}")


def run(arguments):
    colours = Colours(sys.stdout)
    sys.stdout.reconfigure(line_buffering=True, encoding="utf-8")
    print(f"seed {arguments.seed} (repeat with --seed {arguments.seed})")
    with contextlib.ExitStack() as stack:
        folder = tempfile.mkdtemp(prefix="memgate-demo-")
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        questions = make_log(folder, arguments)
        log = os.path.join(folder, "log.txt")
        server = stack.enter_context(ServerProcess())
        print(f"memgate-server on {server.address}; its log: {server.log_path}\n")

        session, ingested, turns = ingest_and_ask(server.address, log, questions, [], FullReport(colours))
        print(f"\nThe same with sinks and window only, in at most {human_bytes(session['session_bytes'])}:")
        window, _, window_turns = ingest_and_ask(
            server.address, log, questions, ["--kind", "window", "--max-bytes", str(session["session_bytes"])],
            ShortReport(colours))

    paths = [turn["route"]["path"] for turn in turns]
    result = {
        "tokens_ingested": ingested["ingested_tokens"],
        "questions": len(questions),
        "correct": sum(turn["right"] for turn in turns),
        "correct_window_only": sum(turn["right"] for turn in window_turns),
        "path": paths[0] if len(set(paths)) == 1 else "mixed",
        "session_bytes": session["session_bytes"],
        "full_kv_bytes": turns[-1]["route"]["full_kv_bytes"],
        "ttft_ms": statistics.median(turn["done"]["timings"]["time_to_first_token_ms"] for turn in turns),
        "decode_tokens_per_s": statistics.median(turn["done"]["timings"]["decode_tokens_per_s"] for turn in turns),
    }
    print(f"""
Summary (seed {arguments.seed})
  {session['memory_kind']:<8} {result['correct']} of {len(questions)} right in {human_bytes(session['session_bytes'])}, \
path {result['path']}
  window   {result['correct_window_only']} of {len(questions)} right in {human_bytes(window['session_bytes'])}
  a full KV cache of the {turns[-1]['done']['accounting']['total_tokens']:,} tokens would take \
{human_bytes(result['full_kv_bytes'])}, {result['full_kv_bytes'] / session['session_bytes']:.1f} times as much
  first token after {result['ttft_ms']:.1f} ms, {result['decode_tokens_per_s']:.0f} tokens/s (medians)
  server stopped cleanly""")
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=2)
            f.write("\n")


def at_least(low):
    def convert(text):
        value = int(text)
        if value < low:
            raise argparse.ArgumentTypeError(f"must be at least {low}")
        return value
    convert.__name__ = "number"
    return convert


def main():
    parser = argparse.ArgumentParser(prog="./dev demo", description="A session that remembers more than its window.")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1, 10**6),
                        help="of the log and the questions (default: a new one each run)")
    parser.add_argument("--tokens", type=at_least(5000), default=20000, help="least length of the log (default 20000)")
    parser.add_argument("--questions", type=at_least(1), default=10, help="how many to ask (default 10)")
    parser.add_argument("--json", metavar="FILE", help="write the result to FILE, too")
    try:
        run(parser.parse_args())
    except (CommandFailed, ServerFailed) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped; the server has ended", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

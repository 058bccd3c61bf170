import collections
import os
import tempfile
import unittest

from tests.eval import kinds, tasks
from training.gateway_log import approximate_tokens

SHAPE = {"sink_tokens": 4, "window_tokens": 192, "segment_tokens": 64, "salient_tokens": 256}
MEMGATE = kinds.Compared(next(kind for kind in kinds.KINDS if kind.name == "memgate"), {},
                         {"session_bytes": 2_000_000, "shape": SHAPE})


def tokens_of(text):
    return sum(map(approximate_tokens, text.splitlines(keepends=True)))


def replay(steps, folder, texts=None):
    """What memgate-eval would do: yields (text of the session, question step) for each question."""
    texts = {} if texts is None else texts
    for step in steps:
        if step["do"] in ("create", "reset"):
            texts[step["session"]] = ""
        elif step["do"] == "ingest":
            texts[step["session"]] += ingested(step, folder)
        elif step["do"] == "branch":
            yield from replay(step["steps"], folder, {step["as"]: texts[step["session"]]})
        elif step["do"] == "generate" and "answer" in step["tag"]:
            yield texts[step["request"]["session"]], step
            if not step["forked"]:
                texts[step["request"]["session"]] += step["request"]["prompt"] + " 0000\n"


def ingested(step, folder):
    if "file" in step:
        with open(os.path.join(folder, step["file"]), "rb") as f:
            return f.read()[step.get("from", 0):step.get("to")].decode()
    return step["repeat"] * step["times"] if "repeat" in step else step["text"]


def last_value(text, question):
    """What the last note says about the subject of `ask: what is SUBJECT?`, or None."""
    begin = "note: " + question.removeprefix("ask: what is ").rstrip("?") + " is "
    values = [line.removeprefix(begin) for line in text.split("\n") if line.startswith(begin)]
    return values[-1] if values else None


class TasksTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder, self.texts = folder.name, tasks.Texts(folder.name)

    def replayed(self, task):
        return list(replay(task.steps, self.folder))

    def test_passkey_asks_at_every_length_and_depth_about_the_one_note(self):
        lengths = (4_000, 8_000, 32_000)
        asked = self.replayed(tasks.passkey(MEMGATE, 3, lengths))
        cells = collections.Counter((step["tag"]["tokens"], step["tag"]["depth"]) for _, step in asked)
        self.assertEqual(cells, {(length, depth): 1 for length in lengths for depth in tasks.DEPTHS})
        for text, step in asked:
            with self.subTest(step["tag"]):
                length, note = step["tag"]["tokens"], text.index("note: ")
                self.assertEqual(text.count("note: "), 1)
                self.assertLessEqual(tokens_of(text), length)
                self.assertGreater(tokens_of(text), length - 100)
                self.assertAlmostEqual(tokens_of(text[:note]), length * step["tag"]["depth"] / 100, delta=100)
                self.assertEqual(last_value(text, step["request"]["prompt"]), step["tag"]["answer"])

    def test_passkey_counts_the_tokens_that_go_in(self):
        task = tasks.passkey(MEMGATE, 3, (4_000, 8_000))

        def sent(steps):
            return sum(tokens_of(ingested(step, "")) if step["do"] == "ingest" else sent(step.get("steps", []))
                       for step in steps)
        self.assertAlmostEqual(task.tokens, sent(task.steps), delta=200)

    def test_facts_lie_beyond_any_window(self):
        asked = self.replayed(tasks.facts(MEMGATE, self.texts, 3, 8_000, 32, 12))
        self.assertEqual(len(asked), 12)
        for text, step in asked:
            tag = step["tag"]
            self.assertEqual(last_value(text, step["request"]["prompt"]), tag["answer"])
            self.assertGreaterEqual(tag["total"] - tag["position"], tasks.MIN_DISTANCE_TOKENS)
            self.assertEqual(tag["total"], tokens_of(text))
            note = text.index("note: " + step["request"]["prompt"].removeprefix("ask: what is ").rstrip("?"))
            self.assertEqual(tokens_of(text[:note]), tag["position"])

    def test_updated_facts_are_asked_for_their_last_value(self):
        asked = self.replayed(tasks.updated(MEMGATE, self.texts, 3))
        self.assertEqual(len(asked), tasks.UPDATED_FACTS)
        for text, step in asked:
            tag, question = step["tag"], step["request"]["prompt"]
            self.assertNotEqual(tag["answer"], tag["old"])
            self.assertEqual(last_value(text, question), tag["answer"])
            note = "note: " + question.removeprefix("ask: what is ").rstrip("?") + " is "
            self.assertLess(text.index(note + tag["old"]), text.index(note + tag["answer"]))
            self.assertGreater(tokens_of(text[text.index(note + tag["answer"]):]), tasks.MIN_DISTANCE_TOKENS)

    def test_late_questions_come_after_other_questions_and_generated_text(self):
        task = tasks.asked_late(MEMGATE, self.texts, 3)
        parts = [step["tag"]["part"] for step in task.steps if step["do"] == "generate"]
        self.assertEqual(parts, ["at once"] * tasks.LATE_FACTS + ["other"] * tasks.OTHER_QUESTIONS + ["text"]
                         + ["late"] * tasks.LATE_FACTS)
        by_part = collections.defaultdict(set)
        for _, step in self.replayed(task):
            by_part[step["tag"]["part"]].add(step["request"]["prompt"])
        self.assertEqual(by_part["at once"], by_part["late"])
        self.assertFalse(by_part["other"] & by_part["late"])

    def test_conflicting_sessions_hold_the_same_keys_with_other_values(self):
        asked = self.replayed(tasks.conflicting(MEMGATE, self.texts, 3))
        self.assertEqual(len(asked), 2 * tasks.LOG_FACTS)
        for (first, one), (second, other) in zip(asked[::2], asked[1::2]):
            question = one["request"]["prompt"]
            self.assertEqual(question, other["request"]["prompt"])
            self.assertEqual(last_value(first, question), one["tag"]["answer"])
            self.assertEqual(last_value(second, question), one["tag"]["other"])
            self.assertNotEqual(one["tag"]["answer"], one["tag"]["other"])
            self.assertEqual(other["tag"], {"answer": one["tag"]["other"], "other": one["tag"]["answer"]})

    def test_swapped_sessions_were_never_told(self):
        asked = self.replayed(tasks.swapped(MEMGATE, self.texts, 3))
        self.assertEqual({step["tag"]["session"] for _, step in asked}, {"told", "empty"})
        for text, step in asked:
            self.assertIsNone(last_value(text, step["request"]["prompt"]))

    def test_perplexity_scores_all_but_the_beginning(self):
        task = tasks.perplexity(MEMGATE, self.texts, 3, 4_000)
        head, scored = (step for step in task.steps if step["do"] == "ingest")
        self.assertNotIn("score", head)
        self.assertTrue(scored["score"])
        self.assertAlmostEqual(tokens_of(ingested(head, self.folder)), tasks.UNSCORED_TOKENS, delta=40)
        self.assertEqual(head["to"], scored["from"])
        self.assertTrue(ingested(scored, self.folder).endswith("\n"))

    def test_short_prompts_are_short(self):
        prompts = {step["request"]["prompt"] for step in tasks.short(3).steps if step["do"] == "generate"}
        self.assertEqual(len(prompts), tasks.SHORT_PROMPTS)
        for prompt in prompts:
            self.assertLessEqual(tokens_of(prompt), tasks.SHORT_PROMPT_TOKENS + 20)

    def test_stream_gives_both_sessions_parts_of_equal_length_in_changing_order(self):
        task = tasks.stream(MEMGATE, self.texts, 3, 30_000)
        parts = [step for step in task.steps if step["do"] == "ingest"]
        sizes = [tokens_of(ingested(step, self.folder)) for step in parts]
        self.assertLess(max(sizes) - min(sizes), 60)
        order = [step["tag"]["part"] for step in parts]
        self.assertEqual(order[:3], ["stream"] * 3)
        self.assertEqual(order[3:7], ["last", "first", "first", "last"])
        self.assertEqual(order.count("first"), order.count("last"))

    def test_identity_follows_weights_and_text(self):
        task = tasks.facts(MEMGATE, self.texts, 3, 4_000, 8, 4)
        self.assertEqual(task.identity(["a"]), tasks.facts(MEMGATE, self.texts, 3, 4_000, 8, 4).identity(["a"]))
        self.assertNotEqual(task.identity(["a"]), task.identity(["b"]))
        self.assertNotEqual(task.identity(["a"]), tasks.facts(MEMGATE, self.texts, 4, 4_000, 8, 4).identity(["a"]))


class KindsTest(unittest.TestCase):
    def compared(self, served, **shapes):
        sessions = {name.replace("_", "-"): {"shape": shape} for name, shape in shapes.items()}
        return [kind.name for kind in kinds.comparable(served, sessions)]

    def test_enlarged_window_that_changes_nothing_is_no_row(self):
        small, large = {"window_tokens": 192}, {"window_tokens": 456}
        both = self.compared(["infini"], infini=small, infini_equal_bytes=large)
        self.assertEqual(both, ["infini", "infini-equal-bytes"])
        self.assertEqual(self.compared(["infini"], infini=large, infini_equal_bytes=large), ["infini"])

    def test_memgate_without_slots_needs_a_matrix(self):
        no_slots = {"window_tokens": 400, "salient_tokens": 0}
        self.assertEqual(self.compared(["memgate"], memgate=SHAPE), ["memgate-all-slots", "memgate"])
        with_matrix = self.compared(["memgate", "memgate-slots"], memgate=SHAPE, memgate_slots=SHAPE,
                                    memgate_no_slots=no_slots)
        self.assertEqual(with_matrix, ["memgate-all-slots", "memgate", "memgate-slots", "memgate-no-slots"])
        named = self.compared(["memgate-matrix", "memgate-matrix-slots"], memgate_matrix=SHAPE,
                              memgate_matrix_slots=SHAPE, memgate_matrix_no_slots=no_slots)
        self.assertEqual(named, ["memgate-matrix", "memgate-matrix-slots", "memgate-matrix-no-slots"])

    def test_long_lengths_get_fewer_seeds_except_where_a_bar_is_set(self):
        seeds = (1, 2, 3, 4, 5)
        lengths = sorted({*tasks.PASSKEY_TOKENS, *tasks.FACT_TOKENS})
        for suite in tasks.SUITES:
            for kind in kinds.KINDS:
                counts = [len(kinds.seeds_for(suite, kind, tokens, seeds)) for tokens in lengths]
                with self.subTest((suite, kind.name)):
                    self.assertGreaterEqual(min(counts), 0 if kind.share == kinds.FEW else 1)
                    self.assertGreaterEqual(counts[0], 1)
                    self.assertEqual(counts, sorted(counts, reverse=True))
                    if (suite, kind.name) in (("passkey", "memgate"), ("passkey", "infini-delta"), ("facts", "memgate")):
                        self.assertEqual(min(counts), len(seeds))

    def test_perplexities_are_of_the_same_tokens(self):
        seeds = (1, 2, 3, 4, 5)
        for tokens in tasks.PERPLEXITY_TOKENS:
            self.assertEqual(len({kinds.seeds_for("perplexity", kind, tokens, seeds) for kind in kinds.KINDS}), 1)


if __name__ == "__main__":
    unittest.main()

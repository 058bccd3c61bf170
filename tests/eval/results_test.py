import unittest

from tests.eval import kinds, report, results

SHAPE = {"sink_tokens": 4, "window_tokens": 192, "segment_tokens": 64, "salient_tokens": 256}


def question(text, answer, **tag):
    return {"event": "generate", "text": text, "tag": {"answer": answer, **tag}}


def entry(suite, events, kind="memgate", **params):
    created = {"event": "create", "session": {"session_bytes": 1000, "shape": SHAPE}}
    return {"suite": suite, "kind": kind, "params": params, "events": [created, *events]}


def scored(kind, tokens, logprob_sum):
    event = {"event": "ingest", "tag": {"part": "scored"}, "scored_tokens": 100, "logprob_sum": logprob_sum}
    return entry("perplexity", [event], kind, tokens=tokens)


class ResultsTest(unittest.TestCase):
    def test_an_answer_counts_when_its_first_line_is_the_value(self):
        right = [question(text, "0211") for text in (" 0211", "0211\nask: ", " 0211.")]
        wrong = [question(text, "0211") for text in ("", "211", "02111", "0212", "is 0211")]
        judged = [judgement for _, judgement, _ in results.answers(entry("facts", right + wrong))]
        self.assertEqual(judged, [True] * 3 + [False] * 5)

    def test_passkey_is_a_mean_over_seeds(self):
        found = results.collect([entry("passkey", [question(" 1", "1", tokens=4000, depth=25)]),
                                 entry("passkey", [question(" 2", "1", tokens=4000, depth=25)])])
        self.assertEqual(found["passkey"], {"memgate": {"4000": {"25": 0.5}}})
        self.assertEqual(found["bytes"], {"memgate": 1000})

    def test_facts_are_told_apart_by_depth_and_foldings(self):
        events = [question(" 1", "1", position=100, total=4000), question(" 2", "1", position=2500, total=4000)]
        found = results.collect([entry("facts", events, tokens=4000, facts=32)])
        self.assertEqual(found["facts"], {"memgate": {"32": {"4000": 0.5}}})
        self.assertEqual(found["facts_by_depth"], {"memgate": {"32": {"4000": {"0": 1.0, "50": 0.0}}}})
        # 59 foldings at 4,000 tokens, none at 100, 36 at 2,500.
        self.assertEqual(found["facts_by_foldings"], {"memgate": {"32": {"<= 128": 1.0, "<= 32": 0.0}}})

    def test_foldings_are_those_of_the_engine(self):
        self.assertEqual([results.foldings(tokens, SHAPE) for tokens in (0, 259, 260, 323, 324)], [0, 0, 1, 1, 2])

    def test_perplexity_compares_the_longest_text_scored_both_ways(self):
        found = results.collect([scored("full-kv", 4000, -100.0), scored("memgate", 4000, -110.0),
                                 scored("memgate", 20000, -120.0)])
        self.assertAlmostEqual(found["perplexity"]["exact"], 2.718281828, places=6)
        self.assertAlmostEqual(found["perplexity"]["gated"], 3.004166024, places=6)

    def test_short_answers_must_equal_to_the_last_bit(self):
        def told(suite, logprob):
            return {"suite": suite, "kind": "", "params": {}, "events": [
                {"event": "generate", "path": "exact", "token_ids": [1], "logprobs": [logprob]}]}
        same = results.collect([told("short", -0.5), told("short without memory", -0.5)])
        other = results.collect([told("short", -0.5), told("short without memory", -0.5000001)])
        self.assertEqual((same["short"]["identical"], other["short"]["identical"]), (1, 0))

    def test_floors_that_are_missed_or_not_measured_are_named(self):
        good = {"passkey": {"memgate": {"4000": {"0": 1.0}}}, "swapped": 0.0, "short": {"answers": 4, "identical": 4},
                "facts": {"memgate": {"32": {"20000": 0.95}}, "window": {"32": {"20000": 0.0}}},
                "perplexity": {"exact": 3.0, "gated": 3.01}}
        suites = ("passkey", "facts", "swapped", "perplexity", "short")
        self.assertEqual(list(results.missed_floors(good, suites)), [])
        worse = {"passkey": {"memgate": {"4000": {"0": 0.8}}}, "swapped": 0.1, "short": {"answers": 4, "identical": 3},
                 "facts": {"memgate": {"32": {"20000": 0.8}}, "window": {"32": {"20000": 0.2}}},
                 "perplexity": {"exact": 3.0, "gated": 3.1}}
        self.assertEqual(len(list(results.missed_floors(worse, suites))), 6)
        self.assertEqual(len(list(results.missed_floors({}, suites))), 6)
        self.assertEqual(len(list(results.missed_floors({}, ("facts",)))), 2)


class ReportTest(unittest.TestCase):
    def test_tables_replace_what_is_between_their_markers(self):
        document = "before\n<!-- eval short -->\nolder\n<!-- end of eval short -->\nafter\n"
        self.assertEqual(report.replace_between(document, "short", "| new |"),
                         "before\n<!-- eval short -->\n| new |\n<!-- end of eval short -->\nafter\n")
        with self.assertRaises(ValueError):
            report.replace_between("no markers", "short", "| new |")

    def test_every_kind_has_a_line_in_the_plots(self):
        for kind in kinds.KINDS:
            self.assertEqual(report.style(kind.name)["label"], kind.name)

    def test_the_document_has_a_place_for_every_table(self):
        with open(report.DOCUMENT, encoding="utf-8") as f:
            document = f.read()
        for name in report.TABLES:
            with self.subTest(name):
                report.replace_between(document, name, "")


if __name__ == "__main__":
    unittest.main()

"""Tests of the benchmark's parts: what is written, what is computed, and that both sides are driven as documented."""

import argparse
import contextlib
import io
import json
import os
import stat
import tempfile
import unittest
from unittest import mock

from tests.bench import bench, gguf_writer, kernels, make_model, metrics, plan, quality, report, served
from tests.bench.conditions import documented_command
from tests.bench.llama_cpp import SETTINGS, LlamaCpp
from tests.bench.plan import Measurement, Plan
from tests.bench.served import KERNELS_BENCH, Memgate, run_program, supported_formats
from tests.bench.shapes import SHAPES, TINY_GEOMETRY

FIRST, SECOND, THIRD = SETTINGS


class MetricsTest(unittest.TestCase):
    def results(self):
        results = metrics.Results(SHAPES["qwen2.5-0.5b"], "memgate-slots")
        prompt, deep = (Measurement("point", "int8", "memgate-slots", tokens) for tokens in (512, 32_768))
        for round in range(3):
            results.add(prompt, "memgate", "", round, {"first_token_s": 0.5 + 0.1 * round, "decode_tokens_per_s": 50,
                                                       "session_bytes": 1000, "resident_bytes": 5000})
            results.add(deep, "memgate", "", round, {"first_token_s": 40, "decode_tokens_per_s": 48,
                                                     "session_bytes": 1000, "resident_bytes": 5000})
            results.add(Measurement("read"), "memgate", "", round, {"read_gb_per_s": 30})
        for setting, seconds in ((FIRST, 2.4), (SECOND, 2.5), (THIRD, 3.6)):
            results.add(prompt, "llama_cpp", setting, 0, {"first_token_s": seconds})
        for setting, seconds, rate in ((FIRST, 700, 4), (SECOND, 600, 5), (THIRD, 900, 6)):
            results.add(deep, "llama_cpp", setting, 0, {"first_token_s": seconds, "decode_tokens_per_s": rate})
        return results, prompt, deep

    def test_json_has_four_fields_per_metric_and_ratios_say_how_much_better_memgate_is(self):
        found, settings = metrics.collect(self.results()[0])
        self.assertTrue(all(list(value) == ["memgate", "llama_cpp", "ratio", "runs"] for value in found.values()))
        self.assertAlmostEqual(found["prefill512_int8"]["ratio"], 2.4 / 0.6)
        self.assertAlmostEqual(found["ttft32k_int8"]["ratio"], 600 / 40)
        self.assertAlmostEqual(found["decode32k_int8"]["ratio"], 48 / 6)
        self.assertEqual(found["session_bytes_32k"]["llama_cpp"], 24 * 2 * 2 * 64 * 2 * 32_768)
        self.assertAlmostEqual(found["session_bytes_32k"]["ratio"], 402_653_184 / 1000)
        self.assertIsNone(found["resident_bytes_32k"]["ratio"])
        self.assertEqual(found["ttft32k_int8"]["runs"], 1)  # of the peer
        self.assertEqual((settings["ttft32k_int8"], settings["decode32k_int8"]), (SECOND, THIRD))
        json.dumps(found, allow_nan=False)

    def test_share_of_the_bandwidth_counts_the_bytes_that_each_side_reads(self):
        results, *_ = self.results()
        for format in ("int8", "int4"):
            start = Measurement("point", format, "memgate-slots", 0)
            results.add(start, "memgate", "", 0, {"decode_tokens_per_s": 50, "session_bytes": 1, "resident_bytes": 1})
            results.add(start, "llama_cpp", FIRST, 0, {"decode_tokens_per_s": 50})
        found, _ = metrics.collect(results)
        head = 151_936 * 896
        layers = SHAPES["qwen2.5-0.5b"].linear_parameters - head
        for metric, own, peer in (("decode0_int8_bandwidth_share", layers + head, 8.5 / 8 * (layers + head)),
                                  ("decode0_int4_bandwidth_share", 4.25 / 8 * layers + head,
                                   4.5 / 8 * layers + 8.5 / 8 * head)):
            self.assertAlmostEqual(found[metric]["memgate"], 50 * own / 30e9)
            self.assertAlmostEqual(found[metric]["llama_cpp"], 50 * peer / 30e9)
        # The files that llama-quantize writes, less tokenizer and norms: 346 and 763 MB.
        self.assertAlmostEqual(SHAPES["qwen2.5-0.5b"].peer_weight_bytes("int4") / 1e6, 346, delta=0.5)
        self.assertAlmostEqual(SHAPES["llama-3.2-1b"].peer_weight_bytes("int4") / 1e6, 763, delta=0.5)

    def test_metrics_of_the_table_have_the_names_that_are_asked_for(self):
        measurements = plan.make_measurements(("int8", "int4"), plan.PARTS, "memgate-slots")
        results = metrics.Results(SHAPES["qwen2.5-0.5b"], "memgate-slots")
        for measurement in measurements:
            result = {"point": {"first_token_s": 1, "decode_tokens_per_s": 1, "session_bytes": 1, "resident_bytes": 1},
                      "together": {"tokens_per_s": 1}, "read": {"read_gb_per_s": 1},
                      "start": {"cold_s": 5, "cached_s": 1, "pss_bytes_1_server": 500, "pss_bytes_2_servers": 600},
                      "stream": {"turns": [], "pairs": [({"first_token_s": 2, "decode_tokens_per_s": 9},
                                                         {"first_token_s": 1, "decode_tokens_per_s": 10})]},
                      }[measurement.what]
            results.add(measurement, "memgate", "", 0, result)
        found, _ = metrics.collect(results)
        self.assertLessEqual({*metrics.BARS, *metrics.OWN_BARS, *metrics.OWN_LIMITS}, set(found))
        for name in ("start_cold_s", "pss_bytes_1_server", "pss_bytes_2_servers", "resident_bytes_0", "ttft2k_int8",
                     "exact_decode0_int8", "exact_ttft8k_int8", "exact_resident_bytes_8k", "memgate_decode32k_int8"):
            self.assertIn(name, found)
        self.assertNotIn("session_bytes_0", found)
        self.assertEqual([found[f"flat_{name}_1m"]["memgate"] for name in ("prefill", "decode")], [0.5, 0.9])

    def test_settings_far_from_the_best_drop_out_after_the_first_round(self):
        results, prompt, deep = self.results()
        self.assertEqual(results.settings_to_run(prompt, 1), (FIRST, SECOND))
        self.assertEqual(results.settings_to_run(prompt, 0), tuple(SETTINGS))
        # Near the best one at the longest prompt that takes no minutes; the third one is not.
        self.assertEqual(results.settings_to_run(deep, 0), (FIRST, SECOND))
        # At the long prompt one of them answers first and decodes fastest.
        self.assertEqual(results.settings_to_run(deep, 1), (SECOND,))

    def test_of_the_settings_that_decode_fast_only_those_that_answer_early_take_in_long_prompts_again(self):
        results, _, deep = self.results()
        results.add(deep, "llama_cpp", FIRST, 0, {"first_token_s": 700, "decode_tokens_per_s": 5.1})
        self.assertEqual(results.settings_to_run(deep, 1), (FIRST, SECOND))
        self.assertEqual([results.fills(deep, setting, 1) for setting in (FIRST, SECOND)], [False, True])
        self.assertTrue(results.fills(deep, FIRST, 0))


class BarsTest(unittest.TestCase):
    def test_the_larger_shape_must_come_within_15_percent_of_the_ratios_and_other_shapes_have_no_ratio_to_reach(self):
        small, large, other = (metrics.bars(shape) for shape in ("qwen2.5-0.5b", "llama-3.2-1b", "qwen2.5-3b"))
        self.assertEqual((small["prefill512_int8"], small["decode0_int4"]), (3.0, 1.5))
        self.assertAlmostEqual(large["prefill512_int8"], 2.55)
        self.assertAlmostEqual(large["decode0_int4"], 1.275)
        self.assertEqual(small.pop("start_cached_s"), 2)  # said of a 0.5B model only
        self.assertEqual(set(small), set(large))
        for own in metrics.OWN_BARS:
            self.assertEqual((small[own], large[own]), (metrics.OWN_BARS[own],) * 2)
        self.assertEqual(other, metrics.OWN_BARS)

    def test_ratios_and_shares_must_reach_their_bar_and_seconds_must_not_pass_it(self):
        def value(memgate, ratio=None):
            return {"memgate": memgate, "ratio": ratio}
        self.assertEqual([metrics.is_met("decode0_int8", value(60, ratio), 1.6) for ratio in (1.6, 1.5, None)],
                         [True, False, None])
        self.assertEqual([metrics.is_met("flat_decode_1m", value(share), 0.9) for share in (0.91, 0.89)], [True, False])
        self.assertEqual([metrics.is_met("start_cached_s", value(seconds), 2) for seconds in (1.9, 2.1)], [True, False])


class ReportTest(unittest.TestCase):
    """What a run writes into the documents, beside what earlier ones wrote."""

    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        self.document = os.path.join(self.folder, "benchmarks.md")
        os.mkdir(os.path.join(self.folder, "figures"))
        with open(self.document, "w", encoding="utf-8") as f:
            for shape in ("qwen2.5-0.5b", "llama-3.2-1b"):
                f.write(f"## {shape}\n<!-- bench {shape} -->\nnothing yet\n<!-- end of bench {shape} -->\n")
        self.enterContext(mock.patch.multiple(report, DOCUMENT=self.document, FIGURES_JSON=self.json_path()))

    def json_path(self):
        return os.path.join(self.folder, "figures", "benchmarks.json")

    def write_figures(self, figures, shape):
        """What is said about it on stderr."""
        with contextlib.redirect_stderr(io.StringIO()) as said:
            report.write_documents(shape, figures)
        return said.getvalue()

    def write(self, command, date, values, shape="qwen2.5-0.5b", stream=None, beside_peer=True):
        conditions = {"command": command, "date": date, "engine": "0123abc", "processor": "a CPU", "threads": 2,
                      "kind": "memgate-slots", "kv": "bf16"}
        peer = {"llama_cpp": 1, "setting": FIRST} if beside_peer else {"llama_cpp": None, "setting": ""}
        found = {metric: {"memgate": memgate, "ratio": memgate if beside_peer else None, "runs": 5, **peer,
                          "conditions": conditions} for metric, memgate in values.items()}
        self.said = self.write_figures({"metrics": found, "stream": stream}, shape)
        with open(self.document, encoding="utf-8") as f:
            return f.read()

    def rows(self, document):
        """{metric: cells behind it}"""
        table = [[cell.strip() for cell in line.strip("|").split("|")] for line in document.splitlines()
                 if line.startswith("| `")]
        return {cells[0].strip("`"): cells[1:] for cells in table}

    def test_later_run_updates_its_own_metrics_and_leaves_the_others(self):
        self.write("points", "2026-01-01", {"prefill512_int8": 3.5, "decode0_int8": 1.5, "decode128k_int8": 50,
                                            "decode512_int8": 60})
        document = self.write("again", "2026-01-02", {"decode0_int8": 1.7, "ttft4k_int8": 7})
        rows = self.rows(document)
        self.assertEqual(list(rows), ["prefill512_int8", "decode0_int8", "decode512_int8", "decode128k_int8",
                                      "ttft4k_int8"])
        self.assertEqual(rows["prefill512_int8"][1:], ["3.5", "3.5", "≥ 3", "yes", "5", "A", FIRST])
        self.assertEqual(rows["decode0_int8"][1:], ["1.7", "1.7", "≥ 1.6", "yes", "5", "B", FIRST])
        self.assertEqual((rows["decode512_int8"][-2], rows["ttft4k_int8"][-2]), ("A", "B"))
        self.assertIn("- A: `points` on 2026-01-01; engine 0123abc\n- B: `again` on 2026-01-02; engine 0123abc\n\n"
                      "All on a CPU, 2 threads; sessions of kind `memgate-slots`, keys and values as bf16.\n", document)
        with open(self.json_path(), encoding="utf-8") as f:
            kept = json.load(f)["qwen2.5-0.5b"]["metrics"]
        self.assertEqual({metric: value["conditions"]["command"] for metric, value in kept.items()},
                         {"prefill512_int8": "points", "decode0_int8": "again", "decode512_int8": "points",
                          "decode128k_int8": "points", "ttft4k_int8": "again"})

    def test_what_stands_beside_the_peer_stays_whole_when_a_later_run_has_no_peer(self):
        self.write("both", "2026-01-01", {"decode0_int8": 1.7})
        self.write("alone", "2026-01-02", {"ttft4k_int8": 7}, beside_peer=False)
        self.assertEqual(self.said, "")
        document = self.write("later", "2026-01-03", {"decode0_int8": 1.8, "ttft4k_int8": 8, "ttft8k_int8": 9},
                              beside_peer=False)
        self.assertEqual(self.said, "bench: measured without llama.cpp; what is documented beside it stays: "
                                    "decode0_int8\n")
        rows = self.rows(document)
        self.assertEqual(rows["decode0_int8"], ["1", "1.7", "1.7", "≥ 1.6", "yes", "5", "A", FIRST])
        self.assertEqual(rows["ttft4k_int8"], ["–", "8", "–", "5", "B", ""])
        self.assertEqual(rows["ttft8k_int8"], ["–", "9", "–", "5", "B", ""])
        with open(self.json_path(), encoding="utf-8") as f:
            self.assertEqual(json.load(f)["qwen2.5-0.5b"]["metrics"]["decode0_int8"]["conditions"]["command"], "both")
        rows = self.rows(self.write("both again", "2026-01-04", {"decode0_int8": 1.9, "ttft4k_int8": 9}))
        self.assertEqual(self.said, "")
        self.assertEqual((rows["decode0_int8"][1], rows["ttft4k_int8"][:3]), ("1.9", ["1", "9", "9"]))

    def test_runs_behind_the_26th_have_names_of_two_letters(self):
        runs = [{"command": "points", "date": f"2026-01-01 {i:02}"} for i in range(53)]
        figures = {"metrics": {f"metric {i}": {"conditions": run} for i, run in enumerate(runs)}, "stream": None}
        self.assertEqual([report.name_of_run(figures, runs[i]) for i in (0, 25, 26, 27, 51, 52)],
                         ["A", "Z", "AA", "AB", "AZ", "BA"])

    def test_run_whose_metrics_were_all_measured_again_is_named_no_longer(self):
        self.write("points", "2026-01-01", {"decode0_int8": 1.5})
        document = self.write("again", "2026-01-02", {"decode0_int8": 1.7})
        self.assertNotIn("points", document)
        self.assertIn("`again` on 2026-01-02", document)
        self.assertEqual(len(self.rows(document)["decode0_int8"]), 7)  # no column for the only run

    def test_other_shapes_and_a_stream_stay(self):
        turns = [{"tokens": 4096 * i, "first_token_s": 7, "decode_tokens_per_s": 50} for i in range(1, 4)]
        self.write("stream", "2026-01-01", {"flat_decode_1m": 0.95}, stream={"turns": turns, "conditions": {
            "command": "stream", "date": "2026-01-01", "engine": "0123abc", "processor": "a CPU", "threads": 2,
            "kind": "memgate-slots", "kv": "bf16"}})
        self.write("points", "2026-01-02", {"prefill512_int8": 2.7})
        document = self.write("points", "2026-01-03", {"prefill512_int8": 2.7}, "llama-3.2-1b")
        small, large = document.split("## llama-3.2-1b")
        self.assertEqual(self.rows(small)["prefill512_int8"][3:5], ["≥ 3", "no"])
        self.assertEqual(self.rows(large)["prefill512_int8"][3:5], ["≥ 2.55", "yes"])
        self.assertEqual(self.rows(small)["flat_decode_1m"][3:5], ["memgate ≥ 0.9", "yes"])
        self.assertIn("| tokens in the session (run A) | up to 4k | 4k to 16k |\n", small)
        self.assertIn(f"| ms per token taken in | {7e3 / 4032:.3f} | {7e3 / 4032:.3f} |\n", small)
        self.assertIn("(figures/benchmarks_qwen2.5-0.5b_stream.svg)", small)
        self.assertNotIn("_stream.svg", large)
        self.assertTrue(os.path.exists(os.path.join(self.folder, "figures", "benchmarks_qwen2.5-0.5b_stream.svg")))
        with open(self.json_path(), encoding="utf-8") as f:
            self.assertEqual(json.load(f)["qwen2.5-0.5b"]["stream"]["turns"], turns)

    def test_command_says_what_is_measured_but_not_where_things_lie(self):
        words = ["--llama-cpp", "/opt/llama", "--models=/data", "--parts", "points", "--report", "--json", "out.json",
                 "--kv", "bf16", "--document", "--runs", "15"]
        self.assertEqual(documented_command("./dev bench", words),
                         "./dev bench --llama-cpp DIR --parts points --kv bf16 --runs 15")
        self.assertEqual(documented_command("./dev bench", ["--llama-cpp=/opt/llama"]), "./dev bench --llama-cpp DIR")
        self.assertEqual(documented_command("quality", ["--model", "/home/me/a", "--random-model=/home/me/b"]),
                         "quality --model DIR --random-model DIR")

    def test_options_are_only_known_by_their_full_names(self):
        for parse, words in ((bench.parse_arguments, ["--llama", "/opt/llama"]), (bench.parse_arguments, ["--doc"]),
                             (quality.parse_arguments, ["--random", "/data"])):
            with (mock.patch("sys.argv", ["program", *words]), contextlib.redirect_stderr(io.StringIO()) as said,
                  self.assertRaises(SystemExit)):
                parse()
            self.assertIn(f"unrecognized arguments: {' '.join(words)}", said.getvalue())
        with (mock.patch("sys.argv", ["bench-kernels", "--doc"]), mock.patch.object(kernels, "environment"),
              mock.patch.object(kernels.subprocess, "run", return_value=mock.Mock(returncode=1)) as run):
            self.assertEqual(kernels.main(), 1)
        self.assertEqual(run.call_args.args[0], [KERNELS_BENCH, "--doc"])


class QualityTest(unittest.TestCase):
    def test_perplexity_must_stay_near_that_of_f32(self):
        exact = quality.Quality("f32", "f32", 4.0, 60, 64)
        formats = (("int8", 4.019), ("int8", 4.021), ("int8", 3.979), ("int4", 4.119), ("int4", 4.121), ("bf16", 5),
                   ("int4", float("nan")))
        found = [quality.Quality(weights, "f32", perplexity, 60, 64) for weights, perplexity in formats]
        self.assertEqual([each.is_met(exact) for each in found], [True, False, False, True, False, None, False])
        rows = [line.split(" | ") for line in quality.quality_table(found[:2], exact).splitlines()[2:]]
        self.assertEqual([row[3:6] for row in rows],
                         [["+0.48 %", "within 0.5 %", "yes"], ["+0.52 %", "within 0.5 %", "no"]])

    def test_exit_code_tells_of_a_missed_bar(self):
        def measured(rounded):
            def measure(_, weights, kv, logs, with_questions):
                return quality.Quality(weights, kv, 4.0 if weights == "f32" else rounded, 0, 0)
            return measure
        for rounded, code in ((4.01, 0), (4.5, 1)):
            with (mock.patch.object(quality, "measure", measured(rounded)),
                  mock.patch.object(quality, "write_logs", lambda *_: []),
                  mock.patch("sys.argv", ["quality", "--quick"])):
                self.assertEqual(quality.main(), code)


    def test_document_takes_the_tables_of_all_formats_only(self):
        def parse(*words):
            with mock.patch("sys.argv", ["quality", *words]), contextlib.redirect_stderr(io.StringIO()) as said:
                try:
                    return quality.parse_arguments()
                except SystemExit as end:
                    self.assertEqual(end.code, 2)
                    return said.getvalue()
        for words in (["--quick"], ["--weights", "f32", "int8"], ["--kv", "f32", "bf16"],
                      ["--quick", "--weights", *quality.DEFAULTS["weights"], "--kv", *quality.DEFAULTS["kv"]]):
            self.assertFalse(parse(*words).document)
            self.assertIn("--document writes the tables of all formats", parse("--document", *words))
        more = (*quality.DEFAULTS["weights"], "another")
        for words in ([], ["--seeds", "1", "2", "3"], ["--weights", *more]):
            self.assertTrue(parse("--document", *words).document)


class FakeSide:
    flags = ()

    def __init__(self, stop_after=None, program=__file__):
        self.calls, self.stop_after, self.program = [], stop_after, program

    def measure(self, *arguments):
        if self.stop_after == len(self.calls):
            raise KeyboardInterrupt
        self.calls.append(arguments[:-1])
        return {"first_token_s": 1, "decode_tokens_per_s": 1, "session_bytes": 1, "resident_bytes": 1}

    def programs(self, _):
        return (self.program,)


class BenchmarkTest(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        self.arguments = argparse.Namespace(fresh=False, report=False, reuse_peer=False, shape="tiny-qwen2", threads=1,
                                            kind="memgate")
        self.point = Measurement("point", "int8", "memgate", 512)

    def run_plan(self, plan, memgate, peer=None):
        benchmark = bench.Benchmark(self.arguments, plan, memgate, peer, self.folder)
        benchmark.run()
        return benchmark.results

    def test_interrupted_run_goes_on_where_it_was(self):
        plan = Plan((self.point,), runs=4, runs_long=4, peer_longest=0)
        with self.assertRaises(KeyboardInterrupt):
            self.run_plan(plan, FakeSide(stop_after=3))
        rest = FakeSide()
        results = self.run_plan(plan, rest)
        self.assertEqual(len(rest.calls), 1)
        self.assertEqual(len(results.values(self.point, "memgate")["ttft512_int8"]), 4)

    def test_report_measures_nothing(self):
        with self.assertRaises(KeyboardInterrupt):
            self.run_plan(Plan((self.point,), runs=4, runs_long=4, peer_longest=0), FakeSide(stop_after=2))
        self.arguments.report = True
        memgate = FakeSide()
        results = self.run_plan(Plan((self.point,), runs=4, runs_long=4, peer_longest=0), memgate)
        self.assertEqual(memgate.calls, [])
        self.assertEqual(len(results.values(self.point, "memgate")["ttft512_int8"]), 2)

    def test_sides_alternate_and_the_peer_takes_in_its_longest_prompt_as_often_as_asked_for(self):
        deep, half = (Measurement("point", "int8", "memgate", tokens) for tokens in (32_768, 16_384))
        plan = Plan((self.point, deep, half), runs=3, runs_long=2, peer_longest=32_768)
        memgate, peer = FakeSide(), FakeSide()
        benchmark = bench.Benchmark(self.arguments, plan, memgate, peer, self.folder)
        order = [(side, measurement.tokens, round) for measurement, side, _, round in benchmark.steps()]
        self.assertEqual([side for side, tokens, round in order if tokens == 512 and round == 1],
                         ["llama_cpp"] * 3 + ["memgate"])
        self.assertEqual(sum(side == "memgate" for side, _, _ in order), 9)
        self.assertEqual(sum(side == "llama_cpp" for side, _, _ in order), 9 * len(SETTINGS))
        fills = {(measurement, round): benchmark.fills(measurement, "llama_cpp", FIRST, round)
                 for measurement in plan.measurements for round in range(3)}
        self.assertEqual([fills[deep, round] for round in range(3)], [True, True, False])
        self.assertEqual([fills[half, round] for round in range(3)], [False] * 3)
        self.assertEqual([fills[self.point, round] for round in range(3)], [True] * 3)
        self.assertTrue(benchmark.fills(half, "memgate", "", 2))

    def test_results_of_another_program_do_not_count(self):
        plan = Plan((self.point,), runs=1, runs_long=1, peer_longest=0)
        for program, calls in ((__file__, 1), (__file__, 0), (gguf_writer.__file__, 1)):
            side = FakeSide(program=program)
            self.run_plan(plan, side)
            self.assertEqual(len(side.calls), calls)

    def test_peer_is_measured_again_beside_another_server_unless_reused(self):
        plan = Plan((self.point,), runs=1, runs_long=1, peer_longest=32_768)
        self.run_plan(plan, FakeSide(), FakeSide())
        for reuse, calls in ((True, 0), (False, 3)):
            self.arguments.reuse_peer = reuse
            peer = FakeSide()
            with mock.patch.object(bench, "SERVER", gguf_writer.__file__):
                self.run_plan(plan, FakeSide(), peer)
            self.assertEqual(len(peer.calls), calls)


FAKE_LLAMA_BENCH = """#!/bin/sh
if [ "$1" = --version ]; then echo 'version: 123 (0123abc)' >&2; exit; fi
echo "$@" > "$(dirname "$0")/arguments"
echo 'llama-bench: benchmark 1/1: depth run 1/1' >&2
sleep 0.2
echo 'llama-bench: benchmark 1/1: generation run 1/1' >&2
echo '[{"avg_ns": 4000000000}]'
"""


class LlamaCppTest(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(tempfile.TemporaryDirectory())
        for name in ("llama-bench", "llama-server", "llama-quantize"):
            path = os.path.join(self.folder, name)
            with open(path, "w", encoding="utf-8") as f:
                f.write(FAKE_LLAMA_BENCH)
            os.chmod(path, stat.S_IRWXU)
        with open(os.path.join(self.folder, "q8_0.gguf"), "wb"):
            self.peer = LlamaCpp(self.folder, self.folder, threads=3)

    def arguments(self):
        with open(os.path.join(self.folder, "arguments"), encoding="utf-8") as f:
            return f.read()

    def test_deep_points_time_the_run_that_fills_the_cache_and_the_answer(self):
        result = self.peer.measure(Measurement("point", "int8", "memgate", 4096), SETTINGS[THIRD], 1)
        self.assertGreaterEqual(result["first_token_s"], 0.15)
        self.assertEqual(result["decode_tokens_per_s"], plan.GENERATED / 4)
        for part in ("-t 3", "-p 0", "-n 64", "-d 4096", "-fa 1", "-ctk q8_0", "-ctv q8_0"):
            self.assertIn(part, self.arguments())

    def test_version_is_what_the_program_says(self):
        self.assertEqual(self.peer.version(), "123 (0123abc)")

    def test_unknown_version_does_not_end_a_run(self):
        program = self.peer.program("llama-server")
        with open(program, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\nexit 1\n")
        self.assertEqual(self.peer.version(), "of unknown version")
        os.remove(program)
        self.assertEqual(self.peer.version(), "of unknown version")

    def test_long_prompts_and_sessions_together_are_served(self):
        def names(**changes):
            programs = self.peer.programs(Measurement(**{"what": "point", "kind": "memgate", **changes}))
            return [os.path.basename(program) for program in programs]
        self.assertEqual(names(tokens=4096), ["llama-bench"])
        self.assertEqual(names(tokens=16_384), ["llama-server"])
        self.assertEqual(names(what="together", sessions=16), ["llama-server"])

    def test_short_prompts_are_timed_by_themselves(self):
        result = self.peer.measure(Measurement("point", "int8", "memgate", 512), SETTINGS[FIRST], 1)
        self.assertEqual(result, {"first_token_s": 4.0})
        for part in ("-p 512", "-n 0", "-d 0", "-fa 0"):
            self.assertIn(part, self.arguments())


class ServedTest(unittest.TestCase):
    """A written folder, loaded and timed by the real programs."""

    @classmethod
    def setUpClass(cls):
        cls.folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        make_model.write_model(cls.folder, SHAPES["tiny-llama"], TINY_GEOMETRY, seed=1)

    def test_server_answers_from_the_written_folder_in_every_way_that_is_measured(self):
        format = supported_formats(self.folder, tuple(plan.FORMATS))[0]
        with Memgate(self.folder, threads=1) as memgate:
            gated = memgate.measure(Measurement("point", format, "memgate-slots", 300), 1)
            exact = memgate.measure(Measurement("point", format, "exact", 300), 1)
            together = memgate.measure(Measurement("together", format, "memgate", sessions=3), 1)
            with mock.patch.multiple(served, STREAM_TURN=80, STREAM_TURNS=3, STREAM_PAIRS=2):
                stream = memgate.measure(Measurement("stream", format, "memgate-slots"), 1)
            longer = memgate.measure(Measurement("point", format, "memgate-slots", 600), 1)
            start = memgate.measure(Measurement("start", "int8"), 1)
        self.assertEqual((gated["path"], exact["path"]), ("gated", "exact"))
        self.assertEqual(gated["tokens"], 300)
        for result in (gated, exact):
            self.assertGreater(result["first_token_s"], 0)
            self.assertGreater(result["decode_tokens_per_s"], 0)
            self.assertGreater(result["resident_bytes"], result["session_bytes"])
        self.assertGreater(together["tokens_per_s"], 0)
        self.assertEqual([turn["tokens"] for turn in stream["turns"]], [16, 96, 176])
        self.assertEqual([(long["tokens"], fresh["tokens"]) for long, fresh in stream["pairs"]],
                         [(256, 96), (336, 176)])
        self.assertEqual(longer["session_bytes"], gated["session_bytes"])
        self.assertGreater(min(start["cold_s"], start["cached_s"]), 0)
        self.assertLess(start["pss_bytes_1_server"], start["pss_bytes_2_servers"])

    def test_formats_that_the_server_lacks_are_left_out(self):
        self.assertNotIn("int3", supported_formats(self.folder, ("int3", "f32")))

    @unittest.skipUnless(os.path.exists(KERNELS_BENCH), "built without Google Benchmark")
    def test_peaks_are_json_of_positive_numbers(self):
        peaks = json.loads(run_program([KERNELS_BENCH, "--peaks", "--threads", "1"]))
        self.assertGreater(min(peaks["read_gb_per_s"], peaks["f32_gflop_per_s"], peaks["int8_gop_per_s"]), 0)

    @unittest.skipUnless(os.path.exists(KERNELS_BENCH), "built without Google Benchmark")
    def test_kernels_are_written_into_the_document(self):
        with tempfile.TemporaryDirectory() as folder:
            document = os.path.join(folder, "benchmarks.md")
            with open(document, "w", encoding="utf-8") as f:
                f.write("before\n<!-- bench kernels -->\n<!-- end of bench kernels -->\nafter\n")
            arguments = ["bench-kernels", "--document", "--threads", "1", "--benchmark_filter=^(RmsNorm|Rotate)",
                         "--benchmark_min_time=0.01", "--benchmark_repetitions=3"]
            with mock.patch.multiple(kernels, DOCUMENT=document, FIGURES=folder), mock.patch("sys.argv", arguments):
                self.assertEqual(kernels.main(), 0)
            with open(document, encoding="utf-8") as f:
                written = f.read()
            self.assertTrue(os.path.exists(os.path.join(folder, kernels.PLOT)))
        self.assertEqual([line.split("`")[1] for line in written.splitlines() if line.startswith("| `")],
                         ["RmsNorm", "Rotate"])
        self.assertTrue(written.startswith("before") and written.endswith("after\n"))


if __name__ == "__main__":
    unittest.main()

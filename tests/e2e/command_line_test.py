import json
import math
import os
import tempfile
import unittest

from client.demo.server_process import DEMO_MODEL
from tests.e2e.support import ServedTestCase, gateway_text, memgate, memgate_json

QUESTION = "ask: what is the service code of pump K7?"
FACT = "note: the service code of pump K7 is 4921\n"


class CommandLineTest(ServedTestCase):
    def create(self, *options):
        session = self.memgate_json("sessions", "create", *options)[0]
        self.addCleanup(self.memgate, "sessions", "rm", session["name"], check=False)
        return session

    def ingest(self, session, text):
        return self.memgate_json("ingest", session["name"], stdin=text)[-1]

    def test_models_tells_what_a_session_costs(self):
        (model,) = self.memgate_json("models")
        self.assertEqual(model["name"], "models/gateway-demo")
        self.assertEqual(model["default_memory_kind"], "memgate")
        kinds = {kind["kind"]: kind for kind in model["memory_kinds"]}
        self.assertIn("window", kinds)
        self.assertEqual(self.create()["session_bytes"], kinds["memgate"]["default_session_bytes"])
        self.assertIn("LlamaForCausalLM", self.memgate("models").stdout)

    def test_inspect_tells_beforehand_what_models_tells_of_the_server(self):
        (model,) = self.memgate_json("models")
        (found,) = memgate_json("inspect", DEMO_MODEL)
        self.assertTrue(found["servable"])
        self.assertEqual(found["architecture"], model["architecture"])
        self.assertEqual(found["parameters"], int(model["parameters"]))
        self.assertEqual(found["memory_kinds"][0]["kind"], model["default_memory_kind"])
        kinds = {kind["kind"]: kind for kind in model["memory_kinds"]}
        for kind in found["memory_kinds"]:
            self.assertEqual(kind["session_bytes"][model["kv_format"]],
                             int(kinds[kind["kind"]]["default_session_bytes"]))
        self.assertEqual(found["fingerprint"], model["fingerprint"])
        self.assertEqual({module["base"] for module in found["modules"]}, {"same tensors"})
        self.assertIn("can be served: yes", memgate("inspect", DEMO_MODEL, "--memory-base", "any").stdout)

    def test_inspect_fails_with_the_reason(self):
        with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
            file.write(b"GGUF" + bytes(28))
            file.flush()
            done = memgate("inspect", file.name, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn("GGUF version 0 is not supported", done.stdout)
        self.assertEqual(memgate("inspect", "/nowhere", check=False).returncode, 1)

    def test_count_agrees_with_what_a_prompt_is_charged(self):
        count = self.memgate_json("count", QUESTION)[0]
        self.assertEqual(count["tokens"], len(count["token_ids"]))
        route = self.memgate_json("generate", QUESTION, "--max-tokens", "1")[0]
        self.assertEqual(route["prompt_tokens"], count["tokens"])
        self.assertEqual(self.memgate("count", QUESTION).stdout, f"{count['tokens']}\n")

    def test_generate_streams_route_deltas_and_done(self):
        events = self.memgate_json("generate", FACT + QUESTION, "--max-tokens", "6", "--ignore-eos")
        self.assertEqual([events[0]["event"], events[-1]["event"]], ["route", "done"])
        deltas = [event for event in events if event["event"] == "delta"]
        self.assertEqual(len(deltas), len(events) - 2)
        self.assertEqual("".join(delta["text"] for delta in deltas), events[-1]["text"])
        self.assertEqual(sum(len(delta["token_ids"]) for delta in deltas), 6)
        self.assertEqual(events[-1]["finish_reason"], "length")
        self.assertEqual(events[0]["path"], "exact")
        self.assertEqual(events[0]["reason"], "fits")

    def test_generate_prints_the_answer_alone_on_standard_output(self):
        done = self.memgate("generate", FACT + QUESTION, "--stop", "\n", "--temperature", "0")
        self.assertEqual(done.stdout.strip(), "4921")
        self.assertIn("path exact (fits)", done.stderr)
        self.assertIn("first token", done.stderr)

    def test_generate_reads_the_prompt_from_standard_input(self):
        from_argument = self.memgate("generate", QUESTION, "--max-tokens", "5").stdout
        self.assertEqual(self.memgate("generate", "--prompt-file", "-", "--max-tokens", "5", stdin=QUESTION).stdout,
                         from_argument)

    def test_generate_repeats_a_seeded_answer(self):
        words = ["generate", "time", "--temperature", "1", "--seed", "7", "--max-tokens", "20", "--ignore-eos"]
        self.assertEqual(self.memgate(*words).stdout, self.memgate(*words).stdout)

    def test_generate_gives_log_probabilities(self):
        events = self.memgate_json("generate", QUESTION, "--max-tokens", "2", "--logprobs", "3", "--ignore-eos")
        logprobs = [entry for event in events if event["event"] == "delta" for entry in event["logprobs"]]
        self.assertEqual([len(entry["top"]) for entry in logprobs], [3, 3])

    def test_session_remembers_between_commands(self):
        session = self.create()
        ingested = self.ingest(session, FACT + gateway_text(2000, seed=3))
        self.assertTrue(ingested["done"])
        self.assertGreater(ingested["ingested_tokens"], 1900)
        events = self.memgate_json("generate", QUESTION, "--session", session["name"], "--stop", "\n",
                                   "--temperature", "0")
        self.assertEqual(events[-1]["text"].strip(), "4921")
        self.assertEqual(events[0]["path"], "gated")
        held = events[-1]["accounting"]
        self.assertEqual(held["exact_tokens"] + held["salient_tokens"] + held["compressed_tokens"]
                         + held["forgotten_tokens"], held["total_tokens"])

    def test_ingest_scores_a_text_however_it_is_cut(self):
        text = gateway_text(1500, seed=8)
        whole = self.create()
        scored = self.memgate_json("ingest", whole["name"], "--score", stdin=text)[-1]
        self.assertEqual(scored["scored_tokens"], scored["ingested_tokens"] - 1)
        self.assertAlmostEqual(scored["perplexity"], math.exp(scored["mean_nll"]))
        # The demo model has seen logs like these: far better than a guess among its 599 tokens.
        self.assertTrue(1 < scored["perplexity"] < 100, scored)

        cut = text.index("\n", len(text) // 3) + 1
        parts = self.create()
        sums = [self.memgate_json("ingest", parts["name"], "--score", stdin=part)[-1]
                for part in (text[:cut], text[cut:])]
        self.assertEqual(sum(part["scored_tokens"] for part in sums), scored["scored_tokens"])
        self.assertAlmostEqual(sum(part["logprob_sum"] for part in sums), scored["logprob_sum"], places=6)

        printed = self.memgate("ingest", self.create()["name"], "--score", stdin=text).stdout
        self.assertIn(f"perplexity {scored['perplexity']:.4f}", printed)

    def test_ingest_reads_a_file_and_prints_no_bar_off_a_terminal(self):
        session = self.create()
        with tempfile.NamedTemporaryFile("w", suffix=".log") as f:
            f.write(gateway_text(1000, seed=4))
            f.flush()
            done = self.memgate("ingest", session["name"], f.name)
        self.assertIn("tokens ingested", done.stdout)
        self.assertEqual(done.stderr, "")

    def test_sessions_can_be_created_listed_shown_and_deleted(self):
        session = self.create("--id", "plant-7", "--kind", "window", "--window", "128", "--ttl", "90m",
                              "--label", "site=north")
        self.assertEqual(session["name"], "sessions/plant-7")
        self.assertEqual(session["memory_kind"], "window")
        self.assertEqual(session["shape"]["window_tokens"], 128)
        self.assertEqual(session["ttl"], 5400)
        self.assertEqual(session["labels"], {"site": "north"})
        self.assertIn("plant-7", self.memgate("sessions", "list").stdout)
        self.assertEqual(self.memgate_json("sessions", "show", "plant-7")[0]["name"], session["name"])
        self.assertIn("128", self.memgate("sessions", "show", "sessions/plant-7").stdout)
        self.assertEqual(self.memgate_json("sessions", "rm", "plant-7"),
                         [{"name": "sessions/plant-7", "deleted": True}])
        self.assertEqual(self.memgate("sessions", "show", "plant-7", check=False).returncode, 1)

    def test_show_tells_what_the_memory_holds(self):
        session = self.create()
        self.ingest(session, gateway_text(3000, seed=9))
        shown = self.memgate_json("sessions", "show", session["name"], "--positions")[0]
        shape, memory = shown["shape"], shown["memory"]
        self.assertEqual(memory["accounting"], shown["accounting"])
        folded = shown["memory_writes"] * shape["segment_tokens"]
        model = self.memgate_json("models")[0]
        self.assertEqual(len(memory["layers"]), model["layers"])
        for layer in memory["layers"]:
            self.assertEqual(len(layer["kv_heads"]), model["kv_heads"])
            for head in layer["kv_heads"]:
                positions = head["salient"]["positions"]
                self.assertEqual(len(positions), shape["salient_tokens"])
                self.assertEqual(positions, sorted(set(positions)))
                self.assertGreaterEqual(positions[0], shape["sink_tokens"])
                self.assertLess(positions[-1], shape["sink_tokens"] + folded)
        without = self.memgate_json("sessions", "show", session["name"])[0]["memory"]
        self.assertEqual(without["layers"][0]["kv_heads"][0]["salient"]["positions"], [])

        text = self.memgate("sessions", "show", session["name"]).stdout
        self.assertIn("lowest / median / highest", text)
        self.assertIn(f"{shape['salient_tokens']} of {shape['salient_tokens']}", text)
        self.assertNotIn("KV head 0:", text)
        self.assertIn("layer 0, KV head 0:", self.memgate("sessions", "show", session["name"], "--positions").stdout)

    def test_max_bytes_chooses_a_window_that_fits(self):
        limit = self.create()["session_bytes"]
        session = self.create("--kind", "window", "--max-bytes", str(limit))
        self.assertLessEqual(session["session_bytes"], limit)
        larger = self.create("--kind", "window", "--window", str(session["shape"]["window_tokens"] + 1))
        self.assertGreater(larger["session_bytes"], limit)

    def test_reset_empties_a_session(self):
        session = self.create()
        self.ingest(session, gateway_text(500, seed=5))
        reset = self.memgate_json("sessions", "reset", session["name"])[0]
        self.assertEqual(reset["accounting"]["total_tokens"], 0)
        self.assertEqual(reset["session_bytes"], session["session_bytes"])

    def test_fork_and_export_import_continue_as_the_original(self):
        session = self.create()
        self.ingest(session, FACT + gateway_text(1500, seed=6))
        fork = self.memgate_json("sessions", "fork", session["name"], "--id", "copy")[0]
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "session.bin")
            exported = self.memgate_json("sessions", "export", session["name"], file)[0]
            self.assertEqual(exported["exported_bytes"], os.path.getsize(file))
            self.assertEqual(os.stat(file).st_mode & 0o077, 0)
            self.assertEqual(os.listdir(folder), ["session.bin"])
            imported = self.memgate_json("sessions", "import", file, "--id", "moved")[0]
        self.assertEqual(imported["accounting"], fork["accounting"])
        answers = {name: self.memgate("generate", QUESTION, "--session", name, "--temperature", "0",
                                      "--max-tokens", "24", "--ignore-eos").stdout
                   for name in (session["name"], fork["name"], imported["name"])}
        self.assertEqual(len(set(answers.values())), 1, answers)
        self.memgate("sessions", "rm", "copy", "moved")

    def test_broken_snapshot_is_refused(self):
        with tempfile.NamedTemporaryFile("w") as f:
            f.write("no snapshot")
            f.flush()
            done = self.memgate("sessions", "import", f.name, "--json", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(json.loads(done.stdout)["error"]["reason"], "SNAPSHOT_INVALID")

    def test_server_errors_exit_with_1_and_carry_the_reason(self):
        done = self.memgate("sessions", "show", "nobody", "--json", check=False)
        self.assertEqual(done.returncode, 1)
        error = json.loads(done.stdout)["error"]
        self.assertEqual(error["code"], "NOT_FOUND")
        self.assertTrue(error["reason"])
        done = self.memgate("generate", "hello", "--top-p", "7", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("top_p", done.stderr)

    def test_wrong_usage_exits_with_2_and_suggests(self):
        done = self.memgate("generate", "hello", "--temprature", "1", check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("did you mean --temperature?", done.stderr)
        done = self.memgate("sesions", check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("did you mean sessions?", done.stderr)
        self.assertEqual(self.memgate("sessions", "create", "--window", "many", check=False).returncode, 2)

    def test_missing_server_is_named(self):
        done = memgate("models", address="127.0.0.1:1", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Is the server running", done.stderr)

    def test_help_and_version_need_no_server(self):
        self.assertIn("sessions create", memgate("help").stdout)
        self.assertIn("--salient", memgate("help", "sessions", "create").stdout)
        self.assertRegex(memgate("version").stdout, r"^memgate \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    unittest.main()

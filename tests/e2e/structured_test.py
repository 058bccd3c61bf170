import json
import os
import tempfile

import jsonschema

from tests.e2e.support import ServedTestCase, error_reason, gateway_text, greedy, grpc, inference_pb2

QUESTION = "ask: what is the service code of pump K7?"
FACT = "note: the service code of pump K7 is 4921\n"
SCHEMA = {
    "type": "object",
    "properties": {
        "device": {"type": "string", "pattern": "^[a-z]{3,8} [A-Z][0-9]$"},
        "code": {"type": "integer", "minimum": 0, "maximum": 9999},
        "state": {"enum": ["on", "off", None]},
        "limits": {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}, "maxItems": 3},
    },
    "required": ["device", "code"],
    "additionalProperties": False,
}


class StructuredOutputTest(ServedTestCase):
    def answer(self, format, **fields):
        """The text of an answer in this format, and its `done`."""
        text, done = "", None
        request = {"prompt": FACT + QUESTION, "max_tokens": 400, **fields}
        for response in self.api.generate(response_format=inference_pb2.ResponseFormat(**format), **request):
            text += response.delta.text
            if response.HasField("done"):
                done = response.done
        return text, done

    def sampling(self, seed):
        return inference_pb2.SamplingOptions(temperature=1.5, seed=seed)

    def test_answers_validate_without_a_session_and_in_one(self):
        session = self.api.create()
        self.api.ingest(session, FACT + gateway_text(1500, seed=1))
        for seed in range(8):
            for fields in ({}, {"session": session, "prompt": QUESTION}):
                text, done = self.answer({"json_schema": json.dumps(SCHEMA)}, sampling=self.sampling(seed), **fields)
                self.assertEqual(done.finish_reason, inference_pb2.FINISH_REASON_STOP, text)
                jsonschema.validate(json.loads(text), SCHEMA)

    def test_answers_of_a_grammar_keep_what_the_model_knows(self):
        text, done = self.answer({"grammar": 'root ::= " "? [0-9]{4}'}, sampling=greedy())
        self.assertEqual(text.strip(), "4921")
        self.assertEqual(done.finish_reason, inference_pb2.FINISH_REASON_STOP)

    def test_json_objects_parse_whatever_the_model_says(self):
        for seed in range(5):
            text, done = self.answer({"json_object": True}, sampling=self.sampling(seed))
            if done.finish_reason == inference_pb2.FINISH_REASON_STOP:
                self.assertIsInstance(json.loads(text), dict)
            else:
                self.assertEqual(done.finish_reason, inference_pb2.FINISH_REASON_LENGTH)
                self.assertTrue(text.lstrip().startswith("{"))

    def test_a_session_goes_on_after_an_answer_in_a_format(self):
        session = self.api.create()
        self.answer({"json_schema": '{"enum": ["ready"]}'}, session=session, prompt=FACT, sampling=greedy())
        done = self.memgate("generate", QUESTION, "--session", session, "--stop", "\n", "--temperature", "0")
        self.assertEqual(done.stdout.strip(), "4921")

    def test_answers_are_replayed(self):
        format = {"json_schema": json.dumps(SCHEMA)}
        first, _ = self.answer(format, request_id="twice", sampling=self.sampling(1))
        again, _ = self.answer(format, request_id="twice", sampling=self.sampling(2))
        self.assertEqual(first, again)

    def test_wrong_schemas_are_refused(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.answer({"json_schema": '{"properties": {"a": {"not": {}}}}'})
        self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertEqual(error_reason(caught.exception), "INVALID_FIELD")
        self.assertIn("/properties/a/not", caught.exception.details())

    def test_command_line(self):
        with tempfile.TemporaryDirectory() as folder:
            schema, grammar = os.path.join(folder, "schema.json"), os.path.join(folder, "yes_no.gbnf")
            with open(schema, "w") as file:
                json.dump(SCHEMA, file)
            with open(grammar, "w") as file:
                file.write('root ::= "yes" | "no"\n')
            words = ["generate", QUESTION, "--seed", "1", "--temperature", "1", "--max-tokens", "400"]
            jsonschema.validate(json.loads(self.memgate(*words, "--json-schema", schema).stdout), SCHEMA)
            self.assertIn(self.memgate(*words, "--grammar", grammar).stdout.strip(), ("yes", "no"))
            self.assertTrue(self.memgate(*words, "--json-object").stdout.lstrip().startswith("{"))
            done = self.memgate(*words, "--json-object", "--grammar", grammar, check=False)
            self.assertEqual(done.returncode, 2)
            done = self.memgate(*words, "--grammar", schema, check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("response_format.grammar: line 1, column 1", done.stderr)


class FormatLimitTest(ServedTestCase):
    FLAGS = ("--max-format-bytes", "20")

    def test_longer_schemas_are_refused(self):
        done = self.memgate("generate", "x", "--json-schema", "-", stdin='{"type": "string"}  ', check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        done = self.memgate("generate", "x", "--json-schema", "-", stdin='{"type": "string"}   ', check=False)
        self.assertIn("response_format.json_schema: 21 bytes; at most 20", done.stderr)

import json
import tempfile
import unittest
from types import SimpleNamespace

from training import gateway_log


class GatewayLogTest(unittest.TestCase):
    def test_same_seed_gives_same_log(self):
        first, second = gateway_log.make_log(3000, 20, 5), gateway_log.make_log(3000, 20, 5)
        self.assertEqual(first, second)
        self.assertNotEqual(first[0], gateway_log.make_log(3000, 20, 6)[0])

    def test_keys_are_unique_and_all_facts_are_placed(self):
        lines, placed = gateway_log.make_log(9000, 200, 1)
        self.assertEqual(len(placed), 200)
        self.assertEqual(len({fact.key for fact, _, _ in placed}), 200)
        for fact, index, _ in placed:
            self.assertEqual(lines[index], fact.note())

    def test_answer_sits_at_the_same_offset_from_the_key_in_note_and_question(self):
        _, placed = gateway_log.make_log(2000, 5, 2)
        fact = placed[0][0]
        words = lambda text: text.replace("?", " ?").split()
        note, asked = words(fact.note()), words(fact.asked())
        self.assertEqual(note[-1] , asked[-1])
        self.assertEqual(len(note) - note.index(fact.unit), len(asked) - asked.index(fact.unit))

    def test_lines_end_in_a_newline_after_a_word_or_digit(self):
        for line in gateway_log.make_log(5000, 20, 3, asked_share=1.0)[0]:
            self.assertTrue(line.endswith("\n") and line[-2].isalnum(), line)

    def test_questions_keep_their_distance_from_the_end(self):
        lines, placed = gateway_log.make_log(20000, 32, 4, tail=2000)
        total = sum(map(gateway_log.approximate_tokens, lines))
        chosen = gateway_log.choose_questions(placed, total, 10, 4, 2000)
        self.assertEqual(len({item[0].key for item in chosen}), 10)
        self.assertTrue(all(total - position >= 2000 for _, _, position in chosen))

    def test_written_demo_points_at_its_facts(self):
        with tempfile.TemporaryDirectory() as folder:
            gateway_log.write_demo(SimpleNamespace(tokens=4000, facts=12, questions=4, seed=3, min_distance=1000,
                                                   tokenizer=None, out=folder))
            with open(f"{folder}/log.txt", encoding="utf-8") as f:
                log = f.read()
            with open(f"{folder}/questions.json", encoding="utf-8") as f:
                questions = json.load(f)
        for item in questions:
            note = log[item["fact_offset_chars"] :].split("\n")[0]
            self.assertTrue(note.startswith("note: ") and note.endswith(item["answer"]))


if __name__ == "__main__":
    unittest.main()

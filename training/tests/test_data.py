import random
import unittest

from training import gateway_log
from training.data import ANSWER, mixed_sequence, passkey_sequence, sparse_sequence
from training.tokenizer import Tokenizer, tokenizer_json, train_bpe


class SequenceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        log = "".join(gateway_log.make_log(8000, 100, 9, asked_share=0.5)[0])
        cls.tokenizer = Tokenizer(tokenizer_json(*train_bpe(log, 600)))

    def answers(self, ids, classes):
        return self.tokenizer.decode([i for i, kind in zip(ids, classes) if kind == ANSWER])

    def test_a_passkey_is_asked_at_the_end_and_stands_once_in_noise_that_repeats(self):
        for seed in range(20):
            ids, classes = passkey_sequence(random.Random(seed), self.tokenizer, 300)
            self.assertEqual((len(ids), len(classes)), (301, 301))
            lines = self.tokenizer.decode(ids).splitlines()
            notes = [line for line in lines if line.startswith("note: ")]
            self.assertEqual(len(notes), 1)
            self.assertTrue(notes[0].endswith(self.answers(ids, classes)))
            self.assertTrue(lines[-1].endswith("? " + self.answers(ids, classes)))
            self.assertLessEqual(len(set(lines)), 5)  # two of noise, cut off once; note; question

    def test_shares_of_both_kinds(self):
        sparse = sparse_sequence(random.Random(0), self.tokenizer, 300)
        rng = random.Random(0)
        rng.random()
        self.assertEqual(len(mixed_sequence(random.Random(0), self.tokenizer, 300)[0]), len(sparse[0]))
        self.assertEqual(mixed_sequence(random.Random(0), self.tokenizer, 300, 1.0)[0],
                         passkey_sequence(rng, self.tokenizer, 300)[0])


if __name__ == "__main__":
    unittest.main()

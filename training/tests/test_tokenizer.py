import random
import unittest

from training import gateway_log
from training.tokenizer import END_OF_TEXT, Tokenizer, pre_split, tokenizer_json, train_bpe


class PreSplitTest(unittest.TestCase):
    def test_pieces_follow_the_regex(self):
        table = {
            "pump K7 is 4921\n": ["pump", " K", "7", " is", " ", "4", "9", "2", "1", "\n"],
            "K7? 49": ["K", "7", "?", " ", "4", "9"],
            "so?!\n\nx": ["so", "?!\n\n", "x"],
            "a  b": ["a", " ", " b"],
            "a \n b": ["a", " \n", " b"],
            "a  ": ["a", "  "],
            "it's x'Sy": ["it", "'s", " x", "'S", "y"],
            "\tx.y": ["\tx", ".y"],
            "naïve ½é": ["naïve", " ", "½", "é"],
        }
        for text, pieces in table.items():
            self.assertEqual(pre_split(text), pieces, repr(text))


class TokenizerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.log = "".join(gateway_log.make_log(8000, 100, 9, asked_share=0.5)[0])
        cls.tokenizer = Tokenizer(tokenizer_json(*train_bpe(cls.log, 500)))

    def test_round_trip_of_log_and_of_any_text(self):
        rng = random.Random(1)
        noise = "".join(chr(rng.randrange(1, 0xD7FF)) for _ in range(2000))
        for text in (self.log, noise, "", "\0 \n\n", "Grüße, 世界 🙂"):
            self.assertEqual(self.tokenizer.decode(self.tokenizer.encode(text)), text)

    def test_lines_encode_alone_as_in_the_whole(self):
        lines = self.log.splitlines(keepends=True)
        self.assertEqual(sum(map(self.tokenizer.encode, lines), []), self.tokenizer.encode(self.log))

    def test_special_token_is_one_id(self):
        ids = self.tokenizer.encode(f"a{END_OF_TEXT}b")
        self.assertEqual(ids[1], self.tokenizer.special[END_OF_TEXT])
        self.assertEqual(self.tokenizer.decode(ids), f"a{END_OF_TEXT}b")

    def test_all_bytes_have_an_id(self):
        self.assertEqual(sum(len(token) == 1 for token in self.tokenizer.vocab), 256)


if __name__ == "__main__":
    unittest.main()

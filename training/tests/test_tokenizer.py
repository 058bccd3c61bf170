import json
import os
import random
import unittest

from training import gateway_log
from training.tokenizer import END_OF_TEXT, GPT2_REGEX, Tokenizer, pre_split, tokenizer_json, train_bpe

SHARED = os.path.join(os.path.dirname(__file__), "..", "..", "..", "shared", "data", "tokenizers")
LLAMA3_REGEX = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+")


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


    def test_pieces_follow_the_regexes_of_other_models(self):
        self.assertEqual(pre_split("It's 12345 x", LLAMA3_REGEX), ["It", "'s", " ", "123", "45", " x"])
        self.assertEqual(pre_split("It's 12345  x", GPT2_REGEX), ["It", "'s", " 12345", " ", " x"])
        self.assertEqual(pre_split("a\x1cb", GPT2_REGEX), ["a", "\x1c", "b"])  # white space for Python, not for Unicode


def sentencepiece_json():
    """Characters, byte fallback and four merges; a longer run of spaces merges from the left."""
    space = "\u2581"
    merges = [(space, space), (space, "a"), ("a", "b"), (space * 2, space * 2)]
    tokens = ["<unk>", "<s>", *(f"<0x{b:02X}>" for b in range(256)), space, "a", "b", *(a + b for a, b in merges)]
    return {"normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": space},
                {"type": "Replace", "pattern": {"String": " "}, "content": space}]},
            "pre_tokenizer": None,
            "added_tokens": [{"id": 1, "content": "<s>", "lstrip": False, "rstrip": False}],
            "model": {"type": "BPE", "byte_fallback": True, "unk_token": "<unk>", "merges": [list(m) for m in merges],
                      "vocab": {token: i for i, token in enumerate(tokens)}}}


class SentencePieceTest(unittest.TestCase):
    def setUp(self):
        data = sentencepiece_json()
        self.tokenizer = Tokenizer(data)
        self.strings = {i: token for token, i in data["model"]["vocab"].items()}

    def tokens(self, text):
        return [self.strings[i].replace("\u2581", "_") for i in self.tokenizer.encode(text)]

    def test_merges_by_rank_within_words(self):
        self.assertEqual(self.tokens("ab a"), ["_a", "b", "_a"])
        self.assertEqual(self.tokens("    b"), ["____", "_", "b"])

    def test_characters_outside_the_vocabulary_become_bytes(self):
        self.assertEqual(self.tokens("é"), ["_", "<0xC3>", "<0xA9>"])
        self.assertEqual(self.tokenizer.decode(self.tokenizer.encode("aé b")), " aé b")

    def test_added_tokens_split_the_text(self):
        self.assertEqual(self.tokens("a<s>b"), ["_a", "<s>", "_", "b"])


@unittest.skipUnless(os.path.isdir(SHARED), "needs ../shared/data/tokenizers")
class StockTokenizerTest(unittest.TestCase):
    def test_ids_are_those_of_the_reference(self):
        for name in ("gpt2", "qwen2", "llama2", "phi-3-mini"):
            tokenizer = Tokenizer.load(f"{SHARED}/{name}/tokenizer.json")
            with open(f"{SHARED}/{name}/vectors.json", encoding="utf-8") as f:
                vectors = [v for v in json.load(f) if v["second_implementation_agrees"]]
            self.assertGreater(len(vectors), 900)
            for vector in vectors:
                self.assertEqual(tokenizer.encode(vector["text"]), vector["ids"], (name, vector["text"]))


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

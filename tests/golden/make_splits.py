"""Writes pre_tokenizer_splits.json: how the pre-tokenisers that GGUF files name cut texts into pieces.

    python3 tests/golden/make_splits.py [--texts FILE] [--out FILE]

Needs the `regex` module (Debian's python3-regex), nothing of memgate: an independent reader of the patterns, which are
those of the tokenizer.json that each family was published with. --texts takes the texts of a JSON list instead, plain
or each as "text" of an object.

pre_tokenizer_splits.json: "texts"; "pieces", by family and text, how many bytes of UTF-8 each piece has.
"""

import argparse
import json
import os

import regex

HERE = os.path.dirname(os.path.abspath(__file__))

CONTRACTION = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|" + SPACES


def words_and_digits(digits, letters=r"\p{L}"):
    """Llama 3's pattern and its kin: contractions, words, `digits`, punctuation, line breaks, white space."""
    return (CONTRACTION + rf"|[^\r\n\p{{L}}\p{{N}}]?[{letters}]+|{digits}| ?[^\s{letters}\p{{N}}]+[\r\n]*"
            rf"|\s*[\r\n]+|" + SPACES)


def cased_words(digits, contraction=""):
    """A word ends where capitals follow small letters."""
    before, upper, lower = r"[^\r\n\p{L}\p{N}]?", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    return (f"{before}{upper}*{lower}+{contraction}|{before}{upper}+{lower}*{contraction}|{digits}"
            r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|" + SPACES)


DEEPSEEK_LETTERS = (
    "A-Za-z\u00b5À-ÖØ-öø-ƺƼ-ƿ\u01c4-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-\u03f5Ϸ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅ"
    "ὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼ\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d"
    "\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149ⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎ"
    "ꭰ-ꮿ\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃")
CJK = "[一-龥ࠀ-一가-\ud7ff]+"
BLOOM = " ?[^(\\s|.,!?…。，、।۔،)]+"

FAMILIES = {
    "gpt-2": [GPT2],
    "default": [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
    "starcoder": [r"\p{N}", GPT2],
    "llama-bpe": [words_and_digits(r"\p{N}{1,3}")],
    "qwen2": [words_and_digits(r"\p{N}")],
    "qwen35": [words_and_digits(r"\p{N}", letters=r"\p{L}\p{M}")],
    "minicpm5": [r"\p{N}{1,3}", words_and_digits(r"\p{N}+")],
    "deepseek-llm": [
        "[\r\n]", rf"\s?[{DEEPSEEK_LETTERS}]+", r"\s?[!-/:-~！-／：-～‘-‟\u3000-。]+", r"\s+\Z", CJK, r"\p{N}+"],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"],
    "deepseek-v3": [
        r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
        r"|\s*[\r\n]+|" + SPACES],
    "tekken": [cased_words(r"\p{N}")],
    "gpt-4o": [cased_words(r"\p{N}{1,3}", CONTRACTION + "?")],
    "bloom": [BLOOM],
    "viking": [BLOOM, r"\p{N}"],
    "seed-coder": [CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|" + SPACES],
    "bailingmoe": [
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|" + SPACES],
}

TEXTS = [
    "", " ", "   ", "\n", "\r\n", "\n\n\n", " \n \n", "\t\t", "a", " a", "a ", "  a  ", "\n a\n", "end.\n\n\n  Next",
    "I'm sure they've said we'll win, it's John's, don't; I'd, you're.",
    "I'M SURE THEY'VE SAID WE'LL WIN, IT'S JOHN'S, DON'T; I'D, YOU'RE.", "'s 'S 'ſ 'Tis 'twas 'lL x'rex ''s 's's",
    "1 12 123 1234 12345 123456 1234567", "3.14159, -273.15 and 6.022e23; 1,000,000", "v1.2.3-rc4 0x1F 0b1010 1e-5",
    "٣٤٥ १२३४ ４５６７ ½ ⅔ Ⅷ ² ₃ ① 一二三 3月14日", "x2 2x x22y 22x22 a1b2c3", " 7 77 777 7777",
    "12:30:45 2024-02-29T00:00:00Z", "HelloWorld camelCaseName HTTPServer iPhone McDonald eBay XMLHttpRequest2",
    "ǅungla ǈ aǅb ʰa aʰ ªº ƻ ǀǁ ʔa", "snake_case __init__ CONSTANT_NAME $var @user #tag -flag --long",
    "a-b a/b a\\b a|b a&b a+b a=b a<b a>b a^b a~b a`b", "for (int i = 0; i < n; ++i) {\n\tsum += x[i]*2;\n}\n",
    "if x:\n    return {'a': [1, 2]}\n\n\ndef f(): pass", "https://example.org/a_b?c=d&e=%20#f mail@example.org",
    "<p class=\"x\">A &amp; B</p><br/>", "C:\\Temp\\new.txt /usr/bin", "...!!!???  ?!  -- — – … «Hallo» „Ja“ ‚x‘ ‹y›",
    "(a) [b] {c} <d> ((e)) !f ?g .h ,i ;j :k", "$5 5$ €10 £3 ¥100 ₹7 5% ‰ § ¶ © ® ™",
    "∑ ∫ ≤ ≠ ± × ÷ √ ∞ → ⇒ ∈ ℝ ℕ ℵ Å Ω µm", "naïve café Straße ŒUVRE Ångström ñandú ﬁn ﬀ",
    "cafe\u0301 e\u0301\u0301 \u0301x a\u0308\u0301b n\u0303", "Привет, мир! Ёлка въезд Їжак",
    "Γειά σου Κόσμε ἀρχή ᾳ", "შალვა ᲨᲐ Հայերեն ᏣᎳᎩ ꮳꮃ", "שלום עולם שָׁלוֹם", "مرحبا بالعالم مُحَمَّد،؟ ۔",
    "हिन्दी में पाठ। नमस्ते दुनिया॥", "ภาษาไทย สวัสดีครับ ๑๒๓", "தமிழ் বাংলা తెలుగు ಕನ್ನಡ", "Tiếng Việt có dấu",
    "አማርኛ ᠮᠣᠩᠭᠣᠯ བོད་ཡིག", "你好，世界！今天是2024年。 你 好", "日本語のテキスト、カタカナとひらがな。ﾊﾝｶｸ ー々", "한국어 텍스트입니다. ㄱㄴ 조선",
    "中文English混排text 漢字kana한글", "ＡＢＣ ａｂｃ １２３ ！？ （全角） ～。 　　x", "‘a’ “b” ‛c‟ 、。〃 〈x〉", "龥龦 鿿 ꀀ 㐀 𠀀𠀁 ࠀࡀ ힰ ퟿ 豈",
    "🙂 👍🏽 👨‍👩‍👧 🇩🇪 ❤️ a🙂b 🙂🙂", "a\u200bb a\u200db \ufeffx x\u00ady",
    "a\u00a0b \u00a0 \u2009x\u2003y \u3000 z \u202f1", "a\u0085b\u2028c\u2029d\u000be\u000cf", " \t \r\n \t x",
    "a\r\nb\rc\nd\n\re", "x \n\n  y\n   \n z   ", "tab\tx\t\ty \t z", "  \n!\n\n?\r\n /\n/ ./\n",
    "A\u0301B a\u0301B Éa éA ÀB", "\U00010400\U00010428 \U000104b0 \U0001e900\U0001e922 \U00010c80 𝐀𝐛 𝟙𝟚𝟛𝟜",
    "ab" * 20 + " " + "1" * 20 + " " + "!" * 20 + " " * 20,
]


def split(patterns, text):
    """Every pattern cuts the pieces that the one before left; what it finds is a piece, and so is what lies between."""
    pieces = [text] if text else []
    for pattern in patterns:
        finer = []
        for piece in pieces:
            end = 0
            for match in regex.finditer(pattern, piece):
                finer += [piece[end:match.start()], match.group()]
                end = match.end()
            finer.append(piece[end:])
        pieces = [piece for piece in finer if piece]
    return pieces


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", help="JSON list of other texts")
    parser.add_argument("--out", default=os.path.join(HERE, "pre_tokenizer_splits.json"))
    args = parser.parse_args()
    texts = TEXTS
    if args.texts:
        with open(args.texts, encoding="utf-8") as f:
            texts = [entry["text"] if isinstance(entry, dict) else entry for entry in json.load(f)]
    pieces = {name: [[len(piece.encode("utf-8")) for piece in split(patterns, text)] for text in texts]
              for name, patterns in FAMILIES.items()}
    lines = [f"  {json.dumps(name)}: {json.dumps(rows, separators=(',', ':'))}" for name, rows in pieces.items()]
    with open(args.out, "w", encoding="utf-8") as f:
        f.write('{"texts": ' + json.dumps(texts) + ',\n "pieces": {\n' + ",\n".join(lines) + "\n }}\n")


if __name__ == "__main__":
    main()

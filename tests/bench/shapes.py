"""The shapes of the models that the benchmark runs: published ones, and a tiny one for tests."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """What `config.json` says of a decoder with grouped-query attention, SwiGLU and tied embeddings."""

    name: str
    family: str  # "qwen2" or "llama"
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int
    rope_theta: float
    rms_norm_eps: float
    max_position: int
    llama3_scaling: tuple = ()  # factor, low and high frequency factor, original max position

    @property
    def attention_bias(self):
        """Qwen 2 biases q, k and v."""
        return self.family == "qwen2"

    @property
    def linear_parameters(self):
        """Weights that one token is multiplied with: all layers and the head."""
        attention = 2 * self.hidden * self.head_dim * (self.heads + self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.ffn) + self.vocabulary * self.hidden

    def weight_bytes(self, format):
        """Bytes of the linear parameters as memgate holds them, without int8's scales: one per output."""
        layers, head = {"f32": (32, 32), "bf16": (16, 16), "int8": (8, 8), "int4": (4.25, 8)}[format]
        return self.linear_bytes(layers, head)

    def peer_weight_bytes(self, format):
        """The same as llama.cpp holds them in the type of as many bits, scales included."""
        # llama-quantize gives the head of a Q4_0 file more bits: Q6_K, or Q8_0 where its rows are not blocks of 256.
        q4_head = 6.5625 if self.hidden % 256 == 0 else 8.5
        layers, head = {"f32": (32, 32), "bf16": (16, 16), "int8": (8.5, 8.5), "int4": (4.5, q4_head)}[format]
        return self.linear_bytes(layers, head)

    def linear_bytes(self, layer_bits, head_bits):
        head = self.vocabulary * self.hidden
        return ((self.linear_parameters - head) * layer_bits + head * head_bits) / 8

    def kv_bytes(self, tokens, element_bytes=2):
        """Bytes of a full KV cache."""
        return 2 * self.layers * self.kv_heads * self.head_dim * element_bytes * tokens


SHAPES = {shape.name: shape for shape in (
    Shape("qwen2.5-0.5b", "qwen2", layers=24, hidden=896, heads=14, kv_heads=2, head_dim=64, ffn=4864,
          vocabulary=151_936, rope_theta=1e6, rms_norm_eps=1e-6, max_position=32_768),
    Shape("qwen2.5-3b", "qwen2", layers=36, hidden=2048, heads=16, kv_heads=2, head_dim=128, ffn=11_008,
          vocabulary=151_936, rope_theta=1e6, rms_norm_eps=1e-6, max_position=32_768),
    Shape("llama-3.2-1b", "llama", layers=16, hidden=2048, heads=32, kv_heads=8, head_dim=64, ffn=8192,
          vocabulary=128_256, rope_theta=5e5, rms_norm_eps=1e-5, max_position=131_072,
          llama3_scaling=(32.0, 1.0, 4.0, 8192)),
    Shape("tiny-qwen2", "qwen2", layers=2, hidden=64, heads=4, kv_heads=2, head_dim=16, ffn=96, vocabulary=512,
          rope_theta=1e4, rms_norm_eps=1e-6, max_position=4096),
    Shape("tiny-llama", "llama", layers=2, hidden=64, heads=4, kv_heads=2, head_dim=16, ffn=96, vocabulary=512,
          rope_theta=1e4, rms_norm_eps=1e-5, max_position=4096, llama3_scaling=(8.0, 1.0, 4.0, 1024)),
)}


@dataclass(frozen=True)
class MemoryGeometry:
    """Default geometry of a session, in tokens."""

    sinks: int
    window: int
    segment: int
    salient: int


GEOMETRY = MemoryGeometry(sinks=16, window=1024, segment=256, salient=256)
TINY_GEOMETRY = MemoryGeometry(sinks=4, window=32, segment=16, salient=16)

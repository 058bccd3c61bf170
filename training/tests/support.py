"""Small random models for the tests."""

import os

import torch

from training.base import DemoBase, save_config
from training.model import Config

torch.set_num_threads(1)  # the tensors are too small for more
GOLDEN = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "golden")
CONFIG = Config(vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                num_key_value_heads=2, head_dim=16)


def random_model(seed=3):
    torch.manual_seed(seed)
    return DemoBase(CONFIG).requires_grad_(False)


def write_model(folder, seed=3):
    """A Hugging Face folder without a tokenizer."""
    save_config(f"{folder}/config.json", CONFIG, 0, [0])
    random_model(seed).save(f"{folder}/model.safetensors")


def randomise(rule, scale=0.5):
    """Moves all parameters of `rule` away from their start values; returns it, frozen."""
    with torch.no_grad():
        for p in rule.parameters():
            p += scale * torch.randn_like(p)
    return rule.requires_grad_(False)

"""Makes the demo model from nothing: tokenizer, base, memory module, golden logits, evaluation.

    python3 -m training.make_demo --out models/gateway-demo

Steps whose results exist are skipped; an interrupted training of the base continues from its checkpoint.
"""

import argparse
import os

from training import base, evaluate, gates, golden, tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, help="folder of the model")
    parser.add_argument("--work", default="build/training", help="folder for checkpoints")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    os.makedirs(args.work, exist_ok=True)
    model, checkpoint = ["--model", args.out], f"{args.work}/base.pt"
    if not os.path.exists(f"{args.out}/tokenizer.json"):
        tokenizer.make_tokenizer(args.out, 1024)
    if os.path.exists(checkpoint) or not os.path.exists(f"{args.out}/model.safetensors"):
        base.main(["--out", args.out, "--checkpoint", checkpoint])
    if not os.path.exists(f"{args.out}/memory.safetensors"):
        gates.main([*model, "--kind", "memgate", "--gateway-log", "--out", args.out,
                    "--plot", f"{args.work}/memgate.png", "--checkpoint", f"{args.work}/memgate.pt"])
    golden.make_golden(args.out)
    evaluate.main([*model, "--window-only"])


if __name__ == "__main__":
    main()

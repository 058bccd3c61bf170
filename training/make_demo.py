"""Makes the demo model from nothing: tokenizer, base, memory modules, golden logits, evaluation.

    python3 -m training.make_demo --out models/gateway-demo

Steps whose results exist are skipped; a module trained on another base does not count. Interrupted trainings go on from
their checkpoints, which are removed when the training is done.
"""

import argparse
import json
import os

from training import base, cotrain, evaluate, gates, golden, tokenizer
from training.model import CausalModel

# Trained on the finished base: {kind: (folder of the module, options of training.gates)}.
FROZEN_BASE_KINDS = {
    "memgate": ("", []),
    "infini": ("memory/infini", ["--passkey-share", "0.5"]),
    "edgeinfinite": ("memory/edgeinfinite", ["--passkey-share", "0.5"]),
}


def fits_base(model, module):
    """Whether the folder `module` holds a memory module trained on the base in the folder `model`."""
    if not os.path.exists(f"{module}/memory.safetensors"):
        return False
    with open(f"{module}/memory.json", encoding="utf-8") as f:
        return json.load(f)["base_fingerprint"] == CausalModel.load(model).fingerprint()


def make(name, exists, checkpoint, train):
    """Calls `train` unless the result `exists` already; with a checkpoint beside it, the training was interrupted."""
    interrupted = os.path.exists(checkpoint)
    if exists and not interrupted:
        print(f"{name}: exists", flush=True)
        return
    if interrupted and not exists:
        os.remove(checkpoint)  # of a result that was deleted or of another base
    print(f"{name}:", flush=True)
    train(["--checkpoint", checkpoint])
    os.remove(checkpoint)


def make_models(out, work):
    """The base and its modules."""
    make("base", os.path.exists(f"{out}/model.safetensors"), f"{work}/base.pt",
         lambda more: base.main(["--out", out, *more]))
    make("cotrain", fits_base(out, f"{out}/memory/infini-delta"), f"{work}/cotrain.pt",
         lambda more: cotrain.main(["--model", out, *more]))
    for kind, (folder, options) in FROZEN_BASE_KINDS.items():
        module = os.path.normpath(os.path.join(out, folder))
        make(kind, fits_base(out, module), f"{work}/{kind}.pt",
             lambda more: gates.main(["--model", out, "--kind", kind, "--gateway-log", *options, "--out", module,
                                      "--plot", f"{work}/{kind}.png", *more]))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", required=True, help="folder of the model")
    parser.add_argument("--work", default="build/training",
                        help="folder for checkpoints and plots, an own one for each model (default: %(default)s)")
    args = parser.parse_args(argv)
    os.makedirs(args.out, exist_ok=True)
    os.makedirs(args.work, exist_ok=True)
    if not os.path.exists(f"{args.out}/tokenizer.json"):
        tokenizer.make_tokenizer(args.out, 1024)
    make_models(args.out, args.work)
    golden.make_golden(args.out)
    evaluate.main(["--model", args.out, "--window-only"])


if __name__ == "__main__":
    main()

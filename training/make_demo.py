"""Makes the demo model from nothing: tokenizer, base, memory modules, golden logits, evaluation.

    python3 -m training.make_demo --out models/gateway-demo

Steps whose results exist are skipped; a module trained on another base does not count. Interrupted trainings go on from
their checkpoints, which are removed when the training is done.
"""

import argparse
import json
import os

from training import base, cotrain, evaluate, gates, golden, tokenizer
from training.memory_module import KINDS
from training.model import CausalModel

# Trained on the finished base, in this order: {name of the module: (its folder, options of training.gates)}. Where the
# name is no kind, the kind is its first word.
FROZEN_BASE_KINDS = {
    "memgate": ("", "--slots-only --salient 764"),
    "memgate-matrix": ("memory/memgate-matrix",
                       "--resume-module {out} --maps-from {out}/memory/infini-delta --salient 694 --soft-steps 0 "
                       "--ranked-steps 0 --steps 50 --lengths 2048 4096 --truncation 128 --distillation 0 "
                       "--rest-weight 0.02 --most-facts 32 --asked 24 --lr 5e-3 --name memgate-matrix"),
    "infini": ("memory/infini",
               "--passkey-share 0.5 --expansion 2 --maps-from {out}/memory/infini-delta --fixed-maps --gate-lr 5e-2 "
               "--steps 40"),
    "edgeinfinite": ("memory/edgeinfinite", "--passkey-share 0.5 --steps 60"),
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
    for name, (folder, options) in FROZEN_BASE_KINDS.items():
        module = os.path.normpath(os.path.join(out, folder))
        kind = name if name in KINDS else name.split("-")[0]
        chosen = [option.format(out=out) for option in options.split()]
        make(name, fits_base(out, module), f"{work}/{name}.pt",
             lambda more: gates.main(["--model", out, "--kind", kind, "--gateway-log", *chosen, "--out", module,
                                      "--plot", f"{work}/{name}.png", *more]))


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

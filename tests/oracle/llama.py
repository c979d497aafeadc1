"""The oracle: Hugging Face's LLaMA on PyTorch, written independently of this project.

    llama.py make   OUT_DIR --config JSON --batch B --seq T [--steps N] [--seed S] [--sgd-lr R] [--adamw-lr R]
                           [--lion-lr R]
    llama.py logits MODEL_DIR IDS.safetensors OUT.safetensors     ids [B, T]   -> logits [B, T, V]
    llama.py loss   MODEL_DIR IDS.safetensors                     ids [B, T+1] -> mean nats per token
    llama.py encode MODEL_DIR                                     text on standard input -> ids and the text they decode to

Everything is computed in float64 and stored as float32.
Standard output is a single JSON document. The network is never used.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch  # noqa: E402
from lion_pytorch import Lion  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, modeling_rope_utils  # noqa: E402
from transformers.models.llama import modeling_llama  # noqa: E402
from transformers.models.qwen2 import modeling_qwen2  # noqa: E402

# Measured at hidden size 24: with a standard deviation of 0.08 everywhere and eps 0.1, the gradient of the queries is a
# thousand times smaller than here, and a rotary base that is off by 10 % changes the logits by 2e-6 instead of 3e-3.
EMBEDDING_STD = 0.5
LINEAR_GAIN = 1.5  # divided by sqrt(inputs): 0.31 at hidden size 24, 0.09 at 256
BIAS_STD = 0.2
NORM_STD = 0.2  # around 1: if all norm weights were 1, a forgotten multiplication would pass


class Float64Torch:
    """A stand-in for `torch` in Hugging Face's models, in which float32 means float64.

    Their RMSNorm, rotary tables and softmax cast to float32 whatever the model's type,
    which would make the oracle no more accurate than the code it checks.
    """

    float32 = torch.float64
    float = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


def compute_in_float64():
    for module in [modeling_llama, modeling_qwen2, modeling_rope_utils]:
        module.torch = Float64Torch()
    torch.Tensor.float = torch.Tensor.double


def main():
    args = parse_args()
    torch.set_num_threads(1)  # a fixed order of summation, so that runs are bit-identical
    compute_in_float64()
    report = args.run(args)
    json.dump(report, sys.stdout)
    print()


def make(args):
    """Writes a random model's folder, and the expected results of training it."""
    torch.manual_seed(args.seed)
    config = json.loads(args.config)
    config = AutoConfig.for_model(config.pop("model_type"), **config)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    randomise(model)
    model.save_pretrained(args.out_dir / "model", safe_serialization=True)
    model.double()  # after saving: the file then holds exactly the weights used for the expected results

    ids = torch.randint(config.vocab_size, (args.steps, args.batch, args.seq + 1))
    expected = {"input_ids": ids.to(torch.int32)}

    logits = model(ids[0, :, :-1]).logits
    loss = cross_entropy(logits, ids[0])
    loss.backward()
    expected["logits"] = logits
    expected["loss"] = loss.reshape(1)
    for name, weight in model.named_parameters():  # lists a tied head once, as model.embed_tokens.weight
        expected[f"grad.{name}"] = weight.grad.clone()

    initial = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    weights = list(model.parameters())
    optimizers = {
        "sgd": lambda: torch.optim.SGD(weights, lr=args.sgd_lr),
        "adamw": lambda: torch.optim.AdamW(weights, lr=args.adamw_lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1),
        "lion": lambda: Lion(weights, lr=args.lion_lr, betas=(0.9, 0.99), weight_decay=1.0),
    }
    for name, optimizer in optimizers.items():
        restore(model, initial)
        expected[f"losses.{name}"] = train(model, optimizer(), ids)

    save(args.out_dir / "expected.safetensors", expected)
    return {"n_parameters": n_parameters(model), "loss": loss.item()}


def logits(args):
    """The logits of any model folder, and whether all of its tensors were loaded."""
    model, loading = load_model(args.model_dir)
    ids = load_file(args.ids)["input_ids"].long()
    with torch.no_grad():
        save(args.out, {"logits": model(ids).logits})
    has_tokenizer = (args.model_dir / "tokenizer.json").exists()
    return {
        "n_parameters": n_parameters(model),
        "tokenizer_vocab": len(AutoTokenizer.from_pretrained(args.model_dir)) if has_tokenizer else None,
        "missing_keys": sorted(loading["missing_keys"]),
        "unexpected_keys": sorted(loading["unexpected_keys"]),
    }


def loss(args):
    """Mean cross-entropy over all next tokens, row by row to hold only one row's logits at a time."""
    model, _ = load_model(args.model_dir)
    ids = load_file(args.ids)["input_ids"].long()
    n_rows, n_tokens = ids.shape[0], ids[:, 1:].numel()
    with torch.no_grad():
        total = sum(cross_entropy(model(row[:, :-1]).logits, row).item() for row in ids.split(1))
    return {"loss": total / n_rows, "tokens": n_tokens}


def encode(args):
    """Ids as AutoTokenizer returns them, including special tokens if the folder asks for them."""
    tokenizer = AutoTokenizer.from_pretrained(args.model_dir)
    ids = tokenizer.encode(sys.stdin.buffer.read().decode("utf-8"))
    return {"ids": ids, "decoded": tokenizer.decode(ids, clean_up_tokenization_spaces=False)}


def randomise(model):
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("norm.weight"):
                weight.normal_(1.0, NORM_STD)
            elif name.endswith("bias"):
                weight.normal_(0.0, BIAS_STD)
            elif name.endswith("embed_tokens.weight"):
                weight.normal_(0.0, EMBEDDING_STD)
            else:
                weight.normal_(0.0, LINEAR_GAIN / weight.shape[1] ** 0.5)


def restore(model, weights):
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(weights[name])


def train(model, optimizer, ids):
    """The loss of every batch before its step: [steps]."""
    losses = []
    for batch in ids:
        optimizer.zero_grad()
        loss = cross_entropy(model(batch[:, :-1]).logits, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


def cross_entropy(logits, ids):
    """logits [B, T, V] of ids[:, :-1] against ids[:, 1:]."""
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


def load_model(model_dir):
    model, loading = AutoModelForCausalLM.from_pretrained(
        model_dir, attn_implementation="eager", output_loading_info=True
    )
    return model.double().eval(), loading


def n_parameters(model):
    return sum(weight.numel() for weight in model.parameters())


def save(path, tensors):
    stored = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach()
        stored[name] = (tensor.to(torch.float32) if tensor.is_floating_point() else tensor).contiguous()
    save_file(stored, path)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("make", help=make.__doc__)
    command.set_defaults(run=make)
    command.add_argument("out_dir", type=Path)
    command.add_argument("--config", required=True, help="config.json of LLaMA or Qwen2")
    command.add_argument("--batch", type=int, required=True)
    command.add_argument("--seq", type=int, required=True)
    command.add_argument("--steps", type=int, default=10)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--sgd-lr", type=float, default=0.1)
    command.add_argument("--adamw-lr", type=float, default=1e-3)
    command.add_argument("--lion-lr", type=float, default=3e-4)

    command = commands.add_parser("logits", help=logits.__doc__)
    command.set_defaults(run=logits)
    command.add_argument("model_dir", type=Path)
    command.add_argument("ids", type=Path)
    command.add_argument("out", type=Path)

    command = commands.add_parser("loss", help=loss.__doc__)
    command.set_defaults(run=loss)
    command.add_argument("model_dir", type=Path)
    command.add_argument("ids", type=Path)

    command = commands.add_parser("encode", help=encode.__doc__)
    command.set_defaults(run=encode)
    command.add_argument("model_dir", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()

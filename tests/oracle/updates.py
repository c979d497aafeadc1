"""Reference results for an optimizer's steps: the authors' own code on given gradients.

    updates.py GIVEN.safetensors AFTER.safetensors SETTINGS.json

GIVEN holds weight [m, n], gradients [steps, m, n] and, for APOLLO, normals [epochs, small, rank], or, for Adam with a
random start, one normal per element of the weight.
SETTINGS names the optimizer and its arguments. AFTER holds the weight after every step, [steps, m, n].
Computed in float64 where the package allows it. Standard output stays empty.
"""

import importlib
import importlib.util
import json
import sys
import types
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers.optimization import Adafactor


def submodule(package, module):
    """Imports a module of a package whose own __init__ requires CUDA."""
    if package not in sys.modules:
        stub = types.ModuleType(package)
        stub.__path__ = list(importlib.util.find_spec(package).submodule_search_locations)
        sys.modules[package] = stub
    return importlib.import_module(f"{package}.{module}")


def main():
    given, settings = load_file(sys.argv[1]), json.loads(Path(sys.argv[3]).read_text())
    make = {"adafactor": adafactor, "adalomo": adalomo, "adam-nonzero": adam_nonzero, "apollo": apollo}
    make |= {"galore": galore, "fira": fira}
    make = make[settings.pop("optimizer")]
    after = make(given, settings)
    save_file({"after": torch.stack(after).float()}, sys.argv[2])


def steps(weight, gradients, optimizer):
    after = []
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
        after.append(weight.detach().clone())
    return after


def parameter(given):
    return torch.nn.Parameter(given["weight"].double()), given["gradients"].double()


def adafactor(given, settings):
    weight, gradients = parameter(given)
    return steps(weight, gradients, Adafactor([weight], **settings))


def adam_nonzero(given, settings):
    """Its authors fill in the state of PyTorch's Adam before the first step, and change nothing else."""
    weight, gradients = parameter(given)
    batches, scale = settings.pop("batches"), settings.pop("scale")
    if batches:
        start = scale * (gradients[:batches] ** 2).mean(0)
    else:
        start = scale * 2 / sum(weight.shape) * given["normals"].double().reshape(weight.shape) ** 2
    optimizer = torch.optim.Adam([weight], **settings)
    moments = {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": start}
    optimizer.state[weight] = {"step": torch.tensor(0.0), **moments}
    still = [weight.detach().clone() for _ in range(batches)]
    return still + steps(weight, gradients[batches:], optimizer)


def apollo(given, settings):
    projector = submodule("apollo_torch", "random_projector")
    normals = iter(given["normals"])

    def same_normals(shape, **_):
        drawn = next(normals)  # [small, rank]
        return drawn if tuple(shape) == tuple(drawn.shape) else drawn.T.contiguous()

    projector.stable_randn = same_normals
    weight, gradients = parameter(given)
    lr = settings.pop("lr")
    group = {"params": [weight], "proj": "random", "proj_type": "std", **settings}
    optimizer = submodule("apollo_torch", "apollo").AdamW([group], lr=lr)
    return steps(weight, gradients, optimizer)


def galore(given, settings):
    return in_subspace(submodule("galore_torch", "adamw").AdamW, given, settings)


def fira(given, settings):
    return in_subspace(submodule("fira", "fira_adamw").AdamW, given, settings)


def in_subspace(optimizer, given, settings):
    decompose = torch.linalg.svd

    def with_our_signs(matrix, **arguments):
        """The sign of singular vectors is arbitrary: ours make the largest element along the smaller side positive."""
        u, s, v = decompose(matrix.double(), **arguments)
        along = v if matrix.shape[0] >= matrix.shape[1] else u.T
        sign = torch.sign(along.gather(1, along.abs().argmax(1, keepdim=True))).squeeze(1)
        return u * sign, s, v * sign[:, None]

    torch.linalg.svd = with_our_signs
    weight, gradients = parameter(given)
    lr = settings.pop("lr")
    return steps(weight, gradients, optimizer([{"params": [weight], "proj_type": "std", **settings}], lr=lr))


def adalomo(given, settings):
    torch.Tensor.cuda = lambda self, *_: self
    module = submodule("lomo_optim", "adalomo")
    model = torch.nn.Linear(*reversed(given["weight"].shape), bias=False)
    model.weight.data.copy_(given["weight"])
    lr = settings.pop("lr")
    optimizer = module.AdaLomo(model, lr=lr, loss_scale=0, **settings)
    after = []
    for gradient in given["gradients"]:
        optimizer.fused_backward((model.weight * gradient).sum(), lr)
        after.append(model.weight.detach().clone())
    return after


main()

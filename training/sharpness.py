"""Sharpness-aware minimisation: step by the gradient at the worst place near the weights.

Foret et al. 2021, "Sharpness-Aware Minimization for Efficiently Improving Generalization",
equations 2 and 3: flat minima hold up better where labels are noisy. Costs a second pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def move_to_worst(model: nn.Module, rho: float) -> Iterator[None]:
    """Within, the weights stand ``rho`` (L2) away along their gradients, which must be there.

    Running statistics of batch normalisation do not change within: they belong to the weights that
    the model keeps.
    """
    pairs = [(weight, weight.grad) for weight in model.parameters() if weight.grad is not None]
    norm = nn.utils.get_total_norm([gradient for _, gradient in pairs])
    before = [weight.detach().clone() for weight, _ in pairs]
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [module.momentum for module in norms]
    try:
        with torch.no_grad():
            for weight, gradient in pairs:
                weight.add_(gradient * (rho / (norm + 1e-12)))
        for module in norms:
            module.momentum = 0.0
        yield
    finally:
        with torch.no_grad():
            for (weight, _), kept in zip(pairs, before, strict=True):
                weight.copy_(kept)
        for module, momentum in zip(norms, momenta, strict=True):
            module.momentum = momentum

"""Several processes at one run, on one machine or many, as torchrun starts them.

Each takes its share of every batch. Whatever is drawn by chance is drawn for the whole batch in all
of them, batch normalisation sees the whole batch, and gradients are means over it: so the figures
are those of one process, but for dropout's masks and for rounding.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.overrides import TorchFunctionMode

from training.errors import ConfigError
from training.torchrun import count_processes

# Machines that read the same pictures need not be done at the same minute.
PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class Processes:
    """This process, from 0, among ``count``."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and reports."""
        return self.rank == 0

    def check_batch(self, size: int) -> None:
        """Raises ConfigError where a batch cannot be shared out."""
        if self.count > 1 and size % (2 * self.count):
            raise ConfigError(
                f"batch_size {size} cannot be shared out to {self.count} processes; it must be a "
                f"multiple of {2 * self.count}."
            )

    def find_share(self, total: int) -> Tensor:
        """The places in a batch that are this process's.

        Each with the one opposite, which mixup and cutmix pair it with; turning the share round
        pairs them.
        """
        if self.count == 1:
            return torch.arange(total)
        half = torch.arange(total // 2)[self.rank :: self.count]
        return torch.cat([half, (total - 1 - half).flip(0)])

    def sum(self, tensor: Tensor) -> Tensor:
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def broadcast(self, value: Any) -> Any:
        """The first process's value, to all."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def gather_rows(self, rows: Tensor, total: int) -> Tensor:
        """(total, columns), of which each process holds every ``count``-th row from its rank on."""
        gathered = rows.new_zeros(total, rows.shape[1])
        gathered[self.rank :: self.count] = rows
        return self.sum(gathered)

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model, its gradients averaged over all processes."""
        if self.count == 1:
            return model
        return DistributedDataParallel(model, forward_sync_buffers=False)

    @contextmanager
    def synchronized(self) -> Iterator[None]:
        """Within, batch normalisation takes mean and variance of all processes' pictures."""
        if self.count == 1:
            yield
        else:
            with _SynchronizedNorms():
                yield


ALONE = Processes()


@contextmanager
def join_processes(device: torch.device) -> Iterator[Processes]:
    """All processes of this run, where torchrun started it; else this one alone."""
    if count_processes() == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)  # NCCL talks through the current one
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    yield Processes(dist.get_rank(), dist.get_world_size())
    # Not after an error: the others wait for this process elsewhere, so leaving in order would hang
    # before the error is printed. torchrun ends them when this one has ended.
    dist.destroy_process_group()


@dataclass(frozen=True)
class Draws:
    """Numbers drawn by chance for a whole batch, of which this process takes its share.

    ``n`` is how many pictures the share has.
    """

    generator: torch.Generator
    processes: Processes = ALONE

    def uniform(self, n: int, low: float, high: float) -> Tensor:
        return self._take(
            n, lambda total: torch.empty(total).uniform_(low, high, generator=self.generator)
        )

    def integers(self, n: int, low: int, high: int) -> Tensor:
        """From ``low`` to ``high`` - 1."""
        return self._take(
            n, lambda total: torch.randint(low, high, (total,), generator=self.generator)
        )

    def fork(self, device: torch.device) -> "Draws":
        """Drawn on the device: for as many numbers as pictures have pixels."""
        seed = int(torch.randint(2**31, (), generator=self.generator))
        return Draws(torch.Generator(device).manual_seed(seed), self.processes)

    def normal(self, *shape: int) -> Tensor:
        """On the generator's own device."""
        n, *rest = shape
        return self._take(
            n,
            lambda total: torch.randn(
                total, *rest, generator=self.generator, device=self.generator.device
            ),
        )

    def _take(self, n: int, draw: Callable[[int], Tensor]) -> Tensor:
        total = n * self.processes.count
        return draw(total)[self.processes.find_share(total)]


class _SynchronizedNorms(TorchFunctionMode):
    """PyTorch's own SyncBatchNorm works on GPUs alone, and knows its own classes of layers."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.batch_norm:
            return _normalize(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


class _Sum(torch.autograd.Function):
    """Every process's loss depends on every process's values: so gradients are summed as well."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _normalize(
    images: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``torch.nn.functional.batch_norm`` over all processes; of shares of the same size."""
    if not training:
        return F.batch_norm(images, running_mean, running_var, weight, bias, eps=eps)
    values = images.float()
    others = [0, *range(2, values.ndim)]
    n = values.numel() / values.shape[1] * dist.get_world_size()
    shape = [1, -1] + [1] * (values.ndim - 2)
    mean = _Sum.apply(values.sum(others)) / n
    centered = values - mean.view(shape)
    variance = _Sum.apply(centered.square().sum(others)) / n
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean, momentum)
            running_var.lerp_(variance * n / (n - 1), momentum)
    result: Tensor = centered * (variance + eps).rsqrt().view(shape)
    if weight is not None and bias is not None:
        result = result * weight.view(shape) + bias.view(shape)
    return result.to(images.dtype)

"""Convolutional positions of Wav2Vec 2.0; on a CPU in a form that is several times as fast for short windows.

A grouped convolution whose kernel is about as long as the window is a product with a Toeplitz matrix: as many
operations, but in matrix products, which a processor does faster than convolutions of a few channels.
"""

from typing import Any

import torch
from torch.nn import functional
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2PositionalConvEmbedding

__all__ = ["EcgWav2vec2PositionEmbedding", "short_convolution"]

# Elements of the largest matrix that is built (64 MiB in bfloat16), and operations per element that are worth building.
_LARGEST_MATRIX = 2**25
_LEAST_USES = 16


class EcgWav2vec2PositionEmbedding(Wav2Vec2PositionalConvEmbedding):
    """The library's module, with `short_convolution` where that is faster.

    Args:
        config: Configuration of the model.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map frames `(windows, frames, hidden)` to the term that is added to them."""
        windows, frames, width = hidden_states.shape
        conv: Any = self.conv
        # A compiled or exported graph is for windows of any number.
        if hidden_states.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(hidden_states)
        kernel = conv.kernel_size[0]
        elements = width * (width // conv.groups) * frames**2
        if frames > kernel or elements > _LARGEST_MATRIX or windows * kernel < _LEAST_USES * frames:
            return super().forward(hidden_states)
        added = short_convolution(hidden_states, conv.weight)
        return self.activation(added + conv.bias.to(added.dtype))


def short_convolution(tokens: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Compute `conv1d(tokens, weight, padding=kernel // 2, groups=...)` over the frames, cut to as many frames.

    Args:
        tokens: `(windows, frames, hidden)`.
        weight: `(hidden, hidden / groups, kernel)`.

    Returns:
        `(windows, frames, hidden)`, under autocast in its type.
    """
    return _ShortConvolution.apply(tokens, weight)


class _ShortConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        device = tokens.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tokens.dtype
        outputs, size, kernel = weight.shape
        groups, frames = outputs // size, tokens.shape[1]
        # Taps by distance: -(frames - 1) ... frames - 1 frames from the output.
        before = frames - 1 - kernel // 2
        padding = (before, 2 * frames - 1 - kernel - before)
        taps = functional.pad(weight.to(dtype), padding).contiguous()
        reach = taps.shape[2]
        # Output frames in reversed order: element (o, t, i, s) of the matrix is the tap (o, i) at t + s.
        strides = (size * size * reach, size * reach, 1, reach, 1)
        matrix = taps.as_strided((groups, size, frames, size, frames), strides)
        matrix = matrix.reshape(groups, size * frames, size * frames)
        signal = _by_group(tokens.to(dtype), groups)
        ctx.save_for_backward(signal, matrix)
        ctx.padding, ctx.types = padding, (tokens.dtype, weight.dtype)
        return _by_frame(torch.bmm(signal, matrix.mT), frames).flip(1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        signal, matrix = ctx.saved_tensors
        groups, frames = len(matrix), gradient.shape[1]
        size = matrix.shape[1] // frames
        gradient = _by_group(gradient.flip(1).to(matrix.dtype), groups)
        of_tokens = _by_frame(torch.bmm(gradient, matrix), frames).to(ctx.types[0])
        products = torch.bmm(gradient.mT, signal).view(groups, size, frames, size, frames)
        taps = torch.zeros(groups, size, size, 2 * frames - 1, dtype=ctx.types[1], device=gradient.device)
        # Sum over the diagonals, a frame at a time: a quarter of the time of moving them side by side.
        for frame in range(frames):
            taps[..., frame : frame + frames] += products[:, :, frame]
        before, after = ctx.padding
        return of_tokens, functional.pad(taps.flatten(0, 1), (-before, -after))


def _by_group(tokens: torch.Tensor, groups: int) -> torch.Tensor:
    """Map `(windows, frames, hidden)` to `(groups, windows, size * frames)`."""
    return tokens.unflatten(2, (groups, -1)).permute(2, 0, 3, 1).flatten(2)


def _by_frame(signal: torch.Tensor, frames: int) -> torch.Tensor:
    """Map `(groups, windows, size * frames)` to `(windows, frames, hidden)`."""
    return signal.unflatten(2, (-1, frames)).permute(1, 3, 0, 2).flatten(2)

"""Operations that are unknown here: their name here if they are the same, else whose they are."""

from __future__ import annotations

import re

from nasbench_snas.architecture.operations import known_operations

_SAME = {
    "zero": "none",
    "zeroize": "none",
    "identity": "skip_connect",
    "skip": "skip_connect",
    "skipconnection": "skip_connect",
    "norconv1x1": "conv_1x1",
    "norconv3x3": "conv_3x3",
    "maxpooling3x3": "max_pool_3x3",
    "avgpooling3x3": "avg_pool_3x3",
    "averagepool3x3": "avg_pool_3x3",
    "sepconv3": "sep_conv_3x3",
    "sepconv5": "sep_conv_5x5",
    "dilconv3": "dil_conv_3x3",
    "dilconv5": "dil_conv_5x5",
}
"""Letters and digits of another name of the same operation."""

_ELSEWHERE = (
    (r"tanh|relu|sigmoid", "the recurrent cells of DARTS, for language models"),
    (r"conv[13]x[13]-bn-relu|maxpool3x3|input|output", "NAS-Bench-101"),
    (
        r"conv_3x1_1x3|conv_1x3_3x1|(?:max|avg)_pool_[57]x[57]|conv_1x7_7x1|dil_\d.*",
        "NASNet and PNAS",
    ),
    (r"conv_5x5|null|same", "NAT (Guo et al. 2019)"),
    (
        r"(?:mb|ir_|inverted|k\d_e|MBConv|mbconv).*",
        "mobile block spaces such as ProxylessNAS and FBNet",
    ),
    (r"(?:res|resdil|dil)conv_\dx\d|denseblocks.*", "spaces for image restoration such as RUAS"),
    (r"simple_conv.*|bottleneck.*", "spaces of residual blocks"),
)
"""Pattern of an operation that no genotype here can hold, and the spaces that have it."""


def about(name: str) -> str:
    """Return what is known of the unknown operation ``name``, and the known ones.

    Only a true alias is suggested: the same operation under another name, never a similar name.
    """
    known = f"Known: {', '.join(sorted(known_operations()))}"
    letters = _letters(name)
    own = {_letters(operation): operation for operation in known_operations()}
    if (same := own.get(letters) or _SAME.get(letters)) is not None:
        return f"The same operation is {same!r} here.  {known}"
    for pattern, where in _ELSEWHERE:
        if re.fullmatch(pattern, name):
            return f"It belongs to {where}, which cannot be built here.  {known}"
    return f"No space known here has it.  {known}"


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name[:100].lower())

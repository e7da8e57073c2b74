"""What literal secrets look like, wherever they stand."""

from __future__ import annotations

import re

HIDDEN = "(hidden)"

_SHAPES = (
    re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    re.compile(
        r"(?i)[?&;](sig|x-amz-signature|x-goog-signature|x-amz-security-token|access_token|api_?key|token|subscription-key)=(?!\$\{)[^&\s]"
    ),
    re.compile(r"(?i)\b(bearer|basic)\s+(?!\$\{)(?=\S*[0-9=])[A-Za-z0-9+/_.~=-]{6,}"),
    re.compile(r"(?i)\b(AccountKey|SharedAccessSignature)=(?!\$\{)\S"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}|xox[abp]-[\w-]{10,}|AIza[\w-]{35}|hf_[A-Za-z0-9]{30,})"),
    re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    re.compile(r"(?i)\b[a-z][a-z0-9+.-]*://[^/\s:@]*:(?!\$\{)[^/\s@]+@"),
)


def has_secret_shape(text: str) -> bool:
    return any(shape.search(text) for shape in _SHAPES)

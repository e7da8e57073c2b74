"""Secrets out of hrefs and texts, before they enter any object, message, log line or table.

Rules: Azure SAS (learn.microsoft.com, "Create a service SAS"), AWS SigV4 and V2 query authentication, Google signed URLs,
CloudFront signed URLs, and the token parameters that STAC providers are known to use.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

REDACTED = "REDACTED"

_SAS = "sig|se|sp|sv|st|sr|spr|sip|srt|ss|ske|skoid|sks|skt|sktid|skv|ses|sdd"
_NAMED = (
    r"x-amz-[a-z0-9-]+|x-goog-[a-z0-9-]+|x-ms-[a-z0-9-]+|awsaccesskeyid|googleaccessid|signature|expires|policy|key-pair-id"
    r"|[a-z0-9_.-]*(?:token|secret|passw(?:or)?d|api[-_]?key|subscription[-_]?key|access[-_]?key|auth|authorization|credentials?|jwt)"
)
_SECRET_PARAMETER = re.compile(rf"(?:{_SAS}|{_NAMED})", re.IGNORECASE)

_ENCODED_NAME = re.compile(r"([?&;])([^=&;\s?\"'<>%]*%[^=&;\s?\"'<>]*)=[^\s&;\"'<>]+")
"""`s%69g=...`: a parameter whose name is hidden by encoding."""

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), REDACTED),
    # user info; a password may hold `@`, a host may not: greedy up to the last one
    (re.compile(r"(?!\babfss?:)(\b[a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/?#\"'<>]*@"), r"\1"),
    # abfs://container@account is no user info, unless it has a password
    (re.compile(r"(\babfss?://[^\s/?#\"'<>:@]*):[^\s/?#\"'<>]*@"), r"\1@"),
    (re.compile(rf"((?:[?&;]|%3F|%26|%253F|%2526)(?:{_SAS}|{_NAMED})(?:=|%3D|%253D))[^\s&;\"'<>]+", re.IGNORECASE), rf"\1{REDACTED}"),
    (re.compile(r"\b((?:x-(?:amz|goog|ms)-[a-z0-9-]+|sig|signature)(?:=|%3D))[^\s&;\"'<>]+", re.IGNORECASE), rf"\1{REDACTED}"),
    (re.compile(r"\b((?:bearer|basic|sharedkey|sharedaccesssignature|aws4-hmac-sha256)\s+)[^\s\"',}]+", re.IGNORECASE), rf"\1{REDACTED}"),
    (
        re.compile(
            r"\b((?:[a-z0-9_-]*(?:authorization|api[-_]?key|subscription[-_]?key|access[-_]?key(?:[-_]?id)?|account[-_]?key|token|secret"
            r"|passw(?:or)?d|set-cookie|cookie))[\"']?\s*[:=]\s*[\"']?)(?!(?:bearer|basic)\s+REDACTED)[^\s\"',}&;]+",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"\b(?:AKIA|ASIA|AIDA|AROA)[A-Z0-9]{12,}\b"), REDACTED),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?"), REDACTED),
    (re.compile(r"\bAIza[A-Za-z0-9_-]{20,}"), REDACTED),
)


def canonical_href(href: str) -> str:
    """The href that may be stored: no user info, no signature or token, no fragment; a harmless query stays as it is spelled."""
    try:
        parts = urlsplit(href)
    except ValueError:
        # not a URL at all (e.g. a broken IPv6 host): what cannot be parsed is masked as text
        return redact(href)
    if not parts.scheme or not parts.netloc:
        return _bare(href)
    if parts.scheme not in ("http", "https"):
        # in an object's key `#` is a letter
        return _bare(redact(href))
    query = "&".join(filter(_harmless, parts.query.split("&"))) if parts.query else ""
    return urlunsplit(SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


def _bare(href: str) -> str:
    """A path, relative or absolute: `#` may be part of a file's name, a signed query may not."""
    path, mark, query = href.partition("?")
    kept = "&".join(filter(_harmless, query.split("&")))
    return path + (mark + kept if kept else "")


def _harmless(parameter: str) -> bool:
    name, _, value = parameter.partition("=")
    name, value = _decoded(name), _decoded(value)
    if _SECRET_PARAMETER.fullmatch(name.strip()):
        return False
    if name.lower() == "key" and not re.search(r"[/.]", value):
        # `key=` is an API key (Google, Azure) unless it names a file
        return False
    # a URL inside the query may be signed itself
    return redact(f"?{value}") == f"?{value}" and redact(value) == value


def _decoded(text: str) -> str:
    """As often as it was encoded: a URL in a query in a URL is encoded twice."""
    while (once := unquote(text)) != text:
        text = once
    return text


def redact(text: str) -> str:
    """`text` with user info, signatures, tokens, authorization headers and access keys masked. Idempotent."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return _ENCODED_NAME.sub(_masked_if_secret, text)


def _masked_if_secret(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}={REDACTED}" if _SECRET_PARAMETER.fullmatch(_decoded(found[2])) else found[0]

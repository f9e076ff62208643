"""What a lock has in Redis, and the scripts that change it.

Each call is one script, which the server carries out as a whole. A lock has up to three keys, which
a cluster keeps together, since the braces name what their slot is computed from:

===========================  ====================================================================
``{backofflock:NAME}``       The token of the grant. Expires with it.
``{backofflock:NAME}:last``  The last fence of the last grant. Expires a day after that.
``{backofflock:NAME}:TOKEN`` Token `TOKEN` was released while an acquire of it might be on its way:
``:gone``                    ``1`` if it had the lock, else ``0``. Expires after a minute.
===========================  ====================================================================

A fence is the last fence and one; where there is none, the server's clock in microseconds and one.
Grants do not come as fast as microseconds, so the clock is always ahead: the fence grows when the
clock is set back, and also when the server has forgotten everything. A grant brings a block of
fences, for the next holders in its process; who asks for it again is told the same block, since
nobody else can have had a grant in between.
"""

from __future__ import annotations

from hashlib import sha1
from math import ceil

__all__ = [
    "ACQUIRE",
    "BLOCK",
    "PREFIX",
    "RELEASE",
    "RENEW",
    "Command",
    "Form",
    "Script",
    "checked_prefix",
    "for_seconds",
    "to_end",
]

Command = tuple[int | bytes, ...]
"""The number of keys, the keys, and the arguments of a script."""

PREFIX = "backofflock:"

BLOCK = 32
"""Fences of one grant: so often it changes hands, for the two requests that it takes. These take
more microseconds than that, so the fences do not run ahead of the clock."""

REMEMBERED = 60_000
"""Milliseconds for which a released token is refused.

It has to outlast what is still under way for the token: acquires that were given up after some
seconds, and that a network delivers late or a server that hung gets to at last. One that comes even
later takes the lock for a holder that is gone, until the ttl is over; two never have it.
"""

KEPT = 86_400_000
"""Milliseconds for which the last fence outlives its grant: how far back a clock may be set."""

LONGEST = 10**15
"""Milliseconds of the longest ttl that the server is told, some 30 thousand years."""


class Form:
    """One of the two commands that have a script carried out."""

    def __init__(self, *words: str) -> None:
        self.words = words
        self._packed = _packed([word.encode() for word in words])

    def request(self, command: Command) -> bytes:
        """Return what is sent, in Redis' protocol: clients take longer to find it."""
        words = [word if isinstance(word, bytes) else b"%d" % word for word in command]
        return b"*%d\r\n%b%b" % (len(self.words) + len(words), self._packed, _packed(words))


class Script:
    """What the server runs. Its keys are those of a lock, its first argument is the token."""

    def __init__(self, text: str) -> None:
        self.known = Form("EVALSHA", sha1(text.encode(), usedforsecurity=False).hexdigest())
        """For a server that has run it before."""
        self.whole = Form("EVAL", text)


def _packed(words: list[bytes]) -> bytes:
    return b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


ACQUIRE = Script(f"""
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  local last = redis.call('GET', KEYS[2])
  if last then return last - {BLOCK - 1} end
end
local last = redis.call('INCRBY', KEYS[2], {BLOCK})
if last == {BLOCK} then
  local time = redis.call('TIME')
  last = redis.call('INCRBY', KEYS[2], string.format('%.0f', time[1] * 1000000 + time[2]))
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return last - {BLOCK - 1}
""")

RENEW = Script("""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
""")

RELEASE = Script("""
local had = redis.call('GET', KEYS[1]) == ARGV[1] and redis.call('DEL', KEYS[1]) or 0
if ARGV[2] == '0' then return had end
if had == 0 then had = tonumber(redis.call('GET', KEYS[3]) or 0) end
redis.call('SET', KEYS[3], had, 'PX', ARGV[2])
return had
""")


def checked_prefix(prefix: str) -> str:
    """Return a prefix with which the keys of every name are in one slot of a cluster."""
    if not isinstance(prefix, str) or not prefix or "{" in prefix or "}" in prefix:
        raise ValueError(f"prefix must be a str, not empty and without braces, not {prefix!r}")
    return prefix


def for_seconds(ttl: float, prefix: str, name: str, token: str) -> Command:
    """Return what `ACQUIRE` and `RENEW` are called with."""
    # Rounded up: the server must not be the first to see it end.
    asked = ceil(min(ttl * 1000, LONGEST))
    return (*_keys_and_token(prefix, name, token), asked, asked + KEPT)


def to_end(prefix: str, name: str, token: str, overtakes: bool) -> Command:
    """Return what `RELEASE` is called with; `overtakes`: it may get there before an acquire."""
    return (*_keys_and_token(prefix, name, token), REMEMBERED if overtakes else 0)


def _keys_and_token(prefix: str, name: str, token: str) -> Command:
    lock = f"{{{prefix}{name}}}".encode("utf-8", "surrogatepass")
    word = token.encode("utf-8", "surrogatepass")
    return (3, lock, lock + b":last", lock + b":" + word + b":gone", word)

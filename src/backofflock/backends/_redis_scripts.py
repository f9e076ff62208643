"""What a lock has in Redis, and the scripts that change it.

Each call is one script, which the server carries out as a whole. A lock has up to three keys, which
a cluster keeps together, since the braces name what their slot is computed from:

===========================  ====================================================================
``{backofflock:NAME}``       ``FENCE TOKEN`` of the grant. Expires with it.
``{backofflock:NAME}:last``  The last fence of it. Expires a day after the last grant.
``{backofflock:NAME}:TOKEN`` Token `TOKEN` was released: ``1`` if it had the lock, else ``0``.
``:gone``                    Expires after a minute.
===========================  ====================================================================

A fence is the server's clock in microseconds, or the last fence and one if that is more. So it
grows when the clock is set back, and also when the server has forgotten everything. A grant brings
a block of fences, for the next holders in its process.
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
    "Script",
    "checked_prefix",
    "for_seconds",
    "to_end",
]

Command = tuple[int | bytes, ...]
"""The number of keys, the keys, and the arguments of a script."""

PREFIX = "backofflock:"

BLOCK = 32
"""Fences of one grant: so often it changes hands, for the two requests that it takes. They last for
more microseconds than these are fences, so that the fences do not run ahead of the clock."""

REMEMBERED = 60_000
"""Milliseconds for which a released token is refused.

It has to outlast what is still under way for the token: requests that were given up after some
seconds, and that a network delivers late or a server that hung gets to at last. One that comes even
later takes the lock for a holder that is gone, until the ttl is over; two never have it.
"""

KEPT = 86_400_000
"""Milliseconds for which the last fence outlives its grant: how far back a clock may be set."""

LONGEST = 10**15
"""Milliseconds of the longest ttl that the server is told, some 30 thousand years."""


class Script:
    """What the server runs. Its keys are those of a lock, its first argument is the token."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()
        self._begin = _words([b"EVALSHA", self.sha.encode()])

    def request(self, command: Command) -> bytes:
        """Return what is sent to have it carried out, in Redis' protocol: clients take longer."""
        words = [word if isinstance(word, bytes) else b"%d" % word for word in command]
        return b"*%d\r\n%b%b" % (len(words) + 2, self._begin, _words(words))


def _words(words: list[bytes]) -> bytes:
    return b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


ACQUIRE = Script(f"""
local lock, last, gone, token, ttl, kept = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], ARGV[3]
local value = redis.call('GET', lock)
if value then
  local fence, holder = string.match(value, '^(%d+) (.*)$')
  if holder ~= token then return 0 end
  redis.call('PEXPIRE', lock, ttl)
  return tonumber(fence)
end
if redis.call('EXISTS', gone) == 1 then return 0 end
local time = redis.call('TIME')
local fence = math.max(time[1] * 1000000 + time[2], (redis.call('GET', last) or 0) + 1)
redis.call('SET', lock, string.format('%.0f ', fence) .. token, 'PX', ttl)
redis.call('SET', last, string.format('%.0f', fence + {BLOCK - 1}), 'PX', kept)
return fence
""")

RENEW = Script("""
local value = redis.call('GET', KEYS[1])
if not value or string.match(value, '^%d+ (.*)$') ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return 1
""")

RELEASE = Script("""
local value = redis.call('GET', KEYS[1])
if value and string.match(value, '^%d+ (.*)$') == ARGV[1] then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[3], '1', 'PX', ARGV[2])
  return 1
end
local had = redis.call('GET', KEYS[3])
if had then return tonumber(had) end
redis.call('SET', KEYS[3], '0', 'PX', ARGV[2])
return 0
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


def to_end(prefix: str, name: str, token: str) -> Command:
    """Return what `RELEASE` is called with."""
    return (*_keys_and_token(prefix, name, token), REMEMBERED)


def _keys_and_token(prefix: str, name: str, token: str) -> Command:
    lock = f"{{{prefix}{name}}}".encode("utf-8", "surrogatepass")
    word = token.encode("utf-8", "surrogatepass")
    return (3, lock, lock + b":last", lock + b":" + word + b":gone", word)

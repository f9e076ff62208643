"""Faulty backends: each breaks one promise, so that the contract can be seen to catch it."""

from __future__ import annotations

import threading
import time
import unicodedata
from math import inf

import anyio

from backofflock import AsyncBackend, Busy, Grant
from backofflock.leases import clock

from .memory import Hold, MemoryBackend, Place


class GrantsToAnybody(MemoryBackend):
    """It has a lock for everyone."""

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        self.place.holds.pop(name, None)
        return super().try_acquire(name, token, ttl)


class KeepsToItself(MemoryBackend):
    """No other process hears of its locks."""

    def __init__(self, place: Place) -> None:
        super().__init__(Place())


class ForgetsItsHolder(MemoryBackend):
    """It tells the holder who asks again that the lock is taken: by whom?"""

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        if self._hold(name) is not None:
            return Busy()
        return super().try_acquire(name, token, ttl)


class CountsEveryRequest(MemoryBackend):
    """Its fence is that of the request, not that of the grant."""

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        answer = super().try_acquire(name, token, ttl)
        if isinstance(answer, Busy):
            return answer
        self.place.fence += 1
        return Grant(self.place.fence, answer.ttl)


class MovesItsBlock(MemoryBackend):
    """Its holder who asks again gets more fences than before."""

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        answer = super().try_acquire(name, token, ttl)
        if isinstance(answer, Busy):
            return answer
        self.place.fence += 10
        return Grant(answer.fence, answer.ttl, self.place.fence)


class GivesItsBlockTwice(MemoryBackend):
    """It promises ten fences, and the next grant has the second of them."""

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        answer = super().try_acquire(name, token, ttl)
        if isinstance(answer, Busy):
            return answer
        return Grant(answer.fence, answer.ttl, answer.fence + 9)


class GivesAnEmptyBlock(MemoryBackend):
    """Its block ends before it begins."""

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        answer = super().try_acquire(name, token, ttl)
        if isinstance(answer, Busy):
            return answer
        return Grant(answer.fence, answer.ttl, answer.fence - 1)


class LooksThenTakes(MemoryBackend):
    """Between its look and its taking the lock another may look."""

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        hold = self._hold(name)
        if (name, token) in self.place.released or (hold is not None and hold.token != token):
            return Busy()
        time.sleep(0.001)
        if hold is None:
            self.place.fence += 1
            hold = self.place.holds[name] = Hold(token, self.place.fence, clock() + ttl)
        return Grant(hold.fence, ttl)


class RepeatsWithoutProlonging(MemoryBackend):
    """A repeated grant promises a whole ttl, and ends with the first."""

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        hold = self._hold(name)
        until = 0.0 if hold is None else hold.until
        answer = super().try_acquire(name, token, ttl)
        if hold is not None:
            hold.until = until
        return answer


class RenewsForAnybody(MemoryBackend):
    """It asks whether the lock is held, and not by whom."""

    def renew(self, name: str, token: str, ttl: float) -> bool:
        return self._hold(name) is not None


class RenewsWhatIsFree(MemoryBackend):
    """A renewal that comes too late takes the lock again: a lease that was lost comes back."""

    def renew(self, name: str, token: str, ttl: float) -> bool:
        return isinstance(self.try_acquire(name, token, ttl), Grant)


class RenewsNothing(MemoryBackend):
    """It says yes, and leaves the end where it was."""

    def renew(self, name: str, token: str, ttl: float) -> bool:
        hold = self._hold(name)
        return hold is not None and hold.token == token


class AnswersNothing(MemoryBackend):
    """Its renewal returns None."""

    def renew(self, name: str, token: str, ttl: float) -> bool:
        super().renew(name, token, ttl)
        return None  # type: ignore[return-value]


class EndsEarly(MemoryBackend):
    """The lock goes to another while its holder counts on it."""

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        answer = super().try_acquire(name, token, ttl / 2)
        return answer if isinstance(answer, Busy) else Grant(answer.fence, ttl)


class NeverEnds(MemoryBackend):
    """The lock of one that died stays its own."""

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        answer = super().try_acquire(name, token, 1000.0)
        return answer if isinstance(answer, Busy) else Grant(answer.fence, ttl)


class PromisesNoEnd(MemoryBackend):
    """It says that a grant has no end, and ends it."""

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        answer = super().try_acquire(name, token, ttl)
        return answer if isinstance(answer, Busy) else Grant(answer.fence, inf)


class ReleasesForAnybody(MemoryBackend):
    """It asks whether the lock is held, and not by whom."""

    def release(self, name: str, token: str) -> bool:
        hold = self._hold(name)
        return super().release(name, token if hold is None else hold.token)


class ReleasesNothing(MemoryBackend):
    """It says yes, and keeps the lock until its end."""

    def release(self, name: str, token: str) -> bool:
        hold = self._hold(name)
        return hold is not None and hold.token == token


class ReleasesOnce(MemoryBackend):
    """A release that is sent again is an error."""

    def release(self, name: str, token: str) -> bool:
        if (name, token) in self.place.released:
            raise KeyError(token)
        return super().release(name, token)


class IsOfOneThread(MemoryBackend):
    """Only the thread that got the lock can give it back."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._threads: dict[str, int] = {}

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        self._threads[token] = threading.get_ident()
        return super().try_acquire(name, token, ttl)

    def release(self, name: str, token: str) -> bool:
        if self._threads.get(token) != threading.get_ident():
            return False
        return super().release(name, token)


class GrantsWhatWasReleased(MemoryBackend):
    """It remembers no release: a request that is late takes the lock for nobody."""

    def release(self, name: str, token: str) -> bool:
        had_it = super().release(name, token)
        self.place.released.clear()
        return had_it


class RemembersItsHoldersOnly(MemoryBackend):
    """It remembers no release of a token that did not have the lock."""

    def release(self, name: str, token: str) -> bool:
        had_it = super().release(name, token)
        if not had_it:
            self.place.released.discard((name, token))
        return had_it


class IsOvertaken(MemoryBackend):
    """A release between its look and its taking the lock is overlooked."""

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        if (name, token) in self.place.released:
            return Busy()
        time.sleep(0.001)
        with self.place.mutex:
            self.place.released.discard((name, token))
        return super().try_acquire(name, token, ttl)


class FenceStandsStill(MemoryBackend):
    """Every grant has the same fence."""

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        self.place.fence = 0
        return super().try_acquire(name, token, ttl)


class FenceOfEachClient(MemoryBackend):
    """Each process counts its own grants."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._fence = 0

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        is_new = self._hold(name) is None
        answer = super().try_acquire(name, token, ttl)
        self._fence += is_new
        return answer if isinstance(answer, Busy) else Grant(self._fence, ttl)


class _ChangesNames(MemoryBackend):
    def changed(self, name: str) -> str:
        raise NotImplementedError

    def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        return super().try_acquire(self.changed(name), token, ttl)

    def renew(self, name: str, token: str, ttl: float) -> bool:
        return super().renew(self.changed(name), token, ttl)

    def release(self, name: str, token: str) -> bool:
        return super().release(self.changed(name), token)


class IgnoresCase(_ChangesNames):
    """Its names are those of a file system that ignores case."""

    def changed(self, name: str) -> str:
        return name.casefold()


class CutsNames(_ChangesNames):
    """Its names end after 255 characters."""

    def changed(self, name: str) -> str:
        return name[:255]


class StripsNames(_ChangesNames):
    """It strips what is white."""

    def changed(self, name: str) -> str:
        return name.strip()


class NormalizesNames(_ChangesNames):
    """To it, two spellings are one name."""

    def changed(self, name: str) -> str:
        return unicodedata.normalize("NFC", name)


class EndsNamesAtNul(_ChangesNames):
    """Its names are those of C."""

    def changed(self, name: str) -> str:
        return name.partition("\0")[0]


class IsElsewhereForTasks(MemoryBackend):
    """Its native calls are for other locks."""

    def native(self, host: str) -> AsyncBackend:
        return Coroutines(MemoryBackend(Place()))


class FinishesWhenCancelled(MemoryBackend):
    """A call of a task that is cancelled goes on, and takes the lock after its release."""

    def native(self, host: str) -> AsyncBackend:
        return LateCoroutines(self)


class Coroutines:
    """The calls of a backend as coroutines."""

    def __init__(self, backend: MemoryBackend) -> None:
        self._backend = backend

    async def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        return self._backend.try_acquire(name, token, ttl)

    async def renew(self, name: str, token: str, ttl: float) -> bool:
        return self._backend.renew(name, token, ttl)

    async def release(self, name: str, token: str) -> bool:
        return self._backend.release(name, token)


class LateCoroutines(Coroutines):
    """One that is cancelled is carried out when nobody waits for it any more."""

    _late: tuple[str, str, float] | None = None

    async def try_acquire(self, name: str, token: str, ttl: float) -> Grant | Busy:
        try:
            await anyio.sleep(0.002)
        except BaseException:
            self._late = name, token, ttl
            raise
        return await super().try_acquire(name, token, ttl)

    async def release(self, name: str, token: str) -> bool:
        had_it = await super().release(name, token)
        if self._late is not None:
            self._backend.place.released.clear()
            self._backend.try_acquire(*self._late)
            self._late = None
        return had_it

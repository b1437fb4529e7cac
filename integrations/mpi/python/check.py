"""The laws of sync_batch_norm.py on several ranks: what is one rank's error is one on every rank, and a hash of all results, which
integrations/mpi/check compares with that of the Rust and the C program.

mpirun -n 3 python check.py libevenkeel.so        the laws
mpirun -n 3 python check.py libevenkeel.so die    a rank dies in the middle of a pass
"""

import os
import sys

import numpy
from mpi4py import MPI

from sync_batch_norm import Library, MinMaxScaler, RankError, StandardScaler, SyncBatchNorm

COLS, BLOCK, ROWS_A_RANK = 300, 64, 128
comm = MPI.COMM_WORLD
rank, ranks = comm.rank, comm.size


def fnv(*parts):
    """FNV-1a of bytes."""
    of = 0xCBF29CE484222325
    for byte in b"".join(parts):
        of = (of ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return of.to_bytes(8, "little")


def uniform(indices, seed):
    """Numbers from 0 to 1, at random: the Rust and the C program have the same."""
    h = (indices.astype("u8") ^ numpy.uint64(seed << 40)) * numpy.uint64(0x9E3779B97F4A7C15)
    h = (h ^ h >> numpy.uint64(29)) * numpy.uint64(0xBF58476D1CE4E5B9)
    return (h >> numpy.uint64(40)).astype("f4") / numpy.float32(16777216)


def cut(deal, r):
    """Where the rows of a rank begin."""
    rows, pairs = ROWS_A_RANK * ranks, ranks * (ranks + 1)
    if deal == "uneven":
        return rows * r * (r + 1) // pairs
    if deal == "empty":
        return rows * ((r + 1) // 2) // ((ranks + 1) // 2)
    if deal == "one-row":
        return 0 if r == 0 else rows - (ranks - r)
    if deal == "blocks":
        return BLOCK * (rows // BLOCK * r * (r + 1) // pairs)
    return rows // ranks * r


def everywhere(own):
    """The bytes of all ranks, in rank order."""
    return b"".join(comm.allgather(own))


def check_deal(library, deal):
    begin, end = cut(deal, rank), cut(deal, rank + 1)
    at = numpy.arange(begin * COLS, end * COLS).reshape(end - begin, COLS)
    column = numpy.arange(COLS)
    x = numpy.float32(3) * uniform(at, 1) + numpy.float32(100) * (column % 3).astype("f4")
    dy = uniform(at, 2) - numpy.float32(0.5)
    gamma, beta = (uniform(column, seed) - numpy.float32(0.25) for seed in (3, 4))
    running_mean, running_var = numpy.full(COLS, 0.5, "f4"), numpy.ones(COLS, "f4")
    settings = {"momentum": 0.25, "momentum_rule": 2, "unbiased_running_var": 1}
    norm = SyncBatchNorm(library, comm, gamma, beta, **settings)
    y, saved = norm.forward(x, running_mean, running_var)
    assert saved[0] == ROWS_A_RANK * ranks
    dx, dgamma, dbeta = norm.backward(x, dy, saved)

    parts = [everywhere(fnv(y.tobytes(), dx.tobytes()))]
    parts += [array.tobytes() for array in (running_mean, running_var, *saved[1:], dgamma, dbeta)]
    for scaler in StandardScaler(library, COLS), MinMaxScaler(library, COLS):
        scaler.partial_fit(x)
        scaler.merge_ranks(comm)
        parts.append(scaler.to_bytes())
    bits = fnv(*parts)
    assert everywhere(bits) == bits * ranks, deal
    if rank == 0:
        print("bits", deal, f"{int.from_bytes(bits, 'little'):016x}", flush=True)


def fails(what, call, *args):
    """One rank is wrong: an error on every rank."""
    try:
        call(*args)
    except RankError:
        return
    raise AssertionError(f"{what}: no error on rank {rank}")


def check_errors(library):
    odd_one_out = rank + 1 == ranks
    running = numpy.zeros(6, "f4"), numpy.ones(6, "f4")
    norm, x = SyncBatchNorm(library, comm), numpy.ones((4, 6), "f4")
    shorter = running[0][: 5 if odd_one_out else 6]
    fails("a wrong length on one rank", norm.forward, x, shorter, running[1])
    fails("doubles on one rank", norm.forward, x.astype("f8") if odd_one_out else x, *running)
    fails("columns of a wider matrix on one rank", norm.forward, numpy.ones((4, 7), "f4")[:, :6] if odd_one_out else x[::-1], *running)
    if ranks > 1:
        cols = 7 if odd_one_out else 6
        more = numpy.zeros(cols, "f4"), numpy.ones(cols, "f4")
        fails("channels", norm.forward, numpy.ones((4, cols), "f4"), *more)
        other = SyncBatchNorm(library, comm, eps=1e-3 if odd_one_out else 1e-5)
        fails("eps", other.forward, x, *running)
        saved = 100, numpy.zeros(6), numpy.ones(6)
        if odd_one_out:
            fails("passes", norm.backward, x, x, saved)
        else:
            fails("passes", norm.forward, x, *running)
        fails("features", StandardScaler(library, cols).merge_ranks, comm)
        fails("scalers", MinMaxScaler(library, cols).merge_ranks, comm)
    assert not running[0].any() and (running[1] == 1).all()


def main():
    library = Library(sys.argv[1])
    if "die" in sys.argv:
        comm.Barrier()
        if rank == 1:
            os.abort()
        while True:
            check_deal(library, "uneven")
    for deal in "uneven", "empty", "one-row", "blocks", "powers":
        check_deal(library, deal)
    check_errors(library)
    if rank == 0:
        print(ranks, "ranks: every law holds", flush=True)


try:
    main()
except Exception:
    # Others may wait for this rank.
    sys.excepthook(*sys.exc_info())
    comm.Abort(1)

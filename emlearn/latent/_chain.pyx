# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The recursions of Markov chains, compiled: `emlearn.latent._chain_numpy` says what each function does.

The inner loops stand in ``chain_steps.h``; here is what is rare, and what walks through the steps.
"""

import numpy as np

from emlearn.latent import _chain_numpy

from libc.math cimport INFINITY, log
from libc.stddef cimport ptrdiff_t

cdef extern from "chain_steps.h" nogil:
    int first_step(
        const double *start, const double *density, ptrdiff_t stride, double *filtered, double *scale,
        double *low, int K, int n, double flush, double notice, double least, double alive)
    int forward_step(
        const double *before, const double *transition, const double *density, ptrdiff_t stride,
        double *filtered, double *scale, double *low, int K, int n, double flush, double notice, double least,
        double alive)
    int forward_alone(
        double *before, const double *transition, const double *density, ptrdiff_t stride, double *filtered,
        double *scale, int K, int steps, double flush, double notice, double least, double alive, double *mixed,
        int *closer)
    int backward_step(
        const double *transposed, double *density, const double *filtered, const double *scale,
        ptrdiff_t stride, double *ahead, ptrdiff_t ahead_stride, double *beta, ptrdiff_t beta_stride, int K,
        int n)
    int backward_alone(
        const double *transposed, double *density, const double *filtered, const double *scale,
        ptrdiff_t stride, double *ahead, ptrdiff_t ahead_stride, double *beta, int K, int steps,
        double *mixed)
    double unit(double power)
    void tidy(double *u, double *e, int W)
    void load_column(
        const double *column, ptrdiff_t stride, const double *power, int K, int W, double *u, double *e)
    int far_forward(
        const double *before, ptrdiff_t before_stride, const double *before_power, const double *a,
        const double *a_power, const int *range, const double *log_prob, ptrdiff_t log_stride, double *density, double *filtered,
        ptrdiff_t stride, double *power, double *mixed_power, double *scale, double *shift, unsigned char *far,
        int K, int W, int tiny, int steps, double flush, int keep, double *work, int *beyond)
    int far_backward(
        const double *before, ptrdiff_t stride, const double *before_power, const double *mixed,
        const double *mixed_power, const unsigned char *far, const double *a, const double *a_power,
        const int *range, double *posterior, double *seen, ptrdiff_t seen_stride, double *ahead, ptrdiff_t ahead_stride,
        double weight, double *pairs, int K, int W, int tiny, int steps, double flush,
        double *work)
    void viterbi_step(
        const double *before, const double *a, double *best, ptrdiff_t stride, int K, int n)
    int viterbi_alone(
        double *before, const double *a, double *best, ptrdiff_t stride, int K, int steps, double *value)
    ptrdiff_t best_before(const double *best, ptrdiff_t stride, const double *towards, int K)

NAME = "compiled"

cdef double FLUSH = _chain_numpy.FLUSH
cdef double LEAST = _chain_numpy.LEAST
cdef double LOG_NEGLIGIBLE = _chain_numpy.LOG_NEGLIGIBLE
cdef double LEAST_TRANSITION = _chain_numpy.LEAST_TRANSITION
cdef double LEAST_ALIVE = _chain_numpy.LEAST_ALIVE
cdef Py_ssize_t SCREENED_STEPS = 256  # after which a lane alone may turn out to need more
cdef Py_ssize_t MOST_STEPS = 1 << 20  # of a lane alone in one call: an int must hold them


cdef inline ptrdiff_t _stride(double[:, :] rows) noexcept nogil:
    return rows.strides[0] // sizeof(double)


cdef inline Py_ssize_t _alone_from(const Py_ssize_t[::1] n_active) noexcept nogil:
    """First step from which on one sequence is alone."""
    cdef Py_ssize_t t = n_active.shape[0]
    while t > 0 and n_active[t - 1] == 1:
        t -= 1
    return t


def forward(
    double[:, :] log_prob, double[:, :] density, const double[::1] start, const double[:, ::1] transition,
    const Py_ssize_t[::1] n_active, double[:, :] filtered, double[::1] scale, double[::1] shift,
):
    cdef int K = <int>transition.shape[0], W = (K + 3) // 4 * 4, closer = 0, beyond = 0
    cdef int zeros = _zeros(transition), keep = zeros != 0
    cdef Py_ssize_t T = n_active.shape[0], alone = _alone_from(n_active), t = 0, k, lane, n, here = 0, last = 0
    cdef Py_ssize_t n_beyond = 0, steps
    cdef ptrdiff_t stride = _stride(density)
    cdef Py_ssize_t N = n_active[0]
    # Of few observations the making of arrays costs as much as the steps: there is one of each kind.
    cdef double[::1] memory = np.empty(6 * W + K + 3 * N)
    cdef double *work = &memory[0]
    cdef double *before = work + 6 * W
    cdef double *low = before + K
    cdef double *debt = low + N
    cdef double *product = debt + N
    cdef unsigned char[::1] marks = np.zeros(3 * N, dtype=np.uint8)
    cdef unsigned char *is_beyond = &marks[0]
    cdef double notice = FLUSH if keep else 0.0  # without zeros nothing that was flushed comes back
    cdef double alive = LEAST_ALIVE if zeros == 1 else 0.0
    cdef const double *begin
    # First all are flushed; those in which that may have mattered go through once more.
    cdef bint screening = keep
    cdef unsigned char *needs_powers = is_beyond + N
    cdef unsigned char *is_excused = needs_powers + N
    cdef Py_ssize_t[::1] flushed_at = np.empty(N, dtype=np.intp)
    cdef Py_ssize_t n_failed = 0, column
    cdef double log_growth = log(max(1.0, _largest_sum(transition)))
    far = None
    cdef unsigned char[::1] columns = None
    cdef double[:, ::1] power = None, mixed_power = None
    cdef const double[:, ::1] a = None, a_power = None
    cdef const int[:, ::1] range_ = None
    with nogil:
        for lane in range(N):
            flushed_at[lane], debt[lane], product[lane] = -1, log(FLUSH * K), 1.0
        while t < T:
            n, closer, beyond = n_active[t], 0, t >= alone and n_beyond > 0
            if t == 0:
                closer = first_step(
                    &start[0], &density[0, 0], stride, &filtered[0, 0], &scale[0], low, K, <int>n, FLUSH, notice,
                    LEAST, 0.0)
            elif t < alone and n_beyond < n:
                closer = forward_step(
                    &filtered[0, last], &transition[0, 0], &density[0, here], stride, &filtered[0, here],
                    &scale[here], low, K, <int>n, FLUSH, notice, LEAST, alive)
            elif t >= alone and not beyond:
                if is_excused[0] or flushed_at[0] >= 0:
                    notice = 0.0
                for k in range(K):
                    before[k] = filtered[k, last]
                k = forward_alone(
                    before, &transition[0, 0], &density[0, here], stride, &filtered[0, here],
                    &scale[here], K, <int>min(T - t, SCREENED_STEPS if screening else MOST_STEPS), FLUSH, notice, LEAST,
                    alive, work, &closer) - 1
                if screening and flushed_at[0] >= 0:
                    for column in range(here, here + k):
                        _owe(debt, product, scale[column], log_growth)
                t += k
                here += k
                last = here - 1 if k > 0 else last
                low[0] = -1.0
            steps = 1
            if closer or n_beyond > 0:
                for lane in range(n):
                    if not is_beyond[lane] and scale[here + lane] >= LEAST and (
                        low[lane] >= notice or flushed_at[lane] >= 0
                        or not _loses(log_prob, start, transition, filtered, t, last + lane, here + lane)
                    ):
                        continue
                    if is_excused[lane]:
                        continue
                    if screening:
                        if flushed_at[lane] < 0:
                            flushed_at[lane] = t
                        needs_powers[lane] |= not scale[here + lane] >= LEAST
                        continue
                    if columns is None:
                        with gil:
                            far = _chain_numpy.Far.of(np.asarray(transition), len(scale))
                            columns, power, mixed_power, a, a_power = far
                            range_ = _ranges(far.mantissa)
                    steps = min(T - t, MOST_STEPS) if t >= alone and t > 0 else 1
                    begin = &start[0]
                    if t > 0:
                        begin = &filtered[0, last + lane]
                    steps = far_forward(
                        begin, stride if t > 0 else 1, &power[last + lane, 0] if is_beyond[lane] else NULL,
                        &a[0, 0] if t > 0 else NULL, &a_power[0, 0], &range_[0, 0], &log_prob[0, here + lane], _stride(log_prob),
                        &density[0, here + lane], &filtered[0, here + lane], stride, &power[here + lane, 0],
                        &mixed_power[here + lane, 0], &scale[here + lane], &shift[here + lane],
                        &columns[here + lane], K, W, zeros > 1, <int>steps, FLUSH, keep, work, &beyond)
                    n_beyond += beyond - is_beyond[lane]
                    is_beyond[lane] = beyond
            if t + 1 < T and n_beyond > 0:  # a sequence that ends here no longer counts
                for lane in range(n_active[t + 1], n):
                    n_beyond -= is_beyond[lane]
            if screening:
                n_failed = 0
                for lane in range(n):
                    if 0 <= flushed_at[lane] < t:
                        _owe(debt + lane, product + lane, scale[here + lane], log_growth)
                        needs_powers[lane] |= debt[lane] > LOG_NEGLIGIBLE
                    n_failed += needs_powers[lane]
            last = here + steps - 1
            here = last + n
            t += steps
            if screening and (t >= T or n_failed == n):
                screening, n_failed = False, 0
                for lane in range(N):
                    is_excused[lane] = not needs_powers[lane] and not debt[lane] - log(product[lane]) > LOG_NEGLIGIBLE
                    n_failed += not is_excused[lane]
                    flushed_at[lane] = -1
                if n_failed == 0:
                    break
                t, here, last, notice = 0, 0, 0, FLUSH
    return far


def _ranges(mantissa):
    """For each row where its first and its last number other than 0 stand, as multiples of four; (W, 2)."""
    possible = mantissa > 0
    first, last = possible.argmax(axis=1), possible.shape[1] - possible[:, ::-1].argmax(axis=1)
    ranges = np.stack([first // 4 * 4, -(-last // 4) * 4], axis=1)
    return np.where(possible.any(axis=1)[:, None], ranges, 0).astype(np.intc)


cdef inline void _owe(double *debt, double *product, double scale, double log_growth) noexcept nogil:
    """What was flushed weighs at most exp(debt) / product, relative to what was kept.

    Write joint probabilities in units of what is kept as a + e: what is kept, summing to 1, and all that
    descends from what was flushed. A step takes both to (a A) * d and (e A) * d and divides them by the scale
    c = sum (a A) * d. As d <= 1 and rows of A sum to g at most, sum e grows by a factor of g / c at most. It
    never shrinks (c <= g), so that what was flushed first weighs most, and n of them n times that.
    """
    debt[0] += log_growth
    product[0] *= scale
    if product[0] < LEAST:
        debt[0] -= log(product[0])
        product[0] = 1.0


cdef inline bint _loses(
    double[:, :] log_prob, const double[::1] start, const double[:, ::1] transition, double[:, :] filtered,
    Py_ssize_t t, Py_ssize_t before, Py_ssize_t here,
) noexcept nogil:
    """Whether a possible state has probability 0 now."""
    cdef Py_ssize_t j, k
    for k in range(transition.shape[0]):
        if filtered[k, here] > 0 or log_prob[k, here] == -INFINITY:
            continue
        if t == 0:
            if start[k] > 0:
                return True
            continue
        for j in range(transition.shape[0]):
            if filtered[j, before] > 0 and transition[j, k] > 0:
                return True
    return False


cdef inline int _zeros(const double[:, ::1] transition) noexcept nogil:
    """What `_chain_numpy.Zeros` of a matrix is."""
    cdef Py_ssize_t j, k
    cdef int zeros = 0
    for j in range(transition.shape[0]):
        for k in range(transition.shape[1]):
            if transition[j, k] > 0.0 and transition[j, k] < LEAST_TRANSITION:
                return 2
            if not transition[j, k] >= LEAST_TRANSITION:
                zeros = 1
    return zeros


cdef inline double _largest_sum(const double[:, ::1] transition) noexcept nogil:
    """The largest sum of a row."""
    cdef Py_ssize_t j, k
    cdef double most = 0.0, sum_
    for j in range(transition.shape[0]):
        sum_ = 0.0
        for k in range(transition.shape[1]):
            sum_ += transition[j, k]
        most = max(most, sum_)
    return most


def as_numbers(double[:, :] filtered, far):
    cdef const unsigned char[::1] columns = far.columns
    cdef const double[:, ::1] power = far.power
    cdef Py_ssize_t c, k
    with nogil:
        for k in range(filtered.shape[0]):
            for c in range(filtered.shape[1]):
                if columns[c]:
                    filtered[k, c] *= unit(power[c, k])


def backward(
    double[:, :] density, const double[:, ::1] transition, const Py_ssize_t[::1] n_active,
    const double[:, :] filtered, const double[::1] scale, double[:, :] ahead, far=None, weight=None,
):
    cdef int K = <int>transition.shape[0], W = (K + 3) // 4 * 4, steps
    cdef Py_ssize_t T = n_active.shape[0], alone = _alone_from(n_active), t, k, lane, n, after = 0
    cdef Py_ssize_t here = filtered.shape[1], following, n_far
    cdef ptrdiff_t stride = _stride(density)
    cdef Py_ssize_t N = n_active[0], j
    cdef double[::1] memory = np.empty(3 * W + K + K * K + K * N)
    cdef double *mixed = &memory[0]
    cdef double *last = mixed + 3 * W
    cdef double *transposed = last + K
    cdef double *beta = transposed + K * K  # (K, N)
    cdef bint any_far = far is not None, tiny = any_far and far.is_tiny
    cdef const unsigned char[::1] columns = None
    cdef const double[:, ::1] power = None, mixed_power = None, a = None, a_power = None
    cdef double[:, ::1] pairs = None, posterior = None, seen = None
    cdef unsigned char[::1] known = None  # whether `posterior` stands for `beta`
    cdef double[::1] lane_weight = None
    cdef const int[:, ::1] range_ = None
    if any_far:
        columns, power, mixed_power, a, a_power = far
        a, a_power = np.ascontiguousarray(far.mantissa.T), np.ascontiguousarray(far.exponent.T)
        range_ = _ranges(far.mantissa.T)
        pairs, posterior, seen = np.zeros((W, W)), np.zeros((n_active[0], W)), np.empty((n_active[0], W))
        known = np.zeros(n_active[0], dtype=np.uint8)
        lane_weight = np.ones(n_active[0]) if weight is None else np.ascontiguousarray(weight[: n_active[0]])
    with nogil:
        for k in range(K):
            last[k] = 1.0
            for j in range(K):
                transposed[k * K + j] = transition[j, k]
            for lane in range(N):
                beta[k * N + lane] = 1.0
        t = T
        if alone < T:  # the end of the longest sequence, without the first of these steps
            here -= 1
            t -= 1
            for k in range(K):
                ahead[k, here] = 0.0
            while t > alone:
                steps = _run(columns, any_far, here, min(t - alone, MOST_STEPS))
                if any_far and columns[here]:
                    if not known[0]:
                        known[0] = True
                        for k in range(K):
                            posterior[0, k] = filtered[k, here] * unit(power[here, k]) * last[k]
                    far_backward(
                        &filtered[0, here - 1], stride, &power[here - 1, 0], &density[0, here],
                        &mixed_power[here, 0], &columns[here - 1], &a[0, 0], &a_power[0, 0],
                        &range_[0, 0], &posterior[0, 0], &density[0, here], stride, &ahead[0, here - 1], _stride(ahead),
                        lane_weight[0], &pairs[0, 0], K, W, tiny, steps, FLUSH, mixed)
                    t -= steps
                    here -= steps
                    continue
                if any_far and known[0]:
                    known[0] = False
                    for k in range(K):
                        last[k] = posterior[0, k] / filtered[k, here] if filtered[k, here] > 0 else 0.0
                t -= steps
                here -= steps
                backward_alone(
                    transposed, &density[0, here + 1], &filtered[0, here + 1], &scale[here + 1], stride,
                    &ahead[0, here], _stride(ahead), last, K, steps, mixed)
            for k in range(K):
                beta[k * N] = last[k]
            after = 1
        for t in range(t - 1, -1, -1):
            n = n_active[t]
            following = here
            here -= n
            if after > 0:
                n_far = 0
                if any_far:
                    for lane in range(after):
                        n_far += columns[following + lane]
                        if columns[following + lane]:
                            for k in range(K):
                                if not known[lane]:
                                    posterior[lane, k] = (
                                        filtered[k, following + lane] * unit(power[following + lane, k])
                                        * beta[k * N + lane])
                                beta[k * N + lane] = 0.0  # for the step of all lanes, which is not this one's
                            far_backward(
                                &filtered[0, here + lane], stride, &power[here + lane, 0],
                                &density[0, following + lane], &mixed_power[following + lane, 0],
                                &columns[here + lane], &a[0, 0], &a_power[0, 0], &range_[0, 0], &posterior[lane, 0], &seen[lane, 0],
                                1, &ahead[0, here + lane], _stride(ahead), lane_weight[lane], &pairs[0, 0], K, W, tiny, 1,
                                FLUSH, mixed)
                        elif known[lane]:
                            for k in range(K):
                                beta[k * N + lane] = (
                                    posterior[lane, k] / filtered[k, following + lane]
                                    if filtered[k, following + lane] > 0 else 0.0)
                if n_far < after:
                    backward_step(
                        transposed, &density[0, following], &filtered[0, following], &scale[following],
                        stride, &ahead[0, here], _stride(ahead), beta, N, K, <int>after)
                if any_far:
                    for lane in range(after):
                        known[lane] = columns[following + lane]
                        if known[lane]:
                            for k in range(K):
                                density[k, following + lane] = seen[lane, k]
            for k in range(K):  # sequences that end here
                for lane in range(after, n):
                    ahead[k, here + lane] = 0.0
            after = n
        for k in range(K):
            for lane in range(after):
                if any_far and known[lane]:
                    density[k, lane] = posterior[lane, k]
                elif any_far and columns[lane]:
                    density[k, lane] = filtered[k, lane] * unit(power[lane, k]) * beta[k * N + lane]
                else:
                    density[k, lane] = filtered[k, lane] * beta[k * N + lane] if filtered[k, lane] > 0 else 0.0
    return np.asarray(pairs)[:K, :K].T if any_far else None


cdef inline int _run(const unsigned char[::1] columns, bint any_far, Py_ssize_t here, Py_ssize_t most) noexcept nogil:
    """How many columns up to this one are of its kind, at most so many."""
    cdef Py_ssize_t n = 1
    if not any_far:
        return <int>most
    while n < most and columns[here - n] == columns[here]:
        n += 1
    return <int>n


def viterbi(
    double[:, :] log_prob, const double[::1] log_start, const double[:, ::1] log_transition,
    const Py_ssize_t[::1] n_active, Py_ssize_t[::1] path,
):
    cdef int K = <int>log_transition.shape[0], steps
    cdef Py_ssize_t T = n_active.shape[0], alone = max(_alone_from(n_active), 1), t = 1, k, lane, n
    cdef Py_ssize_t here, last = 0, after = 0, following
    cdef ptrdiff_t stride = _stride(log_prob)
    cdef double[::1] value = np.empty(K), before = np.empty(K)
    cdef const double[:, ::1] towards = np.ascontiguousarray(np.asarray(log_transition).T)
    joint = np.empty(n_active[0])
    cdef double[::1] log_joint = joint
    with nogil:
        here = n_active[0]
        for k in range(K):
            for lane in range(n_active[0]):
                log_prob[k, lane] += log_start[k]
        while t < T:
            n, steps = n_active[t], 1
            if t < alone:
                viterbi_step(
                    &log_prob[0, last], &log_transition[0, 0], &log_prob[0, here], stride, K, <int>n)
            else:
                for k in range(K):
                    before[k] = log_prob[k, last]
                steps = <int>min(T - t, MOST_STEPS)
                viterbi_alone(
                    &before[0], &log_transition[0, 0], &log_prob[0, here], stride, K, steps, &value[0])
            last = here + (steps - 1)
            here = last + n
            t += steps
        for t in range(T - 1, -1, -1):
            n = n_active[t]
            following = here
            here -= n
            for lane in range(after):
                k = path[following + lane]
                path[here + lane] = best_before(&log_prob[0, here + lane], stride, &towards[k, 0], K)
            for lane in range(after, n):  # sequences that end here
                k = _best(log_prob, here + lane)
                path[here + lane] = k
                log_joint[lane] = log_prob[k, here + lane]
            after = n
    return joint


cdef inline Py_ssize_t _best(double[:, :] log_prob, Py_ssize_t column) noexcept nogil:
    """The state with the largest value, the first of equals."""
    cdef Py_ssize_t j, best = 0
    for j in range(1, log_prob.shape[0]):
        if log_prob[j, column] > log_prob[best, column]:
            best = j
    return best


def draw_paths(
    const double[:, :] filtered, const double[:, ::1] transition, const Py_ssize_t[::1] n_active,
    const double[::1] uniform, Py_ssize_t[::1] path, far=None,
):
    cdef Py_ssize_t K = transition.shape[0], T = n_active.shape[0], t, k, lane, n, after = 0, state
    cdef Py_ssize_t here = path.shape[0], following
    cdef double[::1] cumulative = np.empty(K), odds = np.empty(K + 3), exponent = np.empty(K + 3)
    cdef double level, top
    cdef bint any_far = far is not None
    cdef const unsigned char[::1] columns = None
    cdef const double[:, ::1] power = None, a = None, a_power = None
    if any_far:
        columns, power, _, a, a_power = far
    with nogil:
        for t in range(T - 1, -1, -1):
            n = n_active[t]
            following = here
            here -= n
            for lane in range(n):
                if any_far and columns[following + lane if lane < after else here + lane]:
                    load_column(
                        &filtered[0, here + lane], filtered.strides[0] // sizeof(double),
                        &power[here + lane, 0] if columns[here + lane] else NULL, <int>K, <int>(K + 3) // 4 * 4, &odds[0],
                        &exponent[0])
                    if lane < after:
                        for k in range(K):
                            odds[k] *= a[k, path[following + lane]]
                            exponent[k] += a_power[k, path[following + lane]]
                        tidy(&odds[0], &exponent[0], <int>K)
                    top = -INFINITY
                    for k in range(K):
                        top = max(top, exponent[k])
                    for k in range(K):
                        odds[k] = odds[k] * unit(exponent[k] - top) if top > -INFINITY else 1.0
                else:
                    for k in range(K):
                        odds[k] = filtered[k, here + lane]
                        if lane < after:
                            odds[k] *= transition[k, path[following + lane]]
                level = 0.0
                for k in range(K):
                    level += odds[k]
                    cumulative[k] = level
                level *= uniform[here + lane]
                state = 0
                while state < K - 1 and not cumulative[state] > level:
                    state += 1
                path[here + lane] = state
            after = n

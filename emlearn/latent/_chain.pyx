# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The recursions of Markov chains, compiled: `emlearn.latent._chain_numpy` says what each function does.

The inner loops stand in ``chain_steps.h``; here is what is rare, and what walks through the steps.
"""

import numpy as np

from emlearn.latent import _chain_numpy

from libc.math cimport INFINITY, exp, log

cdef extern from "chain_steps.h" nogil:
    int first_step(
        const double *start, const double *density, ptrdiff_t stride, double *filtered, double *scale, int K,
        int n, double flush, double notice, double least)
    int forward_step(
        const double *before, const double *transition, const double *density, ptrdiff_t stride,
        double *filtered, double *scale, int K, int n, double flush, double notice, double least)
    int forward_alone(
        double *before, const double *transition, const double *density, ptrdiff_t stride, double *filtered,
        double *scale, int K, int steps, double flush, double notice, double least, double *mixed, int *closer)
    void backward_step(
        const double *transposed, double *density, const double *filtered, const double *scale,
        ptrdiff_t stride, double *ahead, ptrdiff_t ahead_stride, double *beta, ptrdiff_t beta_stride, int K,
        int n)
    int backward_alone(
        const double *transposed, double *density, const double *filtered, const double *scale,
        ptrdiff_t stride, double *ahead, ptrdiff_t ahead_stride, double *beta, int K, int steps,
        double *mixed)
    void viterbi_step(
        const double *before, const double *a, double *best, ptrdiff_t stride, int K, int n)
    int viterbi_alone(
        double *before, const double *a, double *best, ptrdiff_t stride, int K, int steps, double *value)
    ptrdiff_t best_before(const double *best, ptrdiff_t stride, const double *towards, int K)

NAME = "compiled"

cdef double FLUSH = _chain_numpy.FLUSH
cdef double LEAST = _chain_numpy.LEAST
cdef double LEAST_EXACT = _chain_numpy.LEAST_EXACT
cdef double LOG_FLUSH = log(FLUSH)
cdef double LOG_NEGLIGIBLE = _chain_numpy.LOG_NEGLIGIBLE
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
    int zeros, double log_growth,
):
    cdef int K = <int>transition.shape[0], closer = 0
    cdef Py_ssize_t T = n_active.shape[0], alone = _alone_from(n_active), t = 0, k, lane, n, here = 0, last = 0
    cdef ptrdiff_t stride = _stride(density)
    cdef double[::1] before = np.empty(K), mixed = np.empty(K)
    cdef double[::1] debt = np.full(n_active[0], -INFINITY)
    inexact = np.zeros(n_active[0], dtype=np.uint8)
    cdef unsigned char[::1] needs_logs = inexact
    cdef bint owes = False
    cdef double notice = FLUSH if zeros else 0.0  # without zeros nothing that was flushed comes back
    with nogil:
        while t < T:
            n = n_active[t]
            if t == 0:
                closer = first_step(
                    &start[0], &density[0, 0], stride, &filtered[0, 0], &scale[0], K, <int>n, FLUSH, notice, LEAST)
            elif t < alone:
                closer = forward_step(
                    &filtered[0, last], &transition[0, 0], &density[0, here], stride, &filtered[0, here],
                    &scale[here], K, <int>n, FLUSH, notice, LEAST)
            else:
                for k in range(K):
                    before[k] = filtered[k, last]
                k = forward_alone(
                    &before[0], &transition[0, 0], &density[0, here], stride, &filtered[0, here],
                    &scale[here], K, 1 if owes else <int>min(T - t, MOST_STEPS), FLUSH, notice, LEAST, &mixed[0],
                    &closer) - 1
                t += k
                here += k
                last = here - 1 if k > 0 else last
            if closer or owes:
                for lane in range(n):
                    if not scale[here + lane] >= LEAST:
                        _do_again(
                            log_prob, density, start, transition, filtered, scale, shift, mixed, debt, t,
                            last, here, lane)
                        if zeros > 1 or 0.0 < scale[here + lane] < LEAST_EXACT:
                            needs_logs[lane] = True
                    if zeros == 0:
                        continue
                    if debt[lane] > -INFINITY:
                        # What was lost weighs at most this, relative to what was kept.
                        debt[lane] += log_growth - log(scale[here + lane])
                        if debt[lane] > LOG_NEGLIGIBLE:
                            needs_logs[lane] = True
                    for k in range(K):
                        if filtered[k, here + lane] == 0 and log_prob[k, here + lane] > -INFINITY and (
                            zeros > 1 or _mixed(start, transition, filtered, t, last + lane, k) > 0
                        ):
                            debt[lane] = max(debt[lane], LOG_FLUSH + log(<double>K))
                            owes = True
                            break
            last = here
            here += n
            t += 1
    return inexact


cdef void _do_again(
    double[:, :] log_prob, double[:, :] density, const double[::1] start, const double[:, ::1] transition,
    double[:, :] filtered, double[::1] scale, double[::1] shift, double[::1] mixed, double[::1] debt,
    Py_ssize_t t, Py_ssize_t last, Py_ssize_t here, Py_ssize_t lane,
) noexcept nogil:
    """Shift a step's log-densities by their maximum over the states that can be reached."""
    cdef Py_ssize_t k, c = here + lane
    cdef double top = -INFINITY, total = 0.0, p
    for k in range(transition.shape[0]):
        mixed[k] = _mixed(start, transition, filtered, t, last + lane, k)
        if mixed[k] > 0 and log_prob[k, c] > top:
            top = log_prob[k, c]
    for k in range(transition.shape[0]):
        density[k, c] = exp(log_prob[k, c] - top) if mixed[k] > 0 and top > -INFINITY else 0.0
        filtered[k, c] = mixed[k] * density[k, c]
        total += filtered[k, c]
    for k in range(transition.shape[0]):
        p = filtered[k, c] / total if total > 0 else 0.0
        filtered[k, c] = 0.0 if p < FLUSH else p
    scale[c] = total
    if debt[lane] > -INFINITY:
        debt[lane] += shift[c] - top
    shift[c] = top


cdef inline double _mixed(
    const double[::1] start, const double[:, ::1] transition, double[:, :] filtered, Py_ssize_t t,
    Py_ssize_t before, Py_ssize_t k,
) noexcept nogil:
    """Probability of state k at step t before its observation is seen."""
    cdef Py_ssize_t j
    cdef double sum = 0.0
    if t == 0:
        return start[k]
    for j in range(transition.shape[0]):
        sum += filtered[j, before] * transition[j, k]
    return sum


def backward(
    double[:, :] density, const double[:, ::1] transition, const Py_ssize_t[::1] n_active,
    const double[:, :] filtered, const double[::1] scale, double[:, :] ahead,
):
    cdef int K = <int>transition.shape[0], steps
    cdef Py_ssize_t T = n_active.shape[0], alone = _alone_from(n_active), t, k, lane, n, after = 0
    cdef Py_ssize_t here = filtered.shape[1], following
    cdef ptrdiff_t stride = _stride(density)
    cdef const double[:, ::1] transposed = np.ascontiguousarray(np.asarray(transition).T)
    cdef double[::1] last = np.ones(K), mixed = np.empty(K)
    cdef double[:, ::1] beta = np.ones((K, n_active[0]))
    with nogil:
        t = T
        if alone < T:  # the end of the longest sequence, without the first of these steps
            here -= 1
            t -= 1
            for k in range(K):
                ahead[k, here] = 0.0
            while t > alone:
                steps = <int>min(t - alone, MOST_STEPS)
                t -= steps
                here -= steps
                backward_alone(
                    &transposed[0, 0], &density[0, here + 1], &filtered[0, here + 1], &scale[here + 1], stride,
                    &ahead[0, here], _stride(ahead), &last[0], K, steps, &mixed[0])
            for k in range(K):
                beta[k, 0] = last[k]
            after = 1
        for t in range(t - 1, -1, -1):
            n = n_active[t]
            following = here
            here -= n
            if after > 0:
                backward_step(
                    &transposed[0, 0], &density[0, following], &filtered[0, following], &scale[following],
                    stride, &ahead[0, here], _stride(ahead), &beta[0, 0], n_active[0], K, <int>after)
            for k in range(K):  # sequences that end here
                for lane in range(after, n):
                    ahead[k, here + lane] = 0.0
            after = n
        for k in range(K):
            for lane in range(after):
                density[k, lane] = filtered[k, lane] * beta[k, lane] if filtered[k, lane] > 0 else 0.0


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
    const double[::1] uniform, Py_ssize_t[::1] path,
):
    cdef Py_ssize_t K = transition.shape[0], T = n_active.shape[0], t, k, lane, n, after = 0, state
    cdef Py_ssize_t here = path.shape[0], following
    cdef double[::1] cumulative = np.empty(K)
    cdef double level, odds
    with nogil:
        for t in range(T - 1, -1, -1):
            n = n_active[t]
            following = here
            here -= n
            for lane in range(n):
                level = 0.0
                for k in range(K):
                    odds = filtered[k, here + lane]
                    if lane < after:
                        odds = odds * transition[k, path[following + lane]]
                    level += odds
                    cumulative[k] = level
                level *= uniform[here + lane]
                state = 0
                while state < K - 1 and not cumulative[state] > level:
                    state += 1
                path[here + lane] = state
            after = n


def in_logs(
    const double[:, ::1] log_prob, const double[::1] log_start, const double[:, ::1] log_transition,
):
    cdef Py_ssize_t T = log_prob.shape[0], K = log_prob.shape[1], t, j, k
    cdef double top, total, evidence
    filtered_out, posterior_out, increments_out = np.empty((T, K)), np.empty((T, K)), np.empty(T)
    pairs_out = np.zeros((K, K))
    cdef double[:, ::1] filtered = filtered_out, posterior = posterior_out, pairs = pairs_out
    cdef double[::1] increments = increments_out
    cdef double[::1] beta = np.zeros(K), ahead = np.empty(K), terms = np.empty(K)
    with nogil:
        for t in range(T):
            for k in range(K):
                if t == 0:
                    filtered[t, k] = log_start[k] + log_prob[t, k]
                else:
                    for j in range(K):
                        terms[j] = filtered[t - 1, j] + log_transition[j, k]
                    filtered[t, k] = _log_sum(terms) + log_prob[t, k]
            increments[t] = _log_sum(filtered[t])
            if increments[t] > -INFINITY:
                for k in range(K):
                    filtered[t, k] -= increments[t]
        for t in range(T - 1, -1, -1):
            if t < T - 1:
                for k in range(K):
                    ahead[k] = log_prob[t + 1, k] + beta[k] - increments[t + 1]
                for j in range(K):
                    for k in range(K):
                        terms[k] = -INFINITY
                        if increments[t + 1] > -INFINITY:
                            terms[k] = log_transition[j, k] + ahead[k]
                            pairs[j, k] += exp(filtered[t, j] + terms[k])
                    beta[j] = _log_sum(terms)
            for k in range(K):
                posterior[t, k] = exp(filtered[t, k] + beta[k]) if increments[t] > -INFINITY else 0.0
    return filtered_out, increments_out, posterior_out, pairs_out


cdef inline double _log_sum(const double[::1] terms) noexcept nogil:
    cdef Py_ssize_t k
    cdef double top = -INFINITY, total = 0.0
    for k in range(terms.shape[0]):
        top = max(top, terms[k])
    if top == -INFINITY:
        return top
    for k in range(terms.shape[0]):
        total += exp(terms[k] - top)
    return top + log(total)

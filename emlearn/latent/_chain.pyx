# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The recursions of Markov chains, compiled: `emlearn.latent._chain_numpy` says what each function does.

The inner loops stand in ``chain_steps.h``; here is what is rare, and what walks through the steps.
"""

import numpy as np

from libc.math cimport INFINITY, exp, log
from libc.stdint cimport int64_t

cdef extern from "chain_steps.h" nogil:
    int forward_step(
        const double *before, ptrdiff_t before_stride, int is_first, const double *transition,
        const double *density, ptrdiff_t stride, double *filtered, double *scale, int K, int n,
        double flush, double least, double *scratch)
    void backward_step(
        const double *transposed, double *density, const double *filtered, const double *scale,
        ptrdiff_t stride, double *ahead, ptrdiff_t ahead_stride, double *beta, ptrdiff_t beta_stride, int K, int n, double *scratch)
    void viterbi_step(
        const double *before, const double *log_transition, double *best, ptrdiff_t stride, short *origin,
        ptrdiff_t from_stride, int K, int n, double *value, long long *state)

NAME = "compiled"

cdef double FLUSH = 1e-200
cdef double LEAST = 1e-100
cdef double LOG_FLUSH = log(FLUSH)
cdef double LOG_NEGLIGIBLE = -45.0


cdef inline ptrdiff_t _stride(double[:, :] rows) noexcept nogil:
    return rows.strides[0] // sizeof(double)


def forward(
    double[:, :] log_prob, double[:, :] density, const double[::1] start, const double[:, ::1] transition,
    const Py_ssize_t[::1] n_active, double[:, :] filtered, double[::1] scale, double[::1] shift,
    int zeros, double log_growth,
):
    cdef int K = <int>transition.shape[0]
    cdef Py_ssize_t T = n_active.shape[0], t, k, lane, here = 0, last = 0, n
    cdef ptrdiff_t stride = _stride(density)
    cdef double[::1] scratch = np.empty(2 * K)
    cdef double[::1] debt = np.full(n_active[0], -INFINITY)
    inexact = np.zeros(n_active[0], dtype=np.uint8)
    cdef unsigned char[::1] needs_logs = inexact
    cdef bint owes = False
    cdef double mixed, total, top, low
    with nogil:
        for t in range(T):
            n = n_active[t]
            if forward_step(
                &start[0] if t == 0 else &filtered[0, last], stride, t == 0, &transition[0, 0],
                &density[0, here], stride, &filtered[0, here], &scale[here], K, <int>n, FLUSH, LEAST,
                &scratch[0],
            ) or owes:
                for lane in range(n):
                    if not scale[here + lane] >= LEAST:
                        # Density is shifted by its maximum; make that the maximum over reachable states.
                        top = -INFINITY
                        for k in range(K):
                            scratch[k] = _mixed(start, transition, filtered, t, last + lane, k)
                            if scratch[k] > 0 and log_prob[k, here + lane] > top:
                                top = log_prob[k, here + lane]
                        total = 0.0
                        for k in range(K):
                            density[k, here + lane] = 0.0
                            if scratch[k] > 0 and top > -INFINITY:
                                density[k, here + lane] = exp(log_prob[k, here + lane] - top)
                            filtered[k, here + lane] = scratch[k] * density[k, here + lane]
                            total += filtered[k, here + lane]
                        for k in range(K):
                            low = filtered[k, here + lane] / total if total > 0 else 0.0
                            filtered[k, here + lane] = 0.0 if low < FLUSH else low
                        scale[here + lane] = total
                        if debt[lane] > -INFINITY:
                            debt[lane] += shift[here + lane] - top
                        shift[here + lane] = top
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
    return inexact


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
    cdef int K = <int>transition.shape[0]
    cdef Py_ssize_t T = n_active.shape[0], t, k, lane, n, after = 0
    cdef Py_ssize_t here = filtered.shape[1], following
    cdef ptrdiff_t stride = _stride(density)
    cdef const double[:, ::1] transposed = np.ascontiguousarray(np.asarray(transition).T)
    cdef double[::1] scratch = np.empty(K)
    cdef double[:, ::1] beta = np.ones((K, n_active[0]))
    with nogil:
        for t in range(T - 1, -1, -1):
            n = n_active[t]
            following = here
            here -= n
            if after > 0:
                backward_step(
                    &transposed[0, 0], &density[0, following], &filtered[0, following], &scale[following],
                    stride, &ahead[0, here], _stride(ahead), &beta[0, 0], n_active[0], K, <int>after, &scratch[0])
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
    cdef int K = <int>log_transition.shape[0]
    cdef Py_ssize_t T = n_active.shape[0], t, k, lane, n, here = 0, last = 0, after, following, state
    cdef ptrdiff_t stride = _stride(log_prob)
    cdef short[:, ::1] origin = np.empty((K, path.shape[0]), dtype=np.int16)
    cdef double[::1] value = np.empty(K)
    cdef int64_t[::1] index = np.empty(K, dtype=np.int64)
    joint = np.empty(n_active[0])
    cdef double[::1] log_joint = joint
    with nogil:
        for t in range(T):
            n = n_active[t]
            if t == 0:
                for k in range(K):
                    for lane in range(n):
                        log_prob[k, lane] += log_start[k]
            else:
                viterbi_step(
                    &log_prob[0, last], &log_transition[0, 0], &log_prob[0, here], stride,
                    &origin[0, here], path.shape[0], K, <int>n, &value[0], <long long *>&index[0])
            last = here
            here += n
        after = 0
        for t in range(T - 1, -1, -1):
            n = n_active[t]
            following = here
            here -= n
            for lane in range(after):
                path[here + lane] = origin[path[following + lane], following + lane]
            for lane in range(after, n):  # sequences that end here
                state = 0
                for k in range(1, K):
                    if log_prob[k, here + lane] > log_prob[state, here + lane]:
                        state = k
                path[here + lane] = state
                log_joint[lane] = log_prob[state, here + lane]
            after = n
    return joint


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
        for t in range(T):
            for k in range(K):
                filtered[t, k] = exp(filtered[t, k])
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

# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Small matrices, compiled: `emlearn.em._matrices_numpy` says what each function does."""

from libc.math cimport atan2, cos, exp, fabs, log, sin, sqrt

from numpy.linalg import LinAlgError

NAME = "compiled"

cdef enum:
    LARGEST_SIZE = 32

LARGEST = LARGEST_SIZE

cdef double HALF_LOG_2_PI = 0.5 * 1.8378770664093454836


cdef bint root_of(const double *A, int d, double shift, double *L) noexcept nogil:
    """Lower Cholesky factor of A less a multiple of the identity; whether there is one. NaN stays NaN, as with LAPACK."""
    cdef int i, j, k
    cdef double rest
    for i in range(d):
        for j in range(i + 1):
            rest = A[i * d + j]
            if i == j:
                rest -= shift
            for k in range(j):
                rest -= L[i * d + k] * L[j * d + k]
            if i > j:
                L[i * d + j] = rest / L[j * d + j]
            elif rest <= 0.0:
                return False
            else:
                L[i * d + i] = sqrt(rest)
    return True


cdef int refuse() except -1:
    raise LinAlgError("Matrix is not positive definite")


def are_above(const double[:, :, ::1] matrices, double floor, unsigned char[::1] above):
    cdef double L[LARGEST_SIZE * LARGEST_SIZE]
    cdef int d = <int>matrices.shape[1]
    cdef Py_ssize_t c
    for c in range(matrices.shape[0]):
        above[c] = root_of(&matrices[c, 0, 0], d, floor, L)


def inverse_roots(const double[:, :, ::1] matrices, double[:, :, ::1] roots):
    cdef double L[LARGEST_SIZE * LARGEST_SIZE]
    cdef double *W
    cdef double total
    cdef int i, j, k, d = <int>matrices.shape[1]
    cdef Py_ssize_t c
    for c in range(matrices.shape[0]):
        if not root_of(&matrices[c, 0, 0], d, 0.0, L):
            refuse()
        W = &roots[c, 0, 0]
        for i in range(d):  # column i of W is row i of the inverse of L
            for j in range(i):
                total = 0.0
                for k in range(j, i):
                    total += L[i * d + k] * W[j * d + k]
                W[j * d + i] = -total / L[i * d + i]
                W[i * d + j] = 0.0
            W[i * d + i] = 1.0 / L[i * d + i]


def natural(
    const double[:, :, ::1] roots, const double[:, ::1] means, bint quadratic, double[:, ::1] coefficients
):
    cdef double y[LARGEST_SIZE]
    cdef const double *W
    cdef double *out
    cdef double total, at_zero
    cdef int i, j, k, d = <int>means.shape[1]
    cdef Py_ssize_t c, C = roots.shape[0]
    for c in range(means.shape[0]):
        W = &roots[c % C, 0, 0]
        out = &coefficients[c, 0]
        at_zero = -d * HALF_LOG_2_PI
        for i in range(d):
            total = 0.0
            for j in range(i + 1):
                total += W[j * d + i] * means[c, j]
            y[i] = total
            at_zero += log(W[i * d + i]) - 0.5 * total * total
        out[0] = at_zero
        out += 1
        for i in range(d):
            total = 0.0
            for k in range(i, d):
                total += W[i * d + k] * y[k]
            out[i] = total
        out += d
        if quadratic:
            for i in range(d):
                for j in range(i, d):
                    total = 0.0
                    for k in range(j, d):
                        total += W[i * d + k] * W[j * d + k]
                    out[0] = -total if i < j else -0.5 * total
                    out += 1


def products(const double[:, ::1] a, const double[:, ::1] b, double[:, ::1] out):
    cdef int i, j, d = <int>a.shape[1]
    cdef Py_ssize_t c
    cdef double *row
    for c in range(a.shape[0]):
        row = &out[c, 0]
        for i in range(d):
            for j in range(i, d):
                row[0] = 0.5 * (a[c, i] * b[c, j] + a[c, j] * b[c, i])
                row += 1


def log_cholesky(const double[:, :, ::1] matrices, double[:, ::1] coordinates):
    cdef double L[LARGEST_SIZE * LARGEST_SIZE]
    cdef double *out
    cdef int i, j, d = <int>matrices.shape[1]
    cdef Py_ssize_t c
    for c in range(matrices.shape[0]):
        if not root_of(&matrices[c, 0, 0], d, 0.0, L):
            refuse()
        out = &coordinates[c, 0]
        for i in range(d):
            for j in range(i):
                out[j] = L[i * d + j]
            out[i] = log(L[i * d + i])
            out += i + 1


def from_log_cholesky(const double[:, ::1] coordinates, double[:, :, ::1] matrices):
    cdef double L[LARGEST_SIZE * LARGEST_SIZE]
    cdef const double *own
    cdef double total
    cdef int i, j, k, d = <int>matrices.shape[1]
    cdef Py_ssize_t c
    for c in range(matrices.shape[0]):
        own = &coordinates[c, 0]
        for i in range(d):
            for j in range(i):
                L[i * d + j] = own[j]
            L[i * d + i] = exp(own[i])
            own += i + 1
            for j in range(i + 1):
                total = 0.0
                for k in range(j + 1):
                    total += L[i * d + k] * L[j * d + k]
                matrices[c, i, j] = matrices[c, j, i] = total


cdef void turn(double *A, int d, int step_out, int step_in, int p, int q, double c, double s) noexcept nogil:
    """Columns p and q of A turned in their plane; its rows, where steps are swapped."""
    cdef double at_p, at_q
    cdef int i
    p, q = p * step_in, q * step_in
    for i in range(d):
        at_p, at_q = A[p], A[q]
        A[p] = c * at_p + s * at_q
        A[q] = c * at_q - s * at_p
        A += step_out


def sweep(
    double[:, ::1] axes, double[:, :, ::1] matrices, const double[:, ::1] precision, const Py_ssize_t[:, ::1] pairs
):
    cdef double *A
    cdef double first, second, apart, across, gain, angle, c, s, largest = 0.0
    cdef bint given = precision.shape[0] > 0
    cdef int p, q, d = <int>axes.shape[0]
    cdef Py_ssize_t i, k
    for i in range(pairs.shape[1]):
        p, q = <int>pairs[0, i], <int>pairs[1, i]
        first = second = 0.0
        for k in range(matrices.shape[0]):
            A = &matrices[k, 0, 0]
            apart, across = A[p * d + p] - A[q * d + q], A[p * d + q]
            if given:
                gain = precision[k, p] - precision[k, q]
                first -= gain * across
                second -= 0.5 * gain * apart
            else:
                across *= 2.0
                first += 2.0 * apart * across
                second += (apart - across) * (apart + across)
        angle = (0.5 if given else 0.25) * atan2(first, second)
        c, s = cos(angle), sin(angle)
        turn(&axes[0, 0], d, d, 1, p, q, c, s)
        for k in range(matrices.shape[0]):
            turn(&matrices[k, 0, 0], d, d, 1, p, q, c, s)
            turn(&matrices[k, 0, 0], d, 1, d, p, q, c, s)
        largest = max(largest, fabs(angle))
    return largest

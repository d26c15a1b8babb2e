# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Scales of observations, compiled: `emlearn.families._scales_numpy` says what each function does."""

cdef extern from "scales.h" nogil:
    void log_prob_of(
        const double *half, const double *rate, const double *shape, const double *constant, int each, int K,
        ptrdiff_t m, double *log_prob)
    void expect_of(
        const double *half, const double *rate, const double *factor, int each, const double *resp, int K,
        ptrdiff_t m, double *scaled, double *weight, double *of_logs)
    double gamma_shape_of(double excess, int n_steps)

NAME = "compiled"


def log_densities(
    const double[:, ::1] half, const double[::1] rate, const double[:, ::1] shape, const double[:, ::1] constant,
    double[:, ::1] log_prob
):
    if half.shape[1] > 0:
        with nogil:
            log_prob_of(
                &half[0, 0], &rate[0], &shape[0, 0], &constant[0, 0], shape.shape[1] > 1, <int>half.shape[0],
                half.shape[1], &log_prob[0, 0])


def expect(
    const double[:, ::1] half, const double[::1] rate, const double[:, ::1] factor, const double[:, ::1] resp,
    double[:, ::1] scaled, double[::1] weight, double[::1] of_logs
):
    if half.shape[1] > 0:
        with nogil:
            expect_of(
                &half[0, 0], &rate[0], &factor[0, 0], factor.shape[1] > 1, &resp[0, 0], <int>half.shape[0],
                half.shape[1], &scaled[0, 0], &weight[0], &of_logs[0])
    else:
        weight[:] = 0.0
        of_logs[:] = 0.0


def gamma_shapes(const double[::1] excess, int n_steps, double[::1] shapes):
    cdef Py_ssize_t k
    for k in range(excess.shape[0]):
        shapes[k] = gamma_shape_of(excess[k], n_steps)

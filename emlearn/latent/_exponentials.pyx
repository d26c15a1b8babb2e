# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Posterior probabilities, compiled: `emlearn.latent._exponentials_numpy` says what each function does."""

cdef extern from "exponentials.h" nogil:
    void posterior_of(
        double *joint, ptrdiff_t stride, const double *offset, int K, ptrdiff_t m, double *evidence)
    void densities_of(
        const double *log_prob, ptrdiff_t stride, int K, ptrdiff_t m, double *shift, double *density,
        ptrdiff_t density_stride)
    void add_logs_of(const double *scale, ptrdiff_t m, double *shift)

NAME = "compiled"


def posterior(double[:, ::1] joint, const double[::1] offset, double[::1] evidence):
    if joint.shape[1] > 0:
        with nogil:
            posterior_of(
                &joint[0, 0], joint.shape[1], &offset[0], <int>joint.shape[0], joint.shape[1], &evidence[0])


def densities(const double[:, ::1] log_prob, double[::1] shift, double[:, :] density):
    if log_prob.shape[1] > 0:
        with nogil:
            densities_of(
                &log_prob[0, 0], log_prob.shape[1], <int>log_prob.shape[0], log_prob.shape[1], &shift[0],
                &density[0, 0], density.strides[0] // <ptrdiff_t>sizeof(double))


def add_logs(const double[::1] scale, double[::1] shift):
    if scale.shape[0] > 0:
        with nogil:
            add_logs_of(&scale[0], scale.shape[0], &shift[0])

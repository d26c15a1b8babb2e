/* Posterior probabilities.
 *
 * Arrays are (K, m): component k of column c stands at k * stride + c. Columns are taken a strip at a time, in which
 * all that is done to them stays in the first cache; vectors run over columns, so that no sum is reordered.
 */
#ifndef EMLEARN_EXPONENTIALS_H
#define EMLEARN_EXPONENTIALS_H

#include "../em/elementary.h"

INLINE void posterior_strip(double *RESTRICT joint, ptrdiff_t stride, const double *RESTRICT offset, int K, int n,
                            double *RESTRICT evidence)
{
    double top[COLUMNS], total[COLUMNS];
    for (int l = 0; l < n; l++) {
        joint[l] += offset[0];
        top[l] = joint[l];
        total[l] = 0.0;
    }
    for (int k = 1; k < K; k++) {
        double *RESTRICT row = joint + k * stride;
        for (int l = 0; l < n; l++) {
            row[l] += offset[k];
            top[l] = row[l] <= top[l] ? top[l] : row[l]; /* may pass over NaN, which the sum does not */
        }
    }
    for (int l = 0; l < n; l++)
        top[l] = top[l] == -INFINITY ? 0.0 : top[l]; /* nothing is possible */
    for (int k = 0; k < K; k++) {
        double *RESTRICT row = joint + k * stride;
        for (int l = 0; l < n; l++) {
            row[l] = exp_of(row[l] - top[l]);
            total[l] += row[l];
        }
    }
    for (int l = 0; l < n; l++) {
        evidence[l] = total[l] == 0.0 ? -INFINITY : log_of(total[l]) + top[l];
        total[l] = total[l] == 0.0 ? 0.0 : 1.0 / total[l];
    }
    for (int k = 0; k < K; k++) {
        double *RESTRICT row = joint + k * stride;
        for (int l = 0; l < n; l++)
            row[l] *= total[l];
    }
}

/* Posterior probabilities in the place of joint log-probabilities less `offset` (K,), and logs of their sums. */
WIDE
void posterior_of(double *joint, ptrdiff_t stride, const double *offset, int K, ptrdiff_t m, double *evidence)
{
    ptrdiff_t at = 0;
    for (; at + COLUMNS <= m; at += COLUMNS)
        posterior_strip(joint + at, stride, offset, K, COLUMNS, evidence + at);
    posterior_strip(joint + at, stride, offset, K, (int)(m - at), evidence + at);
}

INLINE void densities_strip(const double *RESTRICT log_prob, ptrdiff_t stride, int K, int n, double *RESTRICT shift,
                            double *RESTRICT density, ptrdiff_t density_stride)
{
    for (int l = 0; l < n; l++)
        shift[l] = log_prob[l];
    for (int k = 1; k < K; k++) {
        const double *RESTRICT row = log_prob + k * stride;
        for (int l = 0; l < n; l++)
            shift[l] = row[l] <= shift[l] ? shift[l] : row[l];
    }
    for (int k = 0; k < K; k++) {
        const double *RESTRICT row = log_prob + k * stride;
        double *RESTRICT out = density + k * density_stride;
        for (int l = 0; l < n; l++)
            out[l] = exp_of(row[l] - shift[l]);
    }
}

/* Add log(scale) to `shift`, -infinity where it is 0. */
WIDE
void add_logs_of(const double *RESTRICT scale, ptrdiff_t m, double *RESTRICT shift)
{
    for (ptrdiff_t l = 0; l < m; l++)
        shift[l] += scale[l] == 0.0 ? -INFINITY : log_of(scale[l]);
}

/* Exponentials of log_prob less the largest of each column, and that, `shift` (m,). */
WIDE
void densities_of(const double *log_prob, ptrdiff_t stride, int K, ptrdiff_t m, double *shift, double *density,
                  ptrdiff_t density_stride)
{
    ptrdiff_t at = 0;
    for (; at + COLUMNS <= m; at += COLUMNS)
        densities_strip(log_prob + at, stride, K, COLUMNS, shift + at, density + at, density_stride);
    densities_strip(log_prob + at, stride, K, (int)(m - at), shift + at, density + at, density_stride);
}

#endif

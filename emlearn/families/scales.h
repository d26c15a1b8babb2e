/* Log-densities of Student's t, and what is expected of the scales of observations.
 *
 * Arrays are (K, m), row by row. Of what may be the same in all columns only one is given: `each` says whether there
 * are m.
 */
#ifndef EMLEARN_SCALES_H
#define EMLEARN_SCALES_H

#include "../em/elementary.h"

#define LARGE 10.0 /* from here on the asymptotic series have all digits */

INLINE void log_prob_row(const double *RESTRICT half, double rate, const double *RESTRICT shape,
                         const double *RESTRICT constant, int each, ptrdiff_t m, double *RESTRICT log_prob)
{
    for (ptrdiff_t l = 0; l < m; l++)
        log_prob[l] = constant[each ? l : 0] - shape[each ? l : 0] * log_of(1.0 - 2.0 * half[l] * rate);
}

/* Constants less `shape` times log(1 - 2 half rate). */
WIDE
void log_prob_of(const double *half, const double *rate, const double *shape, const double *constant, int each, int K,
                 ptrdiff_t m, double *log_prob)
{
    const ptrdiff_t n = each ? m : 1;
    for (int k = 0; k < K; k++) {
        if (each)
            log_prob_row(half + k * m, rate[k], shape + k * n, constant + k * n, 1, m, log_prob + k * m);
        else
            log_prob_row(half + k * m, rate[k], shape + k * n, constant + k * n, 0, m, log_prob + k * m);
    }
}

INLINE void expect_strip(const double *RESTRICT half, double rate, const double *RESTRICT factor, int each,
                         const double *RESTRICT resp, int n, double *RESTRICT scaled, double *RESTRICT weight,
                         double *RESTRICT of_logs)
{
    for (int l = 0; l < n; l++) {
        const double stretch = 1.0 - 2.0 * half[l] * rate;
        scaled[l] = resp[l] * factor[each ? l : 0] / stretch;
        weight[l] += resp[l];
        of_logs[l] += resp[l] * log_of(stretch);
    }
}

INLINE void expect_row(const double *half, double rate, const double *factor, int each, const double *resp, ptrdiff_t m,
                       double *scaled, double *weight, double *of_logs)
{
    double weights[COLUMNS] = {0.0}, logs[COLUMNS] = {0.0};
    ptrdiff_t at = 0;
    for (; at + COLUMNS <= m; at += COLUMNS)
        expect_strip(half + at, rate, factor + (each ? at : 0), each, resp + at, COLUMNS, scaled + at, weights, logs);
    expect_strip(half + at, rate, factor + (each ? at : 0), each, resp + at, (int)(m - at), scaled + at, weights, logs);
    *weight = *of_logs = 0.0;
    for (int l = 0; l < COLUMNS; l++) {
        *weight += weights[l];
        *of_logs += logs[l];
    }
}

/* `scaled` is resp factor / (1 - 2 half rate); sums of resp, and of resp times the logarithm of the divisor. */
WIDE
void expect_of(const double *half, const double *rate, const double *factor, int each, const double *resp, int K,
               ptrdiff_t m, double *scaled, double *weight, double *of_logs)
{
    for (int k = 0; k < K; k++) {
        if (each)
            expect_row(half + k * m, rate[k], factor + k * m, 1, resp + k * m, m, scaled + k * m, weight + k,
                       of_logs + k);
        else
            expect_row(half + k * m, rate[k], factor + k, 0, resp + k * m, m, scaled + k * m, weight + k, of_logs + k);
    }
}

/* log a - digamma(a), and its derivative, for a > 0. */
INLINE double excess_of(double a, double *slope)
{
    double sum = 0.0, squares = 0.0, x = a;
    for (; x < LARGE; x += 1.0) {
        sum += 1.0 / x;
        squares += 1.0 / (x * x);
    }
    const double r = 1.0 / x, z = r * r;
    double series = 691.0 / 32760.0, second = 691.0 / 2730.0;
    series = series * -z + 1.0 / 132.0;
    second = second * -z + 5.0 / 66.0;
    series = series * -z + 1.0 / 240.0;
    second = second * -z + 1.0 / 30.0;
    series = series * -z + 1.0 / 252.0;
    second = second * -z + 1.0 / 42.0;
    series = series * -z + 1.0 / 120.0;
    second = second * -z + 1.0 / 30.0;
    series = series * -z + 1.0 / 12.0;
    second = second * -z + 1.0 / 6.0;
    *slope = 1.0 / a - (squares + r + 0.5 * z + second * z * r);
    return (x > a ? sum - log(x / a) : 0.0) + 0.5 * r + series * z;
}

/* The a of which log a - digamma(a) is `excess`, by Newton steps in 1 / a from within 1.5 %. */
INLINE double gamma_shape_of(double excess, int n_steps)
{
    double slope, a = (3.0 - excess + sqrt((excess - 3.0) * (excess - 3.0) + 24.0 * excess)) / (12.0 * excess);
    for (int step = 0; step < n_steps; step++) {
        const double beyond = excess_of(a, &slope) - excess;
        a = 1.0 / (1.0 / a + beyond / (a * a * slope));
    }
    return a;
}

#endif

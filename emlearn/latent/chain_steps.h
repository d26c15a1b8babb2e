/* The inner loops of the chain's recursions, written so that any compiler can turn them into vectors.
 *
 * Arrays are (K, m) with a row stride: state k of column c stands at k * stride + c. A step of n sequences side
 * by side is a run of n columns, and vectors run over lanes; they are independent, so that no sum is reordered.
 * Where a lane is alone, vectors run over states instead.
 */
#ifndef EMLEARN_CHAIN_STEPS_H
#define EMLEARN_CHAIN_STEPS_H

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "../em/vectors.h"

#define STRIP 64 /* lanes worked on at a time: what a step needs of them stays in the first cache */

/* Small numbers of states are compiled one by one, so that their loops unroll. Calls return a number, so that the
 * switch needs no breaks. */
#define FEW 8
#define FOR_FEW(K, call) \
    switch (K) { \
    case 1: return call(1); \
    case 2: return call(2); \
    case 3: return call(3); \
    case 4: return call(4); \
    case 5: return call(5); \
    case 6: return call(6); \
    case 7: return call(7); \
    case 8: return call(8); \
    }
#define FOR_EACH_K(K, call) \
    FOR_FEW(K, call) \
    return call(K);

/* out[s, l] (+)= sum_i in[i, l] * a[i, s] for rows of in and out, at most four of each: 16 products on 8 loads and
 * 4 stores. */
INLINE void tile(const double *RESTRICT in, ptrdiff_t stride, const double *RESTRICT a, int K, int n,
                 double *RESTRICT out, ptrdiff_t out_stride, int n_in, int n_out, int add)
{
    const double *r1 = in + (n_in > 1) * stride, *r2 = in + 2 * (n_in > 2) * stride,
                 *r3 = in + 3 * (n_in > 3) * stride;
    for (int l = 0; l < n; l++) {
        const double x0 = in[l], x1 = r1[l], x2 = r2[l], x3 = r3[l];
        for (int s = 0; s < n_out; s++) {
            double sum = add ? out[s * out_stride + l] : 0.0;
            sum += x0 * a[s];
            if (n_in > 1)
                sum += x1 * a[K + s];
            if (n_in > 2)
                sum += x2 * a[2 * (ptrdiff_t)K + s];
            if (n_in > 3)
                sum += x3 * a[3 * (ptrdiff_t)K + s];
            out[s * out_stride + l] = sum;
        }
    }
}

/* out[k, l] = sum_j in[j, l] * a[j, k] over n <= STRIP lanes; K is a multiple of four and `rest`. */
INLINE void combine_rest(const double *RESTRICT in, ptrdiff_t stride, const double *RESTRICT a, int K, int n,
                         double *RESTRICT out, ptrdiff_t out_stride, int rest)
{
    const int whole = K - rest;
    for (int k = 0; k < whole; k += 4) {
        double *o = out + k * out_stride;
        tile(in, stride, a + k, K, n, o, out_stride, 4, 4, 0);
        for (int j = 4; j < whole; j += 4)
            tile(in + j * stride, stride, a + (ptrdiff_t)j * K + k, K, n, o, out_stride, 4, 4, 1);
        if (rest)
            tile(in + whole * stride, stride, a + (ptrdiff_t)whole * K + k, K, n, o, out_stride, rest, 4, 1);
    }
    if (rest) {
        double *o = out + whole * out_stride;
        tile(in + whole * stride, stride, a + (ptrdiff_t)whole * K + whole, K, n, o, out_stride, rest, rest, 0);
        for (int j = 0; j < whole; j += 4)
            tile(in + j * stride, stride, a + (ptrdiff_t)j * K + whole, K, n, o, out_stride, 4, rest, 1);
    }
}

INLINE void combine(const double *RESTRICT in, ptrdiff_t stride, const double *RESTRICT a, int K, int n,
                    double *RESTRICT out, ptrdiff_t out_stride)
{
    switch (K % 4) { /* each compiled on its own, so that nothing is left over */
    case 0: combine_rest(in, stride, a, K, n, out, out_stride, 0); break;
    case 1: combine_rest(in, stride, a, K, n, out, out_stride, 1); break;
    case 2: combine_rest(in, stride, a, K, n, out, out_stride, 2); break;
    default: combine_rest(in, stride, a, K, n, out, out_stride, 3);
    }
}

/* Normalise joint probabilities (K, n): those below `flush` become 0. `low` holds the least joint probability of a
 * lane, and becomes the least probability. Returns whether the caller should look closer: a probability is below
 * `notice`, or a scale below `least`. */
INLINE int normalise(double *RESTRICT joint, ptrdiff_t stride, double *RESTRICT total, double *RESTRICT low,
                     double *RESTRICT scale, int K, int n, double flush, double notice, double least)
{
    long long closer = 0; /* as wide as a double, so that the loops turn into vectors */
    for (int l = 0; l < n; l++) {
        scale[l] = total[l];
        closer |= !(total[l] >= least);
        total[l] = 1.0 / total[l];
        low[l] *= total[l];
        closer |= low[l] < notice;
    }
    for (int k = 0; k < K; k++) {
        double *RESTRICT row = joint + k * stride;
        for (int l = 0; l < n; l++) {
            double p = row[l] * total[l];
            row[l] = p < flush ? 0.0 : p;
        }
    }
    return closer != 0;
}

/* joint = mixed * density in place, its sum, and its least among states whose `mixed` is at least `alive`. */
INLINE void observe(double *RESTRICT joint, const double *RESTRICT density, ptrdiff_t stride,
                    double *RESTRICT total, double *RESTRICT low, int K, int n, double alive)
{
    for (int l = 0; l < n; l++) {
        total[l] = 0.0;
        low[l] = 1.0;
    }
    for (int k = 0; k < K; k++) {
        const double *RESTRICT seen = density + k * stride;
        double *RESTRICT row = joint + k * stride;
        for (int l = 0; l < n; l++) {
            const double mixed = row[l], p = mixed * seen[l], some = mixed >= alive ? p : 1.0;
            low[l] = some < low[l] ? some : low[l];
            row[l] = p;
            total[l] += p;
        }
    }
}

/* The first step: filtered = normalised start * density, for n lanes. */
WIDE
static int first_step(const double *start, const double *density, ptrdiff_t stride, double *filtered,
                      double *scale, double *low, int K, int n, double flush, double notice, double least,
                      double alive)
{
    double total[STRIP];
    int closer = 0;
    for (int from = 0; from < n; from += STRIP) {
        const int some = n - from < STRIP ? n - from : STRIP;
        for (int k = 0; k < K; k++)
            for (int l = 0; l < some; l++)
                filtered[k * stride + from + l] = start[k];
        observe(filtered + from, density + from, stride, total, low + from, K, some, alive);
        closer |= normalise(filtered + from, stride, total, low + from, scale + from, K, some, flush, notice, least);
    }
    return closer;
}

/* One step forward for n lanes where states are few: all of a lane stays in registers. */
INLINE int forward_few(const double *RESTRICT before, const double *RESTRICT a, const double *RESTRICT density,
                       ptrdiff_t stride, double *RESTRICT filtered, double *RESTRICT scale, double *RESTRICT low, int K,
                       int n, double flush, double notice, double least, double alive)
{
    long long closer = 0;
    LANES
    for (int l = 0; l < n; l++) {
        double joint[FEW], total = 0.0, lowest = 1.0;
        UNROLL
        for (int k = 0; k < K; k++) {
            double mixed = 0.0;
            UNROLL
            for (int j = 0; j < K; j++)
                mixed += before[j * stride + l] * a[j * K + k];
            const double p = mixed * density[k * stride + l], some = mixed >= alive ? p : 1.0;
            lowest = some < lowest ? some : lowest;
            joint[k] = p;
            total += p;
        }
        const double inverse = 1.0 / total;
        lowest *= inverse;
        closer |= !(total >= least);
        closer |= lowest < notice;
        scale[l] = total;
        low[l] = lowest;
        UNROLL
        for (int k = 0; k < K; k++) {
            const double p = joint[k] * inverse;
            filtered[k * stride + l] = p < flush ? 0.0 : p;
        }
    }
    return closer != 0;
}

/* One step forward for n lanes: filtered = normalised (before @ transition) * density. */
WIDE
static int forward_step(const double *before, const double *transition, const double *density,
                        ptrdiff_t stride, double *filtered, double *scale, double *low, int K, int n,
                        double flush, double notice, double least, double alive)
{
#define CALL(k) forward_few(before, transition, density, stride, filtered, scale, low, k, n, flush, notice, least, alive)
    FOR_FEW(K, CALL)
#undef CALL
    double total[STRIP];
    int closer = 0;
    for (int from = 0; from < n; from += STRIP) {
        const int some = n - from < STRIP ? n - from : STRIP;
        combine(before + from, stride, transition, K, some, filtered + from, stride);
        observe(filtered + from, density + from, stride, total, low + from, K, some, alive);
        closer |= normalise(filtered + from, stride, total, low + from, scale + from, K, some, flush, notice, least);
    }
    return closer;
}

/* Up to `steps` steps forward for a lane alone, from `before`, a row of K: returns the number of steps done.
 * It leaves off after one that needs a closer look, which *closer then says. */
INLINE int forward_alone_k(double *RESTRICT before, const double *RESTRICT transition,
                           const double *RESTRICT density, ptrdiff_t stride, double *RESTRICT filtered,
                           double *RESTRICT scale, int K, int steps, double flush, double notice, double least,
                           double alive, double *RESTRICT mixed, int *closer)
{
    for (int t = 0; t < steps; t++) {
        double total = 0.0, low = 1.0;
        for (int k = 0; k < K; k++)
            mixed[k] = before[0] * transition[k];
        for (int j = 1; j < K; j++)
            for (int k = 0; k < K; k++)
                mixed[k] += before[j] * transition[(ptrdiff_t)j * K + k];
        for (int k = 0; k < K; k++) {
            const double p = mixed[k] * density[k * stride + t], some = mixed[k] >= alive ? p : 1.0;
            low = some < low ? some : low;
            mixed[k] = p;
            total += p;
        }
        scale[t] = total;
        const double inverse = 1.0 / total;
        for (int k = 0; k < K; k++) {
            double p = mixed[k] * inverse;
            before[k] = p < flush ? 0.0 : p;
            filtered[k * stride + t] = before[k];
        }
        if (low * inverse < notice || !(total >= least)) {
            *closer = 1;
            return t + 1;
        }
    }
    *closer = 0;
    return steps;
}

WIDE
static int forward_alone(double *before, const double *transition, const double *density, ptrdiff_t stride,
                         double *filtered, double *scale, int K, int steps, double flush, double notice, double least,
                         double alive, double *mixed, int *closer)
{
    double few[FEW];
#define CALL(k) \
    forward_alone_k(before, transition, density, stride, filtered, scale, k, steps, flush, notice, least, alive, \
                    k <= FEW ? few : mixed, closer)
    FOR_EACH_K(K, CALL)
#undef CALL
}

/* `backward_step` where states are few. */
INLINE int backward_few(const double *RESTRICT transposed, double *RESTRICT density, const double *RESTRICT filtered,
                        const double *RESTRICT scale, ptrdiff_t stride, double *RESTRICT ahead, ptrdiff_t ahead_stride,
                        double *RESTRICT beta, ptrdiff_t beta_stride, int K, int n)
{
    LANES
    for (int l = 0; l < n; l++) {
        const double inverse = scale[l] > 0.0 ? 1.0 / scale[l] : 0.0;
        double odds[FEW];
        UNROLL
        for (int k = 0; k < K; k++) {
            const double here = filtered[k * stride + l], after = beta[k * beta_stride + l];
            const double reached = here > 0.0 ? after : 0.0;
            odds[k] = density[k * stride + l] * inverse * reached;
            ahead[k * ahead_stride + l] = odds[k];
            density[k * stride + l] = here * reached;
        }
        UNROLL
        for (int j = 0; j < K; j++) {
            double sum = 0.0;
            UNROLL
            for (int k = 0; k < K; k++)
                sum += odds[k] * transposed[k * K + j];
            beta[j * beta_stride + l] = sum;
        }
    }
    return n;
}

/* One step back for n lanes, from t + 1 to t. `beta` (K, n_lanes) holds p(what comes after t + 1 | state at
 * t + 1), relative to what was filtered; it becomes that of t. `ahead`, at the columns of t, is
 * density * beta / scale at t + 1: transition probabilities times it are the odds of going there. The
 * posterior of t + 1 takes the place of its density. */
WIDE
static int backward_step(const double *transposed, double *density, const double *filtered,
                          const double *scale, ptrdiff_t stride, double *ahead, ptrdiff_t ahead_stride,
                          double *beta, ptrdiff_t beta_stride, int K, int n)
{
#define CALL(k) \
    backward_few(transposed, density, filtered, scale, stride, ahead, ahead_stride, beta, beta_stride, k, n)
    FOR_FEW(K, CALL)
#undef CALL
    double inverse[STRIP];
    for (int from = 0; from < n; from += STRIP) {
        const int some = n - from < STRIP ? n - from : STRIP;
        for (int l = 0; l < some; l++)
            inverse[l] = scale[from + l] > 0.0 ? 1.0 / scale[from + l] : 0.0;
        for (int k = 0; k < K; k++) {
            const double *RESTRICT here = filtered + k * stride + from;
            const double *RESTRICT after = beta + k * beta_stride + from;
            double *RESTRICT seen = density + k * stride + from;
            double *RESTRICT odds = ahead + k * ahead_stride + from;
            for (int l = 0; l < some; l++) {
                double reached = here[l] > 0.0 ? after[l] : 0.0;
                odds[l] = seen[l] * inverse[l] * reached;
                seen[l] = here[l] * reached;
            }
        }
        combine(ahead + from, ahead_stride, transposed, K, some, beta + from, beta_stride);
    }
    return n;
}

/* `steps` steps back for a lane alone: `density`, `filtered` and `scale` start at the first step whose posterior
 * is wanted, `ahead` one step before. `beta` is a row of K. */
INLINE int backward_alone_k(const double *RESTRICT transposed, double *RESTRICT density,
                            const double *RESTRICT filtered, const double *RESTRICT scale, ptrdiff_t stride,
                            double *RESTRICT ahead, ptrdiff_t ahead_stride, double *RESTRICT beta, int K,
                            int steps, double *RESTRICT mixed)
{
    for (int t = steps - 1; t >= 0; t--) {
        const double inverse = scale[t] > 0.0 ? 1.0 / scale[t] : 0.0;
        for (int k = 0; k < K; k++)
            mixed[k] = 0.0;
        for (int j = 0; j < K; j++) {
            double here = filtered[j * stride + t];
            double reached = here > 0.0 ? beta[j] : 0.0;
            double odds = density[j * stride + t] * inverse * reached;
            ahead[j * ahead_stride + t] = odds;
            density[j * stride + t] = here * reached;
            for (int k = 0; k < K; k++)
                mixed[k] += odds * transposed[(ptrdiff_t)j * K + k];
        }
        for (int k = 0; k < K; k++)
            beta[k] = mixed[k];
    }
    return steps;
}

WIDE
static int backward_alone(const double *transposed, double *density, const double *filtered,
                          const double *scale, ptrdiff_t stride, double *ahead, ptrdiff_t ahead_stride,
                          double *beta, int K, int steps, double *mixed)
{
    double few[FEW];
#define CALL(k) \
    backward_alone_k(transposed, density, filtered, scale, stride, ahead, ahead_stride, beta, k, steps, \
                     k <= FEW ? few : mixed)
    FOR_EACH_K(K, CALL)
#undef CALL
}

/* -- numbers of any size ------------------------------------------------------------------------------------
 *
 * `_chain_numpy` says what they are: mantissa * 2^(512 * power), mantissas from 2^-256 up to 2^256, or 0 with power
 * -infinity. Powers are doubles, so that they compare and choose beside mantissas. Vectors run over states, whose
 * number is padded with impossible ones to W, a multiple of four. */
#define RADIX 1.3407807929942597e154         /* 2^512 */
#define LEAST_MANTISSA 8.636168555094445e-78 /* 2^-256 */
#define MOST_MANTISSA 1.157920892373162e77   /* 2^256 */
#define LOG_RADIX_HIGH 354.891357421875      /* 24 bits of log(2^512): times a power it is exact */
#define LOG_RADIX_LOW -9.751830015783778e-07
#define TO_INTEGER 6755399441055744.0 /* 1.5 * 2^52: what is added to it loses its fraction */

/* RADIX^power for powers at most 0, where anything below -1 is as good as none. */
INLINE double unit(double power)
{
    return (power == 0.0 ? 1.0 : 0.0) + (power == -1.0 ? 1.0 / RADIX : 0.0);
}

/* u * a * RADIX^power, where with `tiny` transitions powers down to -2 matter. */
INLINE double far_product(double u, double a, double power, int tiny)
{
    if (tiny) /* no factor is too small for ordinary arithmetic */
        return u * (unit(power) + (power == -2.0 ? 1.0 / RADIX : 0.0)) * (power == -2.0 ? a * (1.0 / RADIX) : a);
    return u * (unit(power) * a);
}

/* Of W numbers, four sums side by side, so that they turn into vectors. */
INLINE double sum_of(const double *RESTRICT x, int W)
{
    double s[4] = {0.0, 0.0, 0.0, 0.0};
    for (int k = 0; k < W; k += 4)
        for (int i = 0; i < 4; i++)
            s[i] += x[k + i];
    return (s[0] + s[1]) + (s[2] + s[3]);
}

INLINE double most_of(const double *RESTRICT x, int W)
{
    double s[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    for (int k = 0; k < W; k += 4)
        for (int i = 0; i < 4; i++)
            s[i] = x[k + i] > s[i] ? x[k + i] : s[i];
    s[0] = s[1] > s[0] ? s[1] : s[0];
    s[2] = s[3] > s[2] ? s[3] : s[2];
    return s[2] > s[0] ? s[2] : s[0];
}

INLINE void tidy(double *RESTRICT u, double *RESTRICT e, int W)
{
    for (int k = 0; k < W; k++) {
        const double value = u[k];
        const double factor = value < LEAST_MANTISSA ? RADIX : value >= MOST_MANTISSA ? 1.0 / RADIX : 1.0;
        const double more = value < LEAST_MANTISSA ? -1.0 : value >= MOST_MANTISSA ? 1.0 : 0.0;
        u[k] = value * factor;
        e[k] = value > 0.0 ? e[k] + more : -INFINITY;
    }
}

/* exp(x) for |x| < 300, to about the last digit, in loops that turn into vectors. */
INLINE double exp_near(double x)
{
    static const double c[] = {
        1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880,
        1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800.0,
    };
    const double shifted = x * 1.4426950408889634 + TO_INTEGER, whole = shifted - TO_INTEGER;
    const double r = x - whole * 0.693147180369123816490 - whole * 1.90821492927058770002e-10;
    const double r2 = r * r, r4 = r2 * r2;
    const double p0 = (c[0] + c[1] * r) + (c[2] + c[3] * r) * r2;
    const double p4 = (c[4] + c[5] * r) + (c[6] + c[7] * r) * r2;
    const double p8 = (c[8] + c[9] * r) + (c[10] + c[11] * r) * r2;
    const double value = p0 + r4 * (p4 + r4 * (p8 + r4 * (c[12] + c[13] * r)));
    long long bits;
    double power;
    memcpy(&bits, &shifted, sizeof bits); /* the integer stands in the last bits */
    bits = (long long)((unsigned long long)bits << 52) + 0x3FF0000000000000LL;
    memcpy(&power, &bits, sizeof power);
    return value * power;
}

/* A column of filtered probabilities; `power` is NULL where they are ordinary numbers. */
INLINE void load_column(const double *from, ptrdiff_t stride, const double *power, int K, int W, double *RESTRICT u,
                        double *RESTRICT e)
{
    for (int k = 0; k < K; k++)
        u[k] = from[k * stride];
    for (int k = K; k < W; k++)
        u[k] = 0.0;
    for (int k = 0; k < W; k++)
        e[k] = power ? power[k] : 0.0;
    tidy(u, e, W);
}

/* m[k] = sum_j u[j] * a[j, k]. Row j of a has no other than zeros outside of range[2j] to range[2j + 1], which are
 * multiples of four. */
INLINE void far_combine(const double *RESTRICT u, const double *RESTRICT e, const double *RESTRICT a,
                        const double *RESTRICT a_power, const int *RESTRICT range, int K, int W, int tiny,
                        double *RESTRICT m, double *RESTRICT m_power)
{
    for (int k = 0; k < W; k++) {
        m[k] = 0.0;
        m_power[k] = -INFINITY;
    }
    for (int j = 0; j < K; j++)
        if (u[j] > 0.0)
            for (int k = range[2 * j]; k < range[2 * j + 1]; k++) {
                const double power = e[j] + a_power[(ptrdiff_t)j * W + k];
                m_power[k] = power > m_power[k] ? power : m_power[k];
            }
    for (int j = 0; j < K; j++)
        if (u[j] > 0.0)
            for (int k = range[2 * j]; k < range[2 * j + 1]; k++) {
                const double power = e[j] + a_power[(ptrdiff_t)j * W + k] - m_power[k];
                m[k] += far_product(u[j], a[(ptrdiff_t)j * W + k], power, tiny);
            }
}

/* Densities d, mantissas and the powers to be added to `e`, where those in floating point are too small. */
INLINE void far_density(const double *RESTRICT x, double *RESTRICT d, double *RESTRICT e, int W)
{
    for (int k = 0; k < W; k++) {
        const double whole = x[k] * (1.0 / LOG_RADIX_HIGH) + TO_INTEGER - TO_INTEGER;
        double rest = x[k] - whole * LOG_RADIX_HIGH - whole * LOG_RADIX_LOW;
        rest = rest > -178.0 ? rest : -178.0; /* where x has no digits left */
        rest = rest < 178.0 ? rest : 178.0;
        const double value = exp_near(rest);
        const double small = d[k] < LEAST_MANTISSA ? value : d[k];
        e[k] += d[k] < LEAST_MANTISSA ? whole : 0.0;
        d[k] = x[k] > -INFINITY ? small : 0.0;
    }
}

/* Up to `steps` steps forward for one lane, from the column `from`, where a is NULL from the distribution of the first
 * state. Leaves off after a step at whose end all is in range of ordinary numbers, as it always is unless `keep`;
 * *beyond then is 0. Mixed probabilities take the place of densities. Returns the number of steps done. */
INLINE int far_forward_w(const double *from, ptrdiff_t from_stride, const double *from_power, const double *a,
                         const double *a_power, const int *range, const double *log_prob, ptrdiff_t log_stride, double *density,
                         double *filtered, ptrdiff_t stride, double *power, double *mixed_power, double *scale,
                         double *shift, unsigned char *far, int K, int W, int tiny, int steps, double flush, int keep,
                         double *RESTRICT work, int *beyond)
{
    double *RESTRICT u = work, *RESTRICT e = work + W, *RESTRICT m = work + 2 * W, *RESTRICT m_power = work + 3 * W,
           *RESTRICT d = work + 4 * W, *RESTRICT x = work + 5 * W;
    load_column(from, from_stride, from_power, K, W, u, e);
    for (int k = 0; k < W; k++)
        d[k] = x[k] = 0.0;
    for (int t = 0; t < steps; t++, power += W, mixed_power += W) {
        double least = 1.0;
        if (a)
            far_combine(u, e, a, a_power, range, K, W, tiny, m, m_power);
        else
            for (int k = 0; k < W; k++) {
                m[k] = u[k];
                m_power[k] = e[k];
            }
        for (int k = 0; k < K; k++) {
            d[k] = density[k * stride + t];
            density[k * stride + t] = m[k];
            least = d[k] < least ? d[k] : least;
        }
        for (int k = 0; k < W; k++)
            mixed_power[k] = e[k] = m_power[k];
        if (!(least >= LEAST_MANTISSA)) {
            for (int k = 0; k < K; k++)
                x[k] = log_prob[k * log_stride + t] - shift[t];
            far_density(x, d, e, W);
        }
        for (int k = 0; k < W; k++) {
            const double joint = m[k] * d[k];
            u[k] = joint > 0.0 ? joint : 0.0;
        }
        tidy(u, e, W);
        const double top = most_of(e, W);
        for (int k = 0; k < W; k++) {
            e[k] -= top;
            m[k] = u[k] * unit(e[k]);
        }
        const double total = sum_of(m, W), inverse = total > 0.0 ? 1.0 / total : 0.0;
        scale[t] = total;
        shift[t] += top > -INFINITY ? top * LOG_RADIX_HIGH + top * LOG_RADIX_LOW : -INFINITY;
        far[t] = 1;
        for (int k = 0; k < W; k++)
            u[k] *= inverse;
        tidy(u, e, W);
        for (int k = 0; k < W; k++) {
            m[k] = u[k] * unit(e[k]);
            d[k] = u[k] > 0.0 && m[k] < flush ? 1.0 : 0.0;
        }
        if (keep && most_of(d, W) > 0.0) {
            for (int k = 0; k < W; k++)
                power[k] = e[k];
            for (int k = 0; k < K; k++)
                filtered[k * stride + t] = u[k];
        } else {
            for (int k = 0; k < W; k++)
                power[k] = 0.0;
            for (int k = 0; k < K; k++)
                filtered[k * stride + t] = m[k] < flush ? 0.0 : m[k];
            *beyond = 0;
            return t + 1;
        }
    }
    *beyond = 1;
    return steps;
}

WIDE
static int far_forward(const double *from, ptrdiff_t from_stride, const double *from_power, const double *a,
                       const double *a_power, const int *range, const double *log_prob, ptrdiff_t log_stride, double *density,
                       double *filtered, ptrdiff_t stride, double *power, double *mixed_power, double *scale,
                       double *shift, unsigned char *far, int K, int W, int tiny, int steps, double flush, int keep,
                       double *work, int *beyond)
{
    if (tiny)
        return far_forward_w(from, from_stride, from_power, a, a_power, range, log_prob, log_stride, density, filtered, stride,
                             power, mixed_power, scale, shift, far, K, W, 1, steps, flush, keep, work, beyond);
    return far_forward_w(from, from_stride, from_power, a, a_power, range, log_prob, log_stride, density, filtered, stride,
                         power, mixed_power, scale, shift, far, K, W, 0, steps, flush, keep, work, beyond);
}

/* `steps` steps back for one lane, from the column whose mixed probabilities are `mixed`; `before` is the column of the
 * step before. `posterior`, a row of W, is that of the later step and becomes that of the earlier one; `seen` receives
 * the former. Those below `flush` become 0. Expected transitions, of this weight, are added to `pairs`, which like a is
 * transposed. */
INLINE int far_backward_w(const double *before, ptrdiff_t stride, const double *before_power, const double *mixed,
                          const double *mixed_power, const unsigned char *far, const double *RESTRICT a,
                          const double *RESTRICT a_power, const int *RESTRICT range, double *RESTRICT posterior, double *seen,
                          ptrdiff_t seen_stride, double *ahead, ptrdiff_t ahead_stride, double weight,
                          double *RESTRICT pairs, int K, int W, int tiny, int steps, double flush,
                          double *RESTRICT work)
{
    double *RESTRICT u = work, *RESTRICT e = work + W, *RESTRICT sum = work + 2 * W;
    for (int t = 0; t > -steps; t--, before_power -= W, mixed_power -= W) {
        load_column(before + t, stride, far[t] ? before_power : NULL, K, W, u, e);
        for (int j = 0; j < W; j++)
            sum[j] = 0.0;
        for (int k = 0; k < K; k++) {
            const double after = posterior[k], m = mixed[k * stride + t], m_power = mixed_power[k];
            seen[k * seen_stride + t] = after;
            ahead[k * ahead_stride + t] = 0.0;
            if (after > 0.0 && m > 0.0) {
                const double odds = after / m;
                for (int j = range[2 * k]; j < range[2 * k + 1]; j++) {
                    const double power = e[j] + a_power[(ptrdiff_t)k * W + j] - m_power;
                    const double pair = far_product(u[j], a[(ptrdiff_t)k * W + j], power, tiny) * odds;
                    pairs[(ptrdiff_t)k * W + j] += weight * pair;
                    sum[j] += pair;
                }
            }
        }
        for (int j = 0; j < W; j++)
            posterior[j] = sum[j] < flush ? 0.0 : sum[j];
    }
    return steps;
}

WIDE
static int far_backward(const double *before, ptrdiff_t stride, const double *before_power, const double *mixed,
                        const double *mixed_power, const unsigned char *far, const double *a, const double *a_power,
                        const int *range, double *posterior, double *seen, ptrdiff_t seen_stride, double *ahead, ptrdiff_t ahead_stride,
                        double weight, double *pairs, int K, int W, int tiny, int steps, double flush, double *work)
{
    if (tiny)
        return far_backward_w(before, stride, before_power, mixed, mixed_power, far, a, a_power, range, posterior, seen,
                              seen_stride, ahead, ahead_stride, weight, pairs, K, W, 1, steps, flush, work);
    return far_backward_w(before, stride, before_power, mixed, mixed_power, far, a, a_power, range, posterior, seen,
                          seen_stride, ahead, ahead_stride, weight, pairs, K, W, 0, steps, flush, work);
}

/* One step of Viterbi for n lanes: best[k] += max_j before[j] + a[j, k], a the logarithms of transitions. Which j it
 * was is found on the way back, for the one path that is wanted. */
WIDE
static void viterbi_step(const double *before, const double *a, double *best, ptrdiff_t stride, int K, int n)
{
    double value[STRIP];
    for (int from = 0; from < n; from += STRIP) {
        const int some = n - from < STRIP ? n - from : STRIP;
        for (int k = 0; k < K; k++) {
            const double *RESTRICT first = before + from;
            double *RESTRICT out = best + k * stride + from;
            for (int l = 0; l < some; l++)
                value[l] = first[l] + a[k];
            for (int j = 1; j < K; j++) {
                const double *RESTRICT row = before + j * stride + from;
                const double step = a[(ptrdiff_t)j * K + k];
                for (int l = 0; l < some; l++)
                    value[l] = row[l] + step > value[l] ? row[l] + step : value[l];
            }
            for (int l = 0; l < some; l++)
                out[l] += value[l];
        }
    }
}

/* `steps` steps of Viterbi for a lane alone, from `before`, a row of K. */
INLINE int viterbi_alone_k(double *RESTRICT before, const double *RESTRICT a, double *RESTRICT best,
                           ptrdiff_t stride, int K, int steps, double *RESTRICT value)
{
    for (int t = 0; t < steps; t++) {
        for (int k = 0; k < K; k++)
            value[k] = before[0] + a[k];
        for (int j = 1; j < K; j++)
            for (int k = 0; k < K; k++) {
                double other = before[j] + a[(ptrdiff_t)j * K + k];
                value[k] = other > value[k] ? other : value[k];
            }
        for (int k = 0; k < K; k++) {
            before[k] = best[k * stride + t] + value[k];
            best[k * stride + t] = before[k];
        }
    }
    return steps;
}

WIDE
static int viterbi_alone(double *before, const double *a, double *best, ptrdiff_t stride, int K, int steps,
                         double *value)
{
    if (K == 2) /* too few for vectors over states: better unrolled */
        return viterbi_alone_k(before, a, best, stride, 2, steps, value);
    return viterbi_alone_k(before, a, best, stride, K, steps, value);
}

/* The state from which it is best to go to the one that `towards`, a row of K logarithms of transitions into it, is
 * about; the first of equals. `best` is a column. Without branches: the processor could not guess them. */
static ptrdiff_t best_before(const double *RESTRICT best, ptrdiff_t stride, const double *RESTRICT towards,
                             int K)
{
    double most = best[0] + towards[0];
    ptrdiff_t first = 0;
    for (int j = 1; j < K; j++) {
        const double other = best[j * stride] + towards[j];
        first = other > most ? j : first;
        most = other > most ? other : most;
    }
    return first;
}

#endif

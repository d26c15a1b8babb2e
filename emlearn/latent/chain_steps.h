/* The inner loops of the chain's recursions, written so that any compiler can turn them into vectors.
 *
 * Arrays are (K, m) with a row stride: state k of column c stands at k * stride + c. A step of n sequences side
 * by side is a run of n columns, and vectors run over lanes; they are independent, so that no sum is reordered.
 * Where a lane is alone, vectors run over states instead.
 */
#ifndef EMLEARN_CHAIN_STEPS_H
#define EMLEARN_CHAIN_STEPS_H

#include <stddef.h>

#include "vectors.h"

#define STRIP 64 /* lanes worked on at a time: what a step needs of them stays in the first cache */

/* Small numbers of states are compiled one by one, so that their loops unroll. Calls return a number, so that the
 * switch needs no breaks. */
#define FOR_EACH_K(K, call) \
    switch (K) { \
    case 1: return call(1); \
    case 2: return call(2); \
    case 3: return call(3); \
    case 4: return call(4); \
    case 5: return call(5); \
    case 6: return call(6); \
    case 7: return call(7); \
    case 8: return call(8); \
    default: return call(K); \
    }

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

/* Normalise joint probabilities (K, n): those below `flush` become 0. Returns whether the caller should look
 * closer: any was below `notice`, or a scale below `least`. */
INLINE int normalise(double *RESTRICT joint, ptrdiff_t stride, double *RESTRICT total, double *RESTRICT scale,
                     int K, int n, double flush, double notice, double least)
{
    long long closer = 0; /* as wide as a double, so that the loops turn into vectors */
    for (int l = 0; l < n; l++) {
        scale[l] = total[l];
        closer |= !(total[l] >= least);
        total[l] = 1.0 / total[l];
    }
    for (int k = 0; k < K; k++) {
        double *RESTRICT row = joint + k * stride;
        for (int l = 0; l < n; l++) {
            double p = row[l] * total[l];
            closer |= p < notice;
            row[l] = p < flush ? 0.0 : p;
        }
    }
    return closer != 0;
}

/* The first step: filtered = normalised start * density, for n lanes. */
WIDE
static int first_step(const double *start, const double *density, ptrdiff_t stride, double *filtered,
                      double *scale, int K, int n, double flush, double notice, double least)
{
    double total[STRIP];
    int closer = 0;
    for (int from = 0; from < n; from += STRIP) {
        const int some = n - from < STRIP ? n - from : STRIP;
        for (int l = 0; l < some; l++)
            total[l] = 0.0;
        for (int k = 0; k < K; k++)
            for (int l = 0; l < some; l++) {
                double joint = start[k] * density[k * stride + from + l];
                filtered[k * stride + from + l] = joint;
                total[l] += joint;
            }
        closer |= normalise(filtered + from, stride, total, scale + from, K, some, flush, notice, least);
    }
    return closer;
}

/* One step forward for n lanes: filtered = normalised (before @ transition) * density. */
WIDE
static int forward_step(const double *before, const double *transition, const double *density,
                        ptrdiff_t stride, double *filtered, double *scale, int K, int n, double flush,
                        double notice, double least)
{
    double total[STRIP];
    int closer = 0;
    for (int from = 0; from < n; from += STRIP) {
        const int some = n - from < STRIP ? n - from : STRIP;
        combine(before + from, stride, transition, K, some, filtered + from, stride);
        for (int l = 0; l < some; l++)
            total[l] = 0.0;
        for (int k = 0; k < K; k++) {
            const double *RESTRICT seen = density + k * stride + from;
            double *RESTRICT joint = filtered + k * stride + from;
            for (int l = 0; l < some; l++) {
                joint[l] *= seen[l];
                total[l] += joint[l];
            }
        }
        closer |= normalise(filtered + from, stride, total, scale + from, K, some, flush, notice, least);
    }
    return closer;
}

/* Up to `steps` steps forward for a lane alone, from `before`, a row of K: returns the number of steps done.
 * It leaves off after one that needs a closer look, which *closer then says. */
INLINE int forward_alone_k(double *RESTRICT before, const double *RESTRICT transition,
                           const double *RESTRICT density, ptrdiff_t stride, double *RESTRICT filtered,
                           double *RESTRICT scale, int K, int steps, double flush, double notice, double least,
                           double *RESTRICT mixed, int *closer)
{
    for (int t = 0; t < steps; t++) {
        double total = 0.0, low = 1.0;
        for (int k = 0; k < K; k++)
            mixed[k] = before[0] * transition[k];
        for (int j = 1; j < K; j++)
            for (int k = 0; k < K; k++)
                mixed[k] += before[j] * transition[(ptrdiff_t)j * K + k];
        for (int k = 0; k < K; k++) {
            mixed[k] *= density[k * stride + t];
            total += mixed[k];
        }
        scale[t] = total;
        const double inverse = 1.0 / total;
        for (int k = 0; k < K; k++) {
            double p = mixed[k] * inverse;
            low = p < low ? p : low;
            before[k] = p < flush ? 0.0 : p;
            filtered[k * stride + t] = before[k];
        }
        if (low < notice || !(total >= least)) {
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
                         double *mixed, int *closer)
{
    double few[8];
#define CALL(k) \
    forward_alone_k(before, transition, density, stride, filtered, scale, k, steps, flush, notice, least, \
                    k <= 8 ? few : mixed, closer)
    FOR_EACH_K(K, CALL)
#undef CALL
}

/* One step back for n lanes, from t + 1 to t. `beta` (K, n_lanes) holds p(what comes after t + 1 | state at
 * t + 1), relative to what was filtered; it becomes that of t. `ahead`, at the columns of t, is
 * density * beta / scale at t + 1: transition probabilities times it are the odds of going there. The
 * posterior of t + 1 takes the place of its density. */
WIDE
static void backward_step(const double *transposed, double *density, const double *filtered,
                          const double *scale, ptrdiff_t stride, double *ahead, ptrdiff_t ahead_stride,
                          double *beta, ptrdiff_t beta_stride, int K, int n)
{
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
    double few[8];
#define CALL(k) \
    backward_alone_k(transposed, density, filtered, scale, stride, ahead, ahead_stride, beta, k, steps, \
                     k <= 8 ? few : mixed)
    FOR_EACH_K(K, CALL)
#undef CALL
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

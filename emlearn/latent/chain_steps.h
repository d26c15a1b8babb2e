/* The inner loops of the chain's recursions, written so that any compiler can turn them into vectors.
 *
 * Arrays are (K, m) with a row stride: state k of column c stands at k * stride + c. A step of n sequences
 * side by side is a run of n columns. Lanes are independent, so that vectors change no result; where there is
 * one lane alone, vectors run over states instead. Where GCC or Clang and the C library allow, each function
 * is compiled for wider vectors too, and the processor's own version is picked at load time.
 */
#ifndef EMLEARN_CHAIN_STEPS_H
#define EMLEARN_CHAIN_STEPS_H

#include <stddef.h>

#define LANES 8  /* one AVX-512 vector, two of AVX2, four of SSE2 */
#define STATES 4 /* states that share one load of the step before */

#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && \
    (!defined(__clang__) || __clang_major__ >= 14)
#if !defined(__clang__) && __GNUC__ >= 12
#define WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#else
#define WIDE
#endif

#if defined(__GNUC__)
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#elif defined(_MSC_VER)
#define ALWAYS_INLINE static __forceinline
#else
#define ALWAYS_INLINE static inline
#endif

/* out[k][l] = sum_j in[j][l] * matrix[j, k] for n_states states from k on, n <= LANES lanes. */
ALWAYS_INLINE void mix(const double *in, ptrdiff_t in_stride, const double *matrix, int K, int k,
                       int n_states, int n, double out[STATES][LANES])
{
    for (int s = 0; s < n_states; s++)
        for (int l = 0; l < n; l++)
            out[s][l] = 0.0;
    for (int j = 0; j < K; j++) {
        const double *row = in + j * in_stride;
        const double *a = matrix + (ptrdiff_t)j * K + k;
        for (int s = 0; s < n_states; s++)
            for (int l = 0; l < n; l++)
                out[s][l] += row[l] * a[s];
    }
}

/* One step forward for n <= LANES lanes: filtered = normalised (before @ transition) * density.
 * Without a step before, `before` is the starting distribution (K,). Probabilities below `flush` become 0.
 * Returns whether any did, or whether a scale is below `least`: the caller then looks closer. */
ALWAYS_INLINE int forward_lanes(const double *before, ptrdiff_t before_stride, int is_first,
                                const double *transition, const double *density, ptrdiff_t stride,
                                double *filtered, double *scale, int K, int n, double flush,
                                double least)
{
    double total[LANES], low[LANES], mixed[STATES][LANES];
    for (int l = 0; l < n; l++)
        total[l] = 0.0;
    for (int k = 0; k < K;) {
        int n_states = K - k >= STATES ? STATES : 1;
        if (is_first) {
            n_states = 1;
            for (int l = 0; l < n; l++)
                mixed[0][l] = before[k];
        } else if (n_states == STATES)
            mix(before, before_stride, transition, K, k, STATES, n, mixed);
        else
            mix(before, before_stride, transition, K, k, 1, n, mixed);
        for (int s = 0; s < n_states; s++, k++)
            for (int l = 0; l < n; l++) {
                double joint = mixed[s][l] * density[k * stride + l];
                filtered[k * stride + l] = joint;
                total[l] += joint;
            }
    }
    int closer = 0;
    for (int l = 0; l < n; l++) {
        scale[l] = total[l];
        closer |= !(total[l] >= least);
        total[l] = 1.0 / total[l];
        low[l] = 1.0;
    }
    for (int k = 0; k < K; k++)
        for (int l = 0; l < n; l++) {
            double p = filtered[k * stride + l] * total[l];
            low[l] = p < low[l] ? p : low[l];
            filtered[k * stride + l] = p < flush ? 0.0 : p;
        }
    for (int l = 0; l < n; l++)
        closer |= low[l] < flush;
    return closer;
}

/* The same for one lane, vectors over states; `mixed` is scratch of 2 K. */
ALWAYS_INLINE int forward_lone(const double *before, ptrdiff_t before_stride, int is_first,
                               const double *transition, const double *density, ptrdiff_t stride,
                               double *filtered, double *scale, int K, double flush, double least,
                               double *mixed)
{
    double total = 0.0;
    int closer;
    if (is_first)
        for (int k = 0; k < K; k++)
            mixed[k] = before[k];
    else {
        for (int k = 0; k < K; k++)
            mixed[k] = 0.0;
        for (int j = 0; j < K; j++) {
            const double weight = before[j * before_stride];
            const double *a = transition + (ptrdiff_t)j * K;
            for (int k = 0; k < K; k++)
                mixed[k] += weight * a[k];
        }
    }
    for (int k = 0; k < K; k++) {
        mixed[k] *= density[k * stride];
        total += mixed[k];
    }
    *scale = total;
    closer = !(total >= least);
    total = 1.0 / total;
    for (int k = 0; k < K; k++) {
        double p = mixed[k] * total;
        closer |= p < flush;
        filtered[k * stride] = p < flush ? 0.0 : p;
    }
    return closer;
}

/* One step forward for any number of lanes. Returns whether any lane needs a closer look. */
WIDE
static int forward_step(const double *before, ptrdiff_t before_stride, int is_first,
                        const double *transition, const double *density, ptrdiff_t stride,
                        double *filtered, double *scale, int K, int n, double flush, double least,
                        double *scratch)
{
    int closer = 0, l = 0;
    if (n == 1)
        return forward_lone(before, before_stride, is_first, transition, density, stride, filtered,
                            scale, K, flush, least, scratch);
    for (; l + LANES <= n; l += LANES)
        closer |= forward_lanes(is_first ? before : before + l, before_stride, is_first, transition,
                                density + l, stride, filtered + l, scale + l, K, LANES, flush, least);
    if (l < n)
        closer |= forward_lanes(is_first ? before : before + l, before_stride, is_first, transition,
                                density + l, stride, filtered + l, scale + l, K, n - l, flush, least);
    return closer;
}

/* One step back for n <= LANES lanes, from t + 1 to t. `beta` (K, n_lanes) holds p(what comes after t + 1 | state
 * at t + 1), relative to what was filtered; it becomes that of t. `ahead`, at the columns of t, is
 * density * beta / scale at t + 1: transition probabilities times it are the odds of going there. The posterior of
 * t + 1 takes the place of its density. */
ALWAYS_INLINE void backward_lanes(const double *transposed, double *density, const double *filtered,
                                  const double *scale, ptrdiff_t stride, double *ahead, ptrdiff_t ahead_stride, double *beta,
                                  ptrdiff_t beta_stride, int K, int n)
{
    double inverse[LANES], mixed[STATES][LANES];
    for (int l = 0; l < n; l++)
        inverse[l] = scale[l] > 0.0 ? 1.0 / scale[l] : 0.0;
    for (int k = 0; k < K; k++)
        for (int l = 0; l < n; l++) {
            double after = beta[k * beta_stride + l], here = filtered[k * stride + l];
            double there = density[k * stride + l] * inverse[l] * after;
            ahead[k * ahead_stride + l] = here > 0.0 ? there : 0.0;
            density[k * stride + l] = here > 0.0 ? here * after : 0.0;
        }
    for (int k = 0; k < K;) {
        int n_states = K - k >= STATES ? STATES : 1;
        if (n_states == STATES)
            mix(ahead, ahead_stride, transposed, K, k, STATES, n, mixed);
        else
            mix(ahead, ahead_stride, transposed, K, k, 1, n, mixed);
        for (int s = 0; s < n_states; s++, k++)
            for (int l = 0; l < n; l++)
                beta[k * beta_stride + l] = mixed[s][l];
    }
}

/* The same for one lane, vectors over states; `mixed` is scratch of K. */
ALWAYS_INLINE void backward_lone(const double *transposed, double *density, const double *filtered,
                                 const double *scale, ptrdiff_t stride, double *ahead, ptrdiff_t ahead_stride, double *beta,
                                 ptrdiff_t beta_stride, int K, double *mixed)
{
    const double inverse = *scale > 0.0 ? 1.0 / *scale : 0.0;
    for (int k = 0; k < K; k++)
        mixed[k] = 0.0;
    for (int j = 0; j < K; j++) {
        const double *a = transposed + (ptrdiff_t)j * K;
        double after = beta[j * beta_stride], here = filtered[j * stride];
        double there = here > 0.0 ? density[j * stride] * inverse * after : 0.0;
        ahead[j * ahead_stride] = there;
        density[j * stride] = here > 0.0 ? here * after : 0.0;
        for (int k = 0; k < K; k++)
            mixed[k] += there * a[k];
    }
    for (int k = 0; k < K; k++)
        beta[k * beta_stride] = mixed[k];
}

/* One step back for any number of lanes. */
WIDE
static void backward_step(const double *transposed, double *density, const double *filtered,
                          const double *scale, ptrdiff_t stride, double *ahead, ptrdiff_t ahead_stride, double *beta,
                          ptrdiff_t beta_stride, int K, int n, double *scratch)
{
    int l = 0;
    if (n == 1) {
        backward_lone(transposed, density, filtered, scale, stride, ahead, ahead_stride, beta, beta_stride, K, scratch);
        return;
    }
    for (; l + LANES <= n; l += LANES)
        backward_lanes(transposed, density + l, filtered + l, scale + l, stride, ahead + l, ahead_stride, beta + l,
                       beta_stride, K, LANES);
    if (l < n)
        backward_lanes(transposed, density + l, filtered + l, scale + l, stride, ahead + l, ahead_stride, beta + l,
                       beta_stride, K, n - l);
}

/* One step of Viterbi for n <= LANES lanes: best[k] += max_j before[j] + log_transition[j, k]; `from` says
 * which j, the first of equals. */
ALWAYS_INLINE void viterbi_lanes(const double *before, const double *log_transition, double *best,
                                 ptrdiff_t stride, short *from, ptrdiff_t from_stride, int K, int n)
{
    for (int k = 0; k < K; k++) {
        double value[LANES];
        long long state[LANES];
        for (int l = 0; l < n; l++) {
            value[l] = before[l] + log_transition[k];
            state[l] = 0;
        }
        for (int j = 1; j < K; j++) {
            const double a = log_transition[(ptrdiff_t)j * K + k];
            const double *row = before + j * stride;
            for (int l = 0; l < n; l++) {
                double other = row[l] + a;
                state[l] = other > value[l] ? j : state[l];
                value[l] = other > value[l] ? other : value[l];
            }
        }
        for (int l = 0; l < n; l++) {
            best[k * stride + l] += value[l];
            from[k * from_stride + l] = (short)state[l];
        }
    }
}

ALWAYS_INLINE void viterbi_lone(const double *before, const double *log_transition, double *best,
                                ptrdiff_t stride, short *from, ptrdiff_t from_stride, int K,
                                double *value, long long *state)
{
    for (int k = 0; k < K; k++) {
        value[k] = before[0] + log_transition[k];
        state[k] = 0;
    }
    for (int j = 1; j < K; j++) {
        const double *a = log_transition + (ptrdiff_t)j * K;
        const double here = before[j * stride];
        for (int k = 0; k < K; k++) {
            double other = here + a[k];
            state[k] = other > value[k] ? j : state[k];
            value[k] = other > value[k] ? other : value[k];
        }
    }
    for (int k = 0; k < K; k++) {
        best[k * stride] += value[k];
        from[k * from_stride] = (short)state[k];
    }
}

WIDE
static void viterbi_step(const double *before, const double *log_transition, double *best,
                         ptrdiff_t stride, short *from, ptrdiff_t from_stride, int K, int n,
                         double *value, long long *state)
{
    int l = 0;
    if (n == 1) {
        viterbi_lone(before, log_transition, best, stride, from, from_stride, K, value, state);
        return;
    }
    for (; l + LANES <= n; l += LANES)
        viterbi_lanes(before + l, log_transition, best + l, stride, from + l, from_stride, K, LANES);
    if (l < n)
        viterbi_lanes(before + l, log_transition, best + l, stride, from + l, from_stride, K, n - l);
}

#endif

/* How loops are compiled. With GCC or Clang and the GNU C library a WIDE function is compiled for wider vectors too,
 * and the processor's own version is picked at load time.
 */
#ifndef EMLEARN_VECTORS_H
#define EMLEARN_VECTORS_H

#include <limits.h> /* with the GNU C library it defines __GLIBC__ */

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

/* Before a loop whose turns do not depend on one another, which compilers cannot tell where rows have a stride; and
 * before the loops of few turns inside it. */
#if defined(__clang__)
#define LANES _Pragma("clang loop vectorize(assume_safety)")
#define UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define LANES _Pragma("GCC ivdep")
#define UNROLL _Pragma("GCC unroll 8")
#else
#define LANES
#define UNROLL
#endif

#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#define RESTRICT __restrict__
#elif defined(_MSC_VER)
#define INLINE static __forceinline
#define RESTRICT __restrict
#else
#define INLINE static inline
#define RESTRICT
#endif

#endif

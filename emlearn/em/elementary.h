/* Exponentials and logarithms that compilers can turn into vectors. */
#ifndef EMLEARN_ELEMENTARY_H
#define EMLEARN_ELEMENTARY_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "vectors.h"

#define COLUMNS 64 /* of a strip, all of which stays in the first cache */
#define LEAST_EXPONENT -708.0 /* below, exponentials are no normal numbers */
#define LOG_2 0.693147180559945309
#define LOG_2_HIGH 6.93147180369123816490e-01 /* ends in zeros: times a small integer it is exact */
#define LOG_2_LOW 1.90821492927058770002e-10
/* Added to a number of less than 2^51 this rounds it, and leaves it in the last bits. */
#define ROUNDING 6755399441055744.0
#define ROUNDING_BITS 0x4338000000000000u
#define ROOT_HALF_BITS 0x3fe6a09e667f3bcdu
#define LEAST_POWER 1024 /* powers of 2 are counted from below the least */

INLINE uint64_t bits_of(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

INLINE double of_bits(uint64_t bits)
{
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* e^x for x <= 0, or NaN; 0 below LEAST_EXPONENT. x = n log 2 + r, and a Taylor series for |r| <= log 2 / 2. */
INLINE double exp_of(double x)
{
    const double rounded = x * (1.0 / LOG_2) + ROUNDING, n = rounded - ROUNDING;
    const double r = (x - n * LOG_2_HIGH) - n * LOG_2_LOW;
    double sum = 1.0 / 6227020800.0;
    sum = sum * r + 1.0 / 479001600.0;
    sum = sum * r + 1.0 / 39916800.0;
    sum = sum * r + 1.0 / 3628800.0;
    sum = sum * r + 1.0 / 362880.0;
    sum = sum * r + 1.0 / 40320.0;
    sum = sum * r + 1.0 / 5040.0;
    sum = sum * r + 1.0 / 720.0;
    sum = sum * r + 1.0 / 120.0;
    sum = sum * r + 1.0 / 24.0;
    sum = sum * r + 1.0 / 6.0;
    sum = sum * r + 0.5;
    sum = sum * r + 1.0;
    sum = sum * r + 1.0;
    return x < LEAST_EXPONENT ? 0.0 : sum * of_bits((bits_of(rounded) + 1023) << 52);
}

/* log x for normal x > 0, or NaN. x = 2^n y with y from sqrt(1/2) to sqrt(2), and log y = 2 artanh((y - 1) / (y + 1)). */
INLINE double log_of(double x)
{
    const uint64_t power = (bits_of(x) - ROOT_HALF_BITS + ((uint64_t)LEAST_POWER << 52)) >> 52;
    const double n = of_bits(ROUNDING_BITS + power) - (ROUNDING + LEAST_POWER);
    const double y = of_bits(bits_of(x) - ((power - LEAST_POWER) << 52));
    const double s = (y - 1.0) / (y + 1.0), z = s * s;
    double sum = 1.0 / 23.0;
    sum = sum * z + 1.0 / 21.0;
    sum = sum * z + 1.0 / 19.0;
    sum = sum * z + 1.0 / 17.0;
    sum = sum * z + 1.0 / 15.0;
    sum = sum * z + 1.0 / 13.0;
    sum = sum * z + 1.0 / 11.0;
    sum = sum * z + 1.0 / 9.0;
    sum = sum * z + 1.0 / 7.0;
    sum = sum * z + 1.0 / 5.0;
    sum = sum * z + 1.0 / 3.0;
    return n * LOG_2 + 2.0 * (s + s * (z * sum)) + (x - x); /* the last is NaN where x is */
}

#endif

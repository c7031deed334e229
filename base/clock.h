/* base/clock.h - the only clock of the program. Any thread. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* Monotonic time since an arbitrary start; never goes back. */
uint64_t clock_now_us(void);
uint64_t clock_now_ms(void);

/* Wall-clock milliseconds since 1970, for people and logs only: never for deadlines. */
uint64_t clock_wall_ms(void);

#endif

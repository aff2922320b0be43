/* Assertions of the debug build. FANOUT_DEBUG is 0 or 1, set by setup.py. */
#ifndef FANOUT_DEBUG_H
#define FANOUT_DEBUG_H

#include <stdio.h>
#include <stdlib.h>

#if FANOUT_DEBUG
#define FANOUT_ASSERT(condition)                                              \
    do {                                                                      \
        if (!(condition)) {                                                   \
            fprintf(stderr, "%s:%d: assertion failed: %s\n", __FILE__,        \
                    __LINE__, #condition);                                    \
            abort();                                                          \
        }                                                                     \
    } while (0)
#else
/* Not evaluated, but still seen by the compiler. */
#define FANOUT_ASSERT(condition) ((void)sizeof(condition))
#endif

#endif

/* A clock that is SKEW_SECONDS ahead of the system's, for the process that this is loaded into before the C library. Nothing here
 * allocates: the program's allocator asks for the time before anything else is ready, which libfaketime does not survive. */

#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *at)
{
    long outcome = syscall(SYS_clock_gettime, clock, at);
    if (outcome == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        at->tv_sec += SKEW_SECONDS;
    return (int)outcome;
}

/* A wall clock that another process may step: stands before the C library's (LD_PRELOAD).
 *
 * Of all clocks only the real-time one is moved, by the nanoseconds that stand in the file
 * named by STORM_CLOCK, mapped: reading it costs nothing and cannot fail. Sleeps, timeouts
 * and monotonic time stay the kernel's, as where NTP or an administrator steps a clock.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000LL

static const volatile int64_t *offset_ns;
static int (*read_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    read_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("STORM_CLOCK");
    int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        offset_ns = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int failed = read_clock != NULL ? read_clock(clock, now)
                                    : (int)syscall(SYS_clock_gettime, clock, now);
    if (failed == 0 && offset_ns != NULL
        && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t read_ns = now->tv_sec * SECOND_NS + now->tv_nsec + *offset_ns;
        now->tv_sec = read_ns / SECOND_NS;
        now->tv_nsec = read_ns % SECOND_NS;
    }
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec read;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &read) != 0)
        return -1;
    now->tv_sec = read.tv_sec;
    now->tv_usec = read.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now)
{
    struct timespec read;
    clock_gettime(CLOCK_REALTIME, &read);
    if (now != NULL)
        *now = read.tv_sec;
    return read.tv_sec;
}

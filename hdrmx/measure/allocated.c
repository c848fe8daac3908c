/* Counts what is asked of malloc and its kin, for `hdrmx profile --count`. Built where there is a C compiler, then loaded
   before all other libraries (LD_PRELOAD); needs glibc, whose own functions it calls on. */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static _Atomic unsigned long long bytes, calls;

static void note(size_t n) {
    atomic_fetch_add_explicit(&bytes, n, memory_order_relaxed);
    atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed);
}

unsigned long long hdrmx_allocated_bytes(void) { return bytes; }
unsigned long long hdrmx_allocated_calls(void) { return calls; }

void *malloc(size_t n) { note(n); return __libc_malloc(n); }
void *calloc(size_t k, size_t n) { note(k * n); return __libc_calloc(k, n); }
void *realloc(void *p, size_t n) { note(n); return __libc_realloc(p, n); }
void *memalign(size_t a, size_t n) { note(n); return __libc_memalign(a, n); }
void *aligned_alloc(size_t a, size_t n) { note(n); return __libc_memalign(a, n); }

int posix_memalign(void **p, size_t a, size_t n) {
    note(n);
    *p = __libc_memalign(a, n);
    return *p ? 0 : ENOMEM;
}

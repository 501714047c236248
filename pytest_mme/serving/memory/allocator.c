/* A byte budget on large allocations, shared by the workers of one server; see allocator.py.
 *
 * TensorFlow allocates tensors through posix_memalign and friends and reports RESOURCE_EXHAUSTED when they fail, so
 * those are refused once the budget is spent. malloc is counted but never refused: C++ code answers that with abort().
 * Both are undone in free() by the block's usable size. glibc only.
 */
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

enum { SLOTS = 1024, LARGE = 64 * 1024 };

static struct ledger {
    long limit;
    _Atomic long refusals;
    _Atomic long used[SLOTS];
} *ledger;
static int slot = -1;

__attribute__((constructor)) static void open_ledger(void) {
    const char *descriptor = getenv("MME_ALLOCATOR_FD");
    if (!descriptor) return;
    void *memory = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(descriptor), 0);
    if (memory != MAP_FAILED) ledger = memory;
}

/* Called by a worker once it is forked: from here on its large allocations count. */
void mme_allocator_use_slot(int number) { slot = number; }

static int counted(size_t bytes) { return ledger && slot >= 0 && bytes >= LARGE; }

static void count(size_t bytes) {
    if (counted(bytes)) atomic_fetch_add(&ledger->used[slot], (long)bytes);
}

static void discount(void *block) {
    size_t bytes = block ? malloc_usable_size(block) : 0;
    if (counted(bytes)) atomic_fetch_sub(&ledger->used[slot], (long)bytes);
}

static int fits(size_t bytes) {
    if (!counted(bytes)) return 1;
    long sum = (long)bytes;
    for (int i = 0; i < SLOTS; i++) sum += atomic_load_explicit(&ledger->used[i], memory_order_relaxed);
    if (sum <= ledger->limit) return 1;
    atomic_fetch_add(&ledger->refusals, 1);
    return 0;
}

static void *counted_block(void *block) {
    if (block) count(malloc_usable_size(block));
    return block;
}

void *memalign(size_t alignment, size_t bytes) {
    if (!fits(bytes)) { errno = ENOMEM; return NULL; }
    return counted_block(__libc_memalign(alignment, bytes));
}

void *aligned_alloc(size_t alignment, size_t bytes) { return memalign(alignment, bytes); }

int posix_memalign(void **result, size_t alignment, size_t bytes) {
    void *block = memalign(alignment, bytes);
    if (!block) return ENOMEM;
    *result = block;
    return 0;
}

void *malloc(size_t bytes) { return counted_block(__libc_malloc(bytes)); }

void *calloc(size_t members, size_t bytes) { return counted_block(__libc_calloc(members, bytes)); }

void *realloc(void *old, size_t bytes) {
    size_t before = old ? malloc_usable_size(old) : 0;
    void *block = __libc_realloc(old, bytes);
    if (block || !bytes) {
        if (counted(before)) atomic_fetch_sub(&ledger->used[slot], (long)before);
        counted_block(block);
    }
    return block;
}

void free(void *block) {
    discount(block);
    __libc_free(block);
}

// Stands for libax_sys.so in tests and demonstrations. Its cached memory behaves as if nothing were coherent: the NPU has a copy of its own,
// which only a flush brings up to date, and the CPU sees what the NPU wrote only after an invalidation. Never found by accident: see
// ax-engine-standin.c, with which it is used.

#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ax-engine-abi.h"
#include "standin-graph.h"

#define SYS_ERROR(byte) ((int)(0x800B0000u | (byte)))

enum { ILLEGAL = 0x0A, NULL_POINTER = 0x0B, NOT_READY = 0x10, NO_MEMORY = 0x18, NO_FREE = 0x82 };
enum { ALIGNMENT = 128 };

typedef struct block {
  struct block *next;
  uint64_t physical;
  void *at, *device;
  uint32_t bytes;
} block;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static block *blocks = NULL;
static uint64_t next_physical = 0x14926F000;
static int users = 0;

EXPORT int64_t standin_live_objects(void) {
  pthread_mutex_lock(&lock);
  int64_t count = 0;
  for (const block *at = blocks; at != NULL; at = at->next) count++;
  pthread_mutex_unlock(&lock);
  return count;
}

static int fault(const char *function) {
  const int64_t code = standin_fault(function);
  if (code == STANDIN_GONE) return SYS_ERROR(NOT_READY);
  return code == STANDIN_GARBAGE ? 0 : (int)code;
}

EXPORT int AX_SYS_Init(void) {
  const int failed = fault("AX_SYS_Init");
  pthread_mutex_lock(&lock);
  if (failed == 0) users++;
  pthread_mutex_unlock(&lock);
  return failed;
}

EXPORT int AX_SYS_Deinit(void) {
  pthread_mutex_lock(&lock);
  const bool was_up = users > 0;
  users -= was_up;
  pthread_mutex_unlock(&lock);
  return was_up ? 0 : SYS_ERROR(NOT_READY);
}

EXPORT int standin_sys_is_up(void) {
  pthread_mutex_lock(&lock);
  const bool up = users > 0;
  pthread_mutex_unlock(&lock);
  return up;
}

static block *find(uint64_t physical, const void *at, uint32_t bytes) {
  pthread_mutex_lock(&lock);
  block *found = blocks;
  while (found != NULL && (found->physical != physical || found->at != at || found->bytes < bytes)) found = found->next;
  pthread_mutex_unlock(&lock);
  return found;
}

EXPORT void *standin_sys_memory(uint64_t physical, const void *at, uint32_t bytes) {
  const block *found = find(physical, at, bytes);
  return found == NULL ? NULL : found->device;
}

EXPORT int AX_SYS_MemAllocCached(uint64_t *physical, void **at, uint32_t size, uint32_t align, const char *token) {
  const int failed = fault("AX_SYS_MemAllocCached");
  if (failed) return failed;
  if (!standin_sys_is_up()) return SYS_ERROR(NOT_READY);
  if (physical == NULL || at == NULL || token == NULL) return SYS_ERROR(NULL_POINTER);
  if (size == 0 || align != ALIGNMENT) return SYS_ERROR(ILLEGAL);
  const size_t rounded = ((size_t)size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  block *made = calloc(1, sizeof *made);
  *made = (block){.at = aligned_alloc(ALIGNMENT, rounded), .device = aligned_alloc(ALIGNMENT, rounded), .bytes = size};
  memset(made->at, 0xA5, rounded); // not zero, as memory from the system is not
  memset(made->device, 0xA5, rounded);
  pthread_mutex_lock(&lock);
  made->physical = next_physical;
  next_physical += rounded;
  made->next = blocks;
  blocks = made;
  pthread_mutex_unlock(&lock);
  *physical = made->physical;
  *at = made->at;
  return 0;
}

EXPORT int AX_SYS_MemFree(uint64_t physical, void *at) {
  pthread_mutex_lock(&lock);
  block **link = &blocks;
  while (*link != NULL && ((*link)->physical != physical || (*link)->at != at)) link = &(*link)->next;
  block *gone = *link;
  if (gone != NULL) *link = gone->next;
  pthread_mutex_unlock(&lock);
  if (gone == NULL) return SYS_ERROR(NO_FREE);
  free(gone->at);
  free(gone->device);
  free(gone);
  return 0;
}

EXPORT int AX_SYS_MflushCache(uint64_t physical, void *at, uint32_t bytes) {
  const int failed = fault("AX_SYS_MflushCache");
  const block *found = find(physical, at, bytes);
  if (failed || found == NULL) return failed ? failed : SYS_ERROR(ILLEGAL);
  memcpy(found->device, found->at, bytes);
  return 0;
}

EXPORT int AX_SYS_MinvalidateCache(uint64_t physical, void *at, uint32_t bytes) {
  const int failed = fault("AX_SYS_MinvalidateCache");
  const block *found = find(physical, at, bytes);
  if (failed || found == NULL) return failed ? failed : SYS_ERROR(ILLEGAL);
  memcpy(found->at, found->device, bytes);
  return 0;
}

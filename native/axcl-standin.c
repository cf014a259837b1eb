// Stands for libaxcl_rt.so and the card behind it in tests and demonstrations: the same functions, the same checks and the vendor's own
// oddities, over a graph that ONNX Runtime computes in f32. Device pointers and handles are numbers from a table, no addresses of this process:
// whoever reads through one crashes. Never found by accident: only a path given by hand leads to it, and its version says what it is.
// As strict as it can be: what a real one may let pass is an error here.
//
// The environment describes the card: TTS_STANDIN_AXCL_DEVICES (ids, "1,4"; "" is none; "1" when unset), TTS_STANDIN_AXCL_CARD (the version of
// its software), TTS_STANDIN_AXCL_CMM_KB (its memory for models and buffers), TTS_STANDIN_AXCL_LOG (where the log is written; else nowhere).

#define _GNU_SOURCE
#include "axcl-standin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION "V3.10.2 (stand-in)"

enum { MOST_DEVICES = 8, ALIGNMENT = 128 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static object *objects;
static int init_users, device_count, device_users[MOST_DEVICES];
static int32_t devices[MOST_DEVICES];
static uint64_t next_handle = 0x5000000000, next_address = 0x14926F000, used_cmm, all_cmm;
bool axcl_engine_is_up;
static _Thread_local uint64_t current_context;

void axcl_lock(void) { pthread_mutex_lock(&lock); }

axclError axcl_leave(axclError result) {
  pthread_mutex_unlock(&lock);
  return result;
}

/** Objects made and not destroyed, initialisations and uses of devices included. */
EXPORT int64_t standin_live_objects(void) {
  axcl_lock();
  int64_t live = init_users;
  for (int i = 0; i < device_count; i++) live += device_users[i];
  for (const object *at = objects; at != NULL; at = at->next) live++;
  axcl_leave(0);
  return live;
}

void axcl_log(const char *line, int32_t status) {
  const char *path = getenv("TTS_STANDIN_AXCL_LOG");
  FILE *log = path == NULL ? NULL : fopen(path, "a");
  if (log == NULL) return;
  fprintf(log, "[2026-01-01 00:00:00.000][1][E][axcl]: %s, status: %d\n", line, status);
  fclose(log);
}

static const char *setting(const char *name, const char *otherwise) {
  const char *value = getenv(name);
  return value == NULL ? otherwise : value;
}

axclError axcl_fault(const char *function) {
  const int64_t code = standin_fault(function);
  if (code == STANDIN_GONE) return axcl_gone();
  return code == STANDIN_GARBAGE ? 0 : (axclError)code;
}

axclError axcl_gone(void) {
  axcl_log("device is dead", 0);
  return ERROR(TASK_FAILED);
}

object *axcl_find(enum kind kind, uint64_t id) {
  object *at = objects;
  while (at != NULL && (at->kind != kind || at->id != id)) at = at->next;
  return at;
}

object *axcl_find_handle(enum kind kind, const void *handle) { return axcl_find(kind, (uint64_t)(uintptr_t)handle); }

const object *axcl_objects(void) { return objects; }
uint64_t axcl_new_handle(void) { return next_handle += 16; }

object *axcl_make(enum kind kind) {
  object *made = calloc(1, sizeof *made);
  made->kind = kind;
  made->id = axcl_new_handle();
  made->next = objects;
  objects = made;
  return made;
}

void axcl_destroy(object *gone) {
  object **at = &objects;
  while (*at != gone) at = &(*at)->next;
  *at = gone->next;
  used_cmm -= gone->bytes;
  if (gone->graph != NULL) graph_close(gone->graph);
  free(gone->host);
  free(gone->inputs);
  free(gone->outputs);
  free(gone);
}

static int device_index(int32_t device) {
  for (int i = 0; i < device_count; i++)
    if (devices[i] == device) return i;
  return -1;
}

axclError axcl_enter(const char *function) {
  const axclError failed = axcl_fault(function);
  if (failed != 0) return failed;
  axcl_lock();
  if (current_context != 0 && axcl_find(CONTEXT, current_context) != NULL) return 0;
  return axcl_leave(ERROR(NO_CONTEXT));
}

static void read_card(void) {
  char list[64];
  snprintf(list, sizeof list, "%s", setting("TTS_STANDIN_AXCL_DEVICES", "1"));
  device_count = 0;
  char *rest = NULL;
  for (char *id = strtok_r(list, ",", &rest); id != NULL && device_count < MOST_DEVICES; id = strtok_r(NULL, ",", &rest))
    devices[device_count++] = atoi(id);
  all_cmm = strtoull(setting("TTS_STANDIN_AXCL_CMM_KB", "7208960"), NULL, 10) * 1024;
}

EXPORT axclError axclInit(const char *config) {
  (void)config;
  const axclError failed = axcl_fault("axclInit");
  if (failed != 0) return failed;
  axcl_lock();
  if (init_users == 0) read_card();
  if (device_count == 0) return axcl_leave(ERROR(NO_CARD));
  init_users++;
  return axcl_leave(0);
}

EXPORT axclError axclFinalize(void) {
  axcl_lock();
  if (init_users > 0) init_users--;
  return axcl_leave(0);
}

EXPORT const char *axclrtGetFullVersion(void) { return VERSION; }

EXPORT axclError axclrtGetDeviceList(axclrtDeviceList *list) {
  const axclError failed = axcl_fault("axclrtGetDeviceList");
  if (failed != 0) return failed;
  axcl_lock();
  list->num = init_users == 0 ? 0 : (uint32_t)device_count;
  memcpy(list->devices, devices, sizeof devices);
  return axcl_leave(0);
}

EXPORT axclError axclrtSetDevice(int32_t device) {
  const axclError failed = axcl_fault("axclrtSetDevice");
  if (failed != 0) return failed;
  axcl_lock();
  const int index = device_index(device);
  if (init_users == 0 || index < 0) return axcl_leave(ERROR(BAD_DEVICE));
  device_users[index]++; // the default context that the first one gets is left out: nobody should rely on it
  return axcl_leave(0);
}

EXPORT axclError axclrtResetDevice(int32_t device) {
  axcl_lock();
  const int index = device_index(device);
  if (index < 0) return axcl_leave(ERROR(BAD_DEVICE));
  if (device_users[index] == 0) return axcl_leave(ERROR(NOT_ACTIVE));
  if (--device_users[index] == 0) axcl_engine_is_up = false; // the card's worker ends
  return axcl_leave(0);
}

EXPORT axclError axclrtGetDeviceProperties(int32_t device, axclrtDeviceProperties *properties) {
  const axclError failed = axcl_fault("axclrtGetDeviceProperties");
  if (failed != 0) return failed;
  axcl_lock();
  if (init_users == 0 || device_index(device) < 0) return axcl_leave(ERROR(BAD_DEVICE));
  current_context = 0; // the vendor's selects the card and gives it back: nobody should rely on what this thread has then
  memset(properties, 0, sizeof *properties);
  snprintf(properties->swVersion, sizeof properties->swVersion, "%s", setting("TTS_STANDIN_AXCL_CARD", "Ax_Version V3.10.2"));
  properties->uid = 0x6007080746221049;
  properties->pciBusID = (uint32_t)device;
  properties->temperature = 41500;
  properties->totalMemSize = 968356;
  properties->freeMemSize = 816844;
  properties->totalCmmSize = (uint32_t)(all_cmm / 1024);
  properties->freeCmmSize = (uint32_t)((all_cmm - used_cmm) / 1024);
  properties->cpuLoading = 230;
  properties->npuLoading = 50;
  return axcl_leave(0);
}

EXPORT axclError axclrtCreateContext(axclrtContext *context, int32_t device) {
  const axclError failed = axcl_fault("axclrtCreateContext");
  if (failed != 0) return failed;
  axcl_lock();
  const int index = device_index(device);
  if (index < 0) return axcl_leave(ERROR(BAD_DEVICE));
  if (device_users[index] == 0) return axcl_leave(ERROR(NOT_ACTIVE));
  current_context = axcl_make(CONTEXT)->id;
  *context = (void *)(uintptr_t)current_context;
  return axcl_leave(0);
}

EXPORT axclError axclrtDestroyContext(axclrtContext context) {
  axcl_lock();
  object *found = axcl_find_handle(CONTEXT, context);
  if (found == NULL) return axcl_leave(ERROR(BAD_CONTEXT));
  axcl_destroy(found); // threads that used it have none now
  return axcl_leave(0);
}

EXPORT axclError axclrtSetCurrentContext(axclrtContext context) {
  axcl_lock();
  const object *found = axcl_find_handle(CONTEXT, context);
  if (found == NULL) return axcl_leave(ERROR(BAD_CONTEXT));
  current_context = found->id;
  return axcl_leave(0);
}

bool axcl_take_memory(uint64_t bytes) {
  if (used_cmm + bytes <= all_cmm) return used_cmm += bytes, true;
  axcl_log("request api(0) return fail", AX_ERROR(CARD_NO_MEMORY));
  return false;
}

EXPORT axclError axclrtMalloc(void **pointer, size_t size, int32_t policy) {
  if (pointer == NULL) return ERROR(MEMORY_NULL);
  const axclError failed = axcl_enter("axclrtMalloc");
  if (failed != 0) return failed;
  if (size == 0 || size > UINT32_MAX || policy < 0 || policy > 3) return axcl_leave(ERROR(MEMORY_ILLEGAL));
  if (!axcl_take_memory(size)) return axcl_leave(ERROR(MEMORY_FAILED));
  object *made = axcl_make(MEMORY);
  made->id = next_address;
  made->bytes = size;
  made->host = malloc(size);
  memset(made->host, 0xA5, size); // not zero, until somebody clears it
  next_address += (size + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  *pointer = (void *)(uintptr_t)made->id;
  return axcl_leave(0);
}

EXPORT axclError axclrtFree(void *pointer) {
  const axclError failed = axcl_enter("axclrtFree");
  if (failed != 0) return failed;
  object *found = axcl_find_handle(MEMORY, pointer);
  if (found == NULL) return axcl_leave(ERROR(NOT_DEVICE_MEMORY));
  axcl_destroy(found);
  return axcl_leave(0);
}

void axcl_give_memory(uint64_t bytes) { used_cmm -= bytes; }

void *axcl_on_card(uint64_t address, uint64_t size) {
  for (object *at = objects; at != NULL; at = at->next)
    if (at->kind == MEMORY && address >= at->id && size <= at->bytes && address - at->id <= at->bytes - size)
      return (char *)at->host + (address - at->id);
  return NULL;
}

static void *behind(const void *pointer, size_t size) { return axcl_on_card((uint64_t)(uintptr_t)pointer, size); }

EXPORT axclError axclrtMemset(void *pointer, uint8_t value, size_t size) {
  const axclError failed = axcl_enter("axclrtMemset");
  if (failed != 0) return failed;
  void *host = behind(pointer, size);
  if (host == NULL) return axcl_leave(ERROR(NOT_DEVICE_MEMORY));
  memset(host, value, size);
  return axcl_leave(0);
}

EXPORT axclError axclrtMemcpy(void *to, const void *from, size_t size, int32_t kind) {
  if (to == NULL || from == NULL) return ERROR(MEMORY_NULL);
  const axclError failed = axcl_enter("axclrtMemcpy");
  if (failed != 0) return failed;
  if (size == 0 || size > UINT32_MAX || kind < AXCL_HOST_TO_HOST || kind > AXCL_DEVICE_TO_DEVICE) return axcl_leave(ERROR(MEMORY_ILLEGAL));
  const bool to_card = (kind & 1) != 0, from_card = (kind & 2) != 0;
  void *target = behind(to, size);
  const void *source = behind(from, size);
  if ((target != NULL) != to_card || (source != NULL) != from_card) return axcl_leave(ERROR(NOT_DEVICE_MEMORY));
  memmove(to_card ? target : to, from_card ? source : from, size);
  return axcl_leave(0);
}

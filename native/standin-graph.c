// ONNX Runtime behind the stand-ins: found by the environment variable TTS_STANDIN_ONNXRUNTIME, called through its C table by slot numbers
// (those of ffi/_ort-slots.ts), one thread per run. Sessions are kept by content, so that opening the same model again is quick.

#define _DEFAULT_SOURCE
#include "standin-graph.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { HEADER_BYTES = 32, FLAG_QUANTISED = 1, FLAG_PADDED_ROWS = 2, ORT_API_VERSION = 20, LOG_FATAL = 4, OPTIMIZE_ALL = 99, TYPE_F32 = 1 };
static const unsigned char MAGIC[8] = {'T', 'T', 'S', 'N', 'P', 'U', '\r', '\n'};

enum slot {
  CREATE_ENV = 3,
  CREATE_SESSION_FROM_ARRAY = 8,
  RUN = 9,
  CREATE_SESSION_OPTIONS = 10,
  SET_SESSION_LOG_SEVERITY_LEVEL = 22,
  SET_SESSION_GRAPH_OPTIMIZATION_LEVEL = 23,
  SET_INTRA_OP_NUM_THREADS = 24,
  SET_INTER_OP_NUM_THREADS = 25,
  SESSION_GET_INPUT_COUNT = 30,
  SESSION_GET_OUTPUT_COUNT = 31,
  SESSION_GET_INPUT_TYPE_INFO = 33,
  SESSION_GET_OUTPUT_TYPE_INFO = 34,
  SESSION_GET_INPUT_NAME = 36,
  SESSION_GET_OUTPUT_NAME = 37,
  CREATE_TENSOR_WITH_DATA_AS_ORT_VALUE = 49,
  CAST_TYPE_INFO_TO_TENSOR_INFO = 55,
  GET_TENSOR_ELEMENT_TYPE = 60,
  GET_DIMENSIONS_COUNT = 61,
  GET_DIMENSIONS = 62,
  CREATE_CPU_MEMORY_INFO = 69,
  ALLOCATOR_FREE = 76,
  GET_ALLOCATOR_WITH_DEFAULT_OPTIONS = 78,
  RELEASE_STATUS = 93,
  RELEASE_SESSION = 95,
  RELEASE_VALUE = 96,
  RELEASE_TYPE_INFO = 98,
  RELEASE_SESSION_OPTIONS = 100,
};

typedef void (*function)(void);
typedef struct {
  const function *(*get_api)(uint32_t);
  const char *(*get_version)(void);
} api_base;

static const function *table;
static void *env, *allocator, *memory;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

typedef struct session {
  struct session *next;
  int users;
  void *handle;
  unsigned char *model;
  size_t bytes;
} session;
static session *sessions;

struct graph {
  session *session;
  uint32_t toolkit, platform, flags;
  int inputs, outputs;
  graph_tensor *tensors; // inputs, then outputs
  const char **names;
  void **values;
};

// A call of a slot whose C arguments have these types; all of these return NULL or a status.
#define CALL(slot, types, ...) ((void *(*)types)table[slot])(__VA_ARGS__)
#define RELEASE(slot, object) ((void (*)(void *))table[slot])(object)

/** Whether a call succeeded. */
static bool good(void *status) {
  if (status != NULL) RELEASE(RELEASE_STATUS, status);
  return status == NULL;
}

static bool load_runtime(void) {
  if (memory != NULL) return true;
  const char *path = getenv("TTS_STANDIN_ONNXRUNTIME");
  if (path == NULL || *path == 0) return fprintf(stderr, "TTS_STANDIN_ONNXRUNTIME names no ONNX Runtime\n"), false;
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return false;
  const api_base *(*get_base)(void);
  *(void **)&get_base = dlsym(library, "OrtGetApiBase");
  table = get_base == NULL ? NULL : get_base()->get_api(ORT_API_VERSION);
  if (table == NULL) return false;
  return good(CALL(CREATE_ENV, (int, const char *, void **), LOG_FATAL, "standin", &env)) &&
         good(CALL(GET_ALLOCATOR_WITH_DEFAULT_OPTIONS, (void **), &allocator)) &&
         good(CALL(CREATE_CPU_MEMORY_INFO, (int, int, void **), 0, 0, &memory));
}

static bool create_session(session *made) {
  void *options = NULL;
  if (!good(CALL(CREATE_SESSION_OPTIONS, (void **), &options))) return false;
  bool ok = good(CALL(SET_SESSION_LOG_SEVERITY_LEVEL, (void *, int), options, LOG_FATAL)) &&
            good(CALL(SET_SESSION_GRAPH_OPTIMIZATION_LEVEL, (void *, int), options, OPTIMIZE_ALL)) &&
            good(CALL(SET_INTRA_OP_NUM_THREADS, (void *, int), options, 1)) &&
            good(CALL(SET_INTER_OP_NUM_THREADS, (void *, int), options, 1)) &&
            good(CALL(CREATE_SESSION_FROM_ARRAY, (void *, const void *, size_t, void *, void **), env, made->model, made->bytes, options,
                      &made->handle));
  RELEASE(RELEASE_SESSION_OPTIONS, options);
  return ok;
}

static void free_session(session *gone) {
  if (gone->handle != NULL) RELEASE(RELEASE_SESSION, gone->handle);
  free(gone->model);
  free(gone);
}

/** Finds or makes the session of a model. Under the lock. */
static session *acquire_session(const void *model, size_t bytes) {
  if (!load_runtime()) return NULL;
  for (session *known = sessions; known != NULL; known = known->next)
    if (known->bytes == bytes && memcmp(known->model, model, bytes) == 0) return known->users++, known;
  session *made = calloc(1, sizeof *made);
  made->model = malloc(bytes);
  made->bytes = bytes;
  made->users = 1;
  memcpy(made->model, model, bytes);
  if (!create_session(made)) return free_session(made), NULL;
  made->next = sessions;
  sessions = made;
  return made;
}

/** Keeps one unused session for the next request and frees all other unused ones. Under the lock. */
static void release_session(session *left) {
  if (--left->users > 0) return;
  for (session **at = &sessions; *at != NULL;) {
    session *known = *at;
    if (known == left || known->users > 0) {
      at = &known->next;
    } else {
      *at = known->next;
      free_session(known);
    }
  }
}

static uint32_t u32_at(const unsigned char *at) {
  return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/** Where the ONNX model begins; NULL for what is no container of this vendor. */
static const unsigned char *model_in(const unsigned char *data, size_t bytes, uint32_t vendor) {
  if (bytes < HEADER_BYTES || memcmp(data, MAGIC, sizeof MAGIC) != 0) return NULL;
  const uint32_t owner = u32_at(data + 8);
  const uint64_t length = u32_at(data + 24) | (uint64_t)u32_at(data + 28) << 32;
  if (owner != vendor) return NULL;
  if (length == 0 || length != bytes - HEADER_BYTES) return NULL;
  return data + HEADER_BYTES;
}

static bool read_shape(void *type_info, graph_tensor *tensor) {
  void *info = NULL;
  size_t rank = 0;
  if (!good(CALL(CAST_TYPE_INFO_TO_TENSOR_INFO, (void *, void **), type_info, &info))) return false;
  if (info == NULL) return false;
  int type = 0;
  if (!good(CALL(GET_TENSOR_ELEMENT_TYPE, (void *, int *), info, &type))) return false;
  if (type != TYPE_F32) return false;
  if (!good(CALL(GET_DIMENSIONS_COUNT, (void *, size_t *), info, &rank))) return false;
  if (rank > GRAPH_MAX_RANK) return false;
  if (!good(CALL(GET_DIMENSIONS, (void *, int64_t *, size_t), info, tensor->shape, rank))) return false;
  tensor->rank = (int)rank;
  tensor->elements = 1;
  for (size_t axis = 0; axis < rank; axis++) {
    if (tensor->shape[axis] <= 0) return false;
    tensor->elements *= (size_t)tensor->shape[axis];
  }
  return true;
}

static bool read_tensor(void *session, bool input, size_t index, graph_tensor *tensor) {
  char *name = NULL;
  const int name_slot = input ? SESSION_GET_INPUT_NAME : SESSION_GET_OUTPUT_NAME;
  const int type_slot = input ? SESSION_GET_INPUT_TYPE_INFO : SESSION_GET_OUTPUT_TYPE_INFO;
  if (!good(CALL(name_slot, (void *, size_t, void *, char **), session, index, allocator, &name))) return false;
  tensor->name = strdup(name);
  CALL(ALLOCATOR_FREE, (void *, void *), allocator, name);
  void *type_info = NULL;
  if (!good(CALL(type_slot, (void *, size_t, void **), session, index, &type_info))) return false;
  const bool ok = read_shape(type_info, tensor);
  RELEASE(RELEASE_TYPE_INFO, type_info);
  return ok;
}

static bool describe(graph *made) {
  void *handle = made->session->handle;
  size_t inputs = 0, outputs = 0;
  if (!good(CALL(SESSION_GET_INPUT_COUNT, (void *, size_t *), handle, &inputs))) return false;
  if (!good(CALL(SESSION_GET_OUTPUT_COUNT, (void *, size_t *), handle, &outputs))) return false;
  if (inputs > GRAPH_MAX_TENSORS || outputs > GRAPH_MAX_TENSORS) return false;
  const size_t all = inputs + outputs;
  made->inputs = (int)inputs;
  made->outputs = (int)outputs;
  made->tensors = calloc(all + 1, sizeof *made->tensors);
  made->names = calloc(all + 1, sizeof *made->names);
  made->values = calloc(all + 1, sizeof *made->values);
  for (size_t i = 0; i < all; i++) {
    const bool input = i < inputs;
    if (!read_tensor(handle, input, input ? i : i - inputs, &made->tensors[i])) return false;
    made->names[i] = made->tensors[i].name;
  }
  return true;
}

graph *graph_open(const void *data, size_t bytes, uint32_t vendor) {
  const unsigned char *model = model_in(data, bytes, vendor);
  if (model == NULL) return NULL;
  graph *made = calloc(1, sizeof *made);
  made->toolkit = u32_at((const unsigned char *)data + 12);
  made->platform = u32_at((const unsigned char *)data + 16);
  made->flags = u32_at((const unsigned char *)data + 20);
  pthread_mutex_lock(&lock);
  made->session = acquire_session(model, bytes - HEADER_BYTES);
  pthread_mutex_unlock(&lock);
  if (made->session == NULL || !describe(made)) return graph_close(made), NULL;
  return made;
}

graph *graph_twin(const graph *of) {
  graph *made = calloc(1, sizeof *made);
  made->toolkit = of->toolkit;
  made->platform = of->platform;
  made->flags = of->flags;
  made->session = of->session;
  pthread_mutex_lock(&lock);
  made->session->users++;
  pthread_mutex_unlock(&lock);
  return describe(made) ? made : (graph_close(made), NULL);
}

uint32_t graph_toolkit(const graph *of) { return of->toolkit; }
uint32_t graph_platform(const graph *of) { return of->platform; }
bool graph_is_quantised(const graph *of) { return (of->flags & FLAG_QUANTISED) != 0; }
bool graph_has_padded_rows(const graph *of) { return (of->flags & FLAG_PADDED_ROWS) != 0; }
int graph_inputs(const graph *of) { return of->inputs; }
int graph_outputs(const graph *of) { return of->outputs; }
const graph_tensor *graph_input(const graph *of, int index) { return &of->tensors[index]; }
const graph_tensor *graph_output(const graph *of, int index) { return &of->tensors[of->inputs + index]; }

static bool bind(graph *of, int index, const void *data) {
  const graph_tensor *tensor = &of->tensors[index];
  const size_t bytes = tensor->elements * sizeof(float);
  return good(CALL(CREATE_TENSOR_WITH_DATA_AS_ORT_VALUE, (void *, const void *, size_t, const int64_t *, size_t, int, void **), memory, data,
                   bytes, tensor->shape, (size_t)tensor->rank, TYPE_F32, &of->values[index]));
}

int graph_run(graph *of, const float *const *inputs, float *const *outputs) {
  bool ok = true;
  for (int i = 0; ok && i < of->inputs; i++) ok = bind(of, i, inputs[i]);
  for (int i = 0; ok && i < of->outputs; i++) ok = bind(of, of->inputs + i, outputs[i]);
  ok = ok && good(CALL(RUN, (void *, void *, const char **, void **, size_t, const char **, size_t, void **), of->session->handle, NULL,
                       of->names, of->values, (size_t)of->inputs, of->names + of->inputs, (size_t)of->outputs, of->values + of->inputs));
  for (int i = 0; i < of->inputs + of->outputs; i++) {
    if (of->values[i] != NULL) RELEASE(RELEASE_VALUE, of->values[i]);
    of->values[i] = NULL;
  }
  return ok ? 0 : -1;
}

void graph_close(graph *of) {
  for (int i = 0; of->tensors != NULL && i < of->inputs + of->outputs; i++) free((char *)of->tensors[i].name);
  free(of->tensors);
  free(of->names);
  free(of->values);
  pthread_mutex_lock(&lock);
  if (of->session != NULL) release_session(of->session);
  pthread_mutex_unlock(&lock);
  free(of);
}

enum { MAX_FAULTS = 16 };
static struct {
  char function[64], what[32];
  long after, calls;
} faults[MAX_FAULTS];
static int fault_count = -1; // the environment has not been read
static bool device_gone;
static pthread_mutex_t fault_lock = PTHREAD_MUTEX_INITIALIZER;

static void read_faults(void) {
  fault_count = 0;
  const char *at = getenv("TTS_NPU_FAULT");
  while (at != NULL && *at != 0 && fault_count < MAX_FAULTS) {
    faults[fault_count].after = 1;
    if (sscanf(at, "%63[^:,]:%31[^:,]:%ld", faults[fault_count].function, faults[fault_count].what, &faults[fault_count].after) < 2) {
      fprintf(stderr, "TTS_NPU_FAULT is not function:what:after at \"%s\"\n", at);
      abort(); // a test that asks for nothing must not pass
    }
    fault_count++;
    at = strchr(at, ',');
    if (at != NULL) at++;
  }
}

/** The fault that is due for this call; "" for none. Under the lock. */
static const char *due_fault(const char *function) {
  if (fault_count < 0) read_faults();
  const char *due = device_gone ? "gone" : "";
  for (int i = 0; i < fault_count; i++)
    if (strcmp(faults[i].function, function) == 0 && ++faults[i].calls >= faults[i].after) due = faults[i].what;
  if (strcmp(due, "gone") == 0) device_gone = true;
  return due;
}

int64_t standin_fault(const char *function) {
  pthread_mutex_lock(&fault_lock);
  const char *what = due_fault(function);
  pthread_mutex_unlock(&fault_lock);
  if (strcmp(what, "hang") == 0)
    for (;;) pause();
  if (strcmp(what, "gone") == 0) return STANDIN_GONE;
  if (strcmp(what, "garbage") == 0) return STANDIN_GARBAGE;
  return strtoll(what, NULL, 0);
}

// Stands for libax_engine.so in tests and demonstrations: the same functions and the same checks, over a graph that ONNX Runtime computes in
// f32. Never found by accident: only a path given by hand leads to it, and its version says what it is. Memory and its caches are those of
// ax-sys-standin.c, which it is linked against as the vendor's is. As strict as it can be: what a real one may let pass is an error here.

#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ax-engine-abi.h"
#include "standin-graph.h"

#define NPU_ERROR(byte) ((int)(0x80060000u | (byte)))

enum { BAD_HANDLE = 0x81, TASK_FAILED = 0x82, ILLEGAL = 0x84, EMPTY = 0x86, NOT_MADE = 0x87, GRAPH_FAILED = 0x8A };
enum { VENDOR = 2, ENGINE_VERSION = 50000, PLATFORM = 650, MODES = 4 };

typedef struct handle {
  struct handle *next;
  graph *graph;
  int has_context;
  AX_ENGINE_IO_INFO_T info;
  int32_t shapes[2 * GRAPH_MAX_TENSORS][8];
} handle;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static handle *handles = NULL;
static bool is_up = false;
static int mode = 0;

// Handles that are not destroyed, and one for an engine that is up.
EXPORT int64_t standin_live_objects(void) {
  pthread_mutex_lock(&lock);
  int64_t count = is_up;
  for (const handle *at = handles; at != NULL; at = at->next) count++;
  pthread_mutex_unlock(&lock);
  return count;
}

static int fault(const char *function) {
  const int64_t code = standin_fault(function);
  if (code == STANDIN_GONE) return NPU_ERROR(TASK_FAILED);
  return code == STANDIN_GARBAGE ? 0 : (int)code;
}

static handle *find(const void *wanted) {
  pthread_mutex_lock(&lock);
  handle *found = handles;
  while (found != NULL && found != wanted) found = found->next;
  pthread_mutex_unlock(&lock);
  return found;
}

EXPORT const char *AX_ENGINE_GetVersion(void) { return "libax_engine 1.45.0 (stand-in)"; }

EXPORT int AX_ENGINE_Init(AX_ENGINE_NPU_ATTR_T *attr) {
  const int failed = fault("AX_ENGINE_Init");
  if (failed) return failed;
  if (attr == NULL) return NPU_ERROR(ILLEGAL);
  pthread_mutex_lock(&lock);
  const bool possible =
      standin_sys_is_up() && attr->eHardMode >= 0 && attr->eHardMode < MODES && (!is_up || attr->eHardMode == mode);
  if (possible) mode = attr->eHardMode;
  is_up |= possible;
  pthread_mutex_unlock(&lock);
  return possible ? 0 : NPU_ERROR(NOT_MADE);
}

EXPORT int AX_ENGINE_GetVNPUAttr(AX_ENGINE_NPU_ATTR_T *attr) {
  if (attr == NULL) return NPU_ERROR(ILLEGAL);
  pthread_mutex_lock(&lock);
  const bool was_up = is_up;
  if (was_up) *attr = (AX_ENGINE_NPU_ATTR_T){.eHardMode = mode};
  pthread_mutex_unlock(&lock);
  return was_up ? 0 : NPU_ERROR(BAD_HANDLE);
}

EXPORT int AX_ENGINE_Deinit(void) {
  pthread_mutex_lock(&lock);
  const bool was_up = is_up;
  is_up = false;
  pthread_mutex_unlock(&lock);
  return was_up ? 0 : NPU_ERROR(BAD_HANDLE);
}

static void describe(AX_ENGINE_IOMETA_T *meta, int32_t *shape, const graph_tensor *tensor, bool quantised) {
  for (int axis = 0; axis < tensor->rank; axis++) shape[axis] = (int32_t)tensor->shape[axis];
  *meta = (AX_ENGINE_IOMETA_T){
      .pName = (char *)tensor->name,
      .pShape = shape,
      .nShapeSize = (uint8_t)tensor->rank,
      .eLayout = AX_ENGINE_TENSOR_LAYOUT_NCHW,
      .eDataType = quantised ? AX_ENGINE_DT_UINT16 : AX_ENGINE_DT_FLOAT32,
      .nSize = (uint32_t)(tensor->elements * (quantised ? 2 : 4)),
  };
}

static void describe_all(handle *made) {
  const bool quantised = graph_is_quantised(made->graph);
  const int inputs = graph_inputs(made->graph), outputs = graph_outputs(made->graph);
  made->info = (AX_ENGINE_IO_INFO_T){
      .pInputs = calloc((size_t)inputs + 1, sizeof(AX_ENGINE_IOMETA_T)),
      .nInputSize = (uint32_t)inputs,
      .pOutputs = calloc((size_t)outputs + 1, sizeof(AX_ENGINE_IOMETA_T)),
      .nOutputSize = (uint32_t)outputs,
      .nMaxBatchSize = 1,
  };
  for (int i = 0; i < inputs; i++) describe(&made->info.pInputs[i], made->shapes[i], graph_input(made->graph, i), quantised);
  for (int i = 0; i < outputs; i++) {
    describe(&made->info.pOutputs[i], made->shapes[GRAPH_MAX_TENSORS + i], graph_output(made->graph, i), quantised);
  }
}

EXPORT int AX_ENGINE_CreateHandle(void **out, const void *data, uint32_t size) {
  const int failed = fault("AX_ENGINE_CreateHandle");
  if (failed) return failed;
  pthread_mutex_lock(&lock);
  const bool possible = is_up && out != NULL && data != NULL;
  pthread_mutex_unlock(&lock);
  if (!possible) return NPU_ERROR(ILLEGAL);
  if (size == 0) return NPU_ERROR(EMPTY);
  graph *opened = graph_open(data, size, VENDOR);
  if (opened == NULL) return NPU_ERROR(NOT_MADE);
  if (graph_toolkit(opened) > ENGINE_VERSION || graph_platform(opened) != PLATFORM) {
    graph_close(opened);
    return NPU_ERROR(NOT_MADE);
  }
  handle *made = calloc(1, sizeof *made);
  made->graph = opened;
  describe_all(made);
  pthread_mutex_lock(&lock);
  made->next = handles;
  handles = made;
  pthread_mutex_unlock(&lock);
  *out = made;
  return 0;
}

EXPORT int AX_ENGINE_DestroyHandle(void *wanted) {
  handle *gone = find(wanted);
  if (gone == NULL) return NPU_ERROR(BAD_HANDLE);
  pthread_mutex_lock(&lock);
  handle **link = &handles;
  while (*link != gone) link = &(*link)->next;
  *link = gone->next;
  pthread_mutex_unlock(&lock);
  graph_close(gone->graph);
  free(gone->info.pInputs);
  free(gone->info.pOutputs);
  free(gone);
  return 0;
}

EXPORT int AX_ENGINE_CreateContext(void *wanted) {
  const int failed = fault("AX_ENGINE_CreateContext");
  if (failed) return failed;
  handle *at = find(wanted);
  if (at == NULL) return NPU_ERROR(BAD_HANDLE);
  at->has_context = 1;
  return 0;
}

EXPORT const char *AX_ENGINE_GetModelToolsVersion(void *wanted) { return find(wanted) == NULL ? NULL : "Pulsar2 stand-in"; }

EXPORT int AX_ENGINE_GetIOInfo(void *wanted, AX_ENGINE_IO_INFO_T **out) {
  const int failed = fault("AX_ENGINE_GetIOInfo");
  if (failed) return failed;
  handle *at = find(wanted);
  if (at == NULL) return NPU_ERROR(BAD_HANDLE);
  if (out == NULL) return NPU_ERROR(ILLEGAL);
  *out = &at->info;
  return 0;
}

// The buffers as the NPU sees them; 0 when one of them does not fit its tensor.
static int addresses(float **to, const AX_ENGINE_IO_BUFFER_T *buffers, const AX_ENGINE_IOMETA_T *metas, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    const AX_ENGINE_IO_BUFFER_T *buffer = &buffers[i];
    if (buffer->nSize != metas[i].nSize || buffer->pStride != NULL || buffer->nStrideSize != 0) return 0;
    to[i] = standin_sys_memory(buffer->phyAddr, buffer->pVirAddr, buffer->nSize);
    if (to[i] == NULL) return 0;
  }
  return 1;
}

EXPORT int AX_ENGINE_RunSync(void *wanted, AX_ENGINE_IO_T *io) {
  handle *at = find(wanted);
  if (at == NULL || !at->has_context) return NPU_ERROR(BAD_HANDLE);
  const int64_t asked = standin_fault("AX_ENGINE_RunSync");
  if (asked == STANDIN_GONE) return NPU_ERROR(TASK_FAILED);
  if (asked != 0 && asked != STANDIN_GARBAGE) return (int)asked;
  const AX_ENGINE_IO_INFO_T *info = &at->info;
  if (io == NULL || io->nInputSize != info->nInputSize || io->nOutputSize != info->nOutputSize || io->nBatchSize > 1 ||
      io->pIoSetting != NULL || io->nParallelRun != 0) {
    return NPU_ERROR(ILLEGAL);
  }
  float *inputs[GRAPH_MAX_TENSORS], *outputs[GRAPH_MAX_TENSORS];
  if (!addresses(inputs, io->pInputs, info->pInputs, info->nInputSize)) return NPU_ERROR(ILLEGAL);
  if (!addresses(outputs, io->pOutputs, info->pOutputs, info->nOutputSize)) return NPU_ERROR(ILLEGAL);
  if (graph_run(at->graph, (const float *const *)inputs, outputs) != 0) return NPU_ERROR(GRAPH_FAILED);
  for (uint32_t i = 0; asked == STANDIN_GARBAGE && i < info->nOutputSize; i++) memset(outputs[i], 0x5A, info->pOutputs[i].nSize);
  return 0;
}

// Stands for librknnrt.so in tests and demonstrations: the same functions and the same checks, over a graph that ONNX Runtime computes in f32
// (a real NPU computes such models in float16). Never found by accident: only a path given by hand leads to it, and its version says what it is.
// As strict as it can be: what a real runtime may let pass or crash on is an error here.

#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "rknn-abi.h"
#include "standin-graph.h"

#define VERSION "2.3.2 (stand-in)"

// Real libraries hold such a text, which tells their version without a device.
__attribute__((used)) static const char version_text[] = "librknnrt version: " VERSION;

enum { VENDOR = 1, RUNTIME_VERSION = 20302, PLATFORM = 3588, LAST_FLAG = 0x10000, ALIGNMENT = 64 };

typedef struct memory {
  struct memory *next;
  rknn_tensor_mem mem;
} memory;

typedef struct context {
  struct context *next;
  rknn_context id;
  graph *graph;
  memory *memory;
  rknn_tensor_mem *inputs[GRAPH_MAX_TENSORS], *outputs[GRAPH_MAX_TENSORS];
} context;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static context *contexts = NULL;
static rknn_context next_id = 0x5000000001;
static int64_t live = 0;

// Contexts and memory that are not destroyed.
EXPORT int64_t standin_live_objects(void) {
  pthread_mutex_lock(&lock);
  const int64_t count = live;
  pthread_mutex_unlock(&lock);
  return count;
}

static context *find(rknn_context id) {
  pthread_mutex_lock(&lock);
  context *found = contexts;
  while (found != NULL && found->id != id) found = found->next;
  pthread_mutex_unlock(&lock);
  return found;
}

static int fault(const char *function) {
  const int64_t code = standin_fault(function);
  if (code == STANDIN_GONE) return RKNN_ERR_DEVICE_UNAVAILABLE;
  return code == STANDIN_GARBAGE ? RKNN_SUCC : (int)code;
}

EXPORT int rknn_init(rknn_context *out, void *model, uint32_t size, uint32_t flags, void *extend) {
  const int failed = fault("rknn_init");
  if (failed) return failed;
  // A size of 0 would make the model a path, which this program never uses.
  if (out == NULL || model == NULL || size == 0 || flags >= 2 * LAST_FLAG || extend != NULL) return RKNN_ERR_PARAM_INVALID;
  graph *opened = graph_open(model, size, VENDOR);
  if (opened == NULL) return RKNN_ERR_MODEL_INVALID;
  const int wrong = graph_toolkit(opened) > RUNTIME_VERSION ? RKNN_ERR_MODEL_INVALID
                    : graph_platform(opened) != PLATFORM    ? RKNN_ERR_TARGET_PLATFORM_UNMATCH
                                                            : RKNN_SUCC;
  if (wrong) {
    graph_close(opened);
    return wrong;
  }
  context *made = calloc(1, sizeof *made);
  made->graph = opened;
  pthread_mutex_lock(&lock);
  made->id = next_id++;
  made->next = contexts;
  contexts = made;
  live++;
  pthread_mutex_unlock(&lock);
  *out = made->id;
  return RKNN_SUCC;
}

EXPORT int rknn_destroy(rknn_context id) {
  context *gone = find(id);
  if (gone == NULL) return RKNN_ERR_CTX_INVALID;
  pthread_mutex_lock(&lock);
  context **link = &contexts;
  while (*link != gone) link = &(*link)->next;
  *link = gone->next;
  live--;
  pthread_mutex_unlock(&lock);
  graph_close(gone->graph);
  free(gone); // memory that is left stays and counts as live for ever: nobody can destroy it any more
  return fault("rknn_destroy");
}

static void fill_attr(rknn_tensor_attr *attr, const graph_tensor *tensor, int is_input, bool quantised) {
  const uint32_t index = attr->index;
  memset(attr, 0, sizeof *attr);
  attr->index = index;
  attr->n_dims = (uint32_t)tensor->rank;
  for (int axis = 0; axis < tensor->rank; axis++) attr->dims[axis] = (uint32_t)tensor->shape[axis];
  attr->fmt = RKNN_TENSOR_UNDEFINED;
  if (tensor->rank == 4) { // [N, C, H, W] in the graph; inputs are described, and expected, as [N, H, W, C]
    attr->fmt = is_input ? RKNN_TENSOR_NHWC : RKNN_TENSOR_NCHW;
    for (int axis = 1; is_input && axis < 4; axis++) attr->dims[axis] = (uint32_t)tensor->shape[axis == 3 ? 1 : axis + 1];
  }
  strncpy(attr->name, tensor->name, sizeof attr->name - 1);
  attr->type = quantised ? RKNN_TENSOR_INT8 : RKNN_TENSOR_FLOAT16;
  attr->qnt_type = RKNN_TENSOR_QNT_AFFINE_ASYMMETRIC;
  attr->scale = 1;
  attr->n_elems = (uint32_t)tensor->elements;
  attr->size = attr->size_with_stride = attr->n_elems * (quantised ? 1 : 2);
}

static int query_attr(const context *at, int is_input, rknn_tensor_attr *attr) {
  const int count = is_input ? graph_inputs(at->graph) : graph_outputs(at->graph);
  if (attr->index >= (uint32_t)count) return RKNN_ERR_PARAM_INVALID;
  const int index = (int)attr->index;
  fill_attr(attr, is_input ? graph_input(at->graph, index) : graph_output(at->graph, index), is_input, graph_is_quantised(at->graph));
  return RKNN_SUCC;
}

EXPORT int rknn_query(rknn_context id, int command, void *info, uint32_t size) {
  const int failed = fault("rknn_query");
  if (failed) return failed;
  const context *at = find(id);
  if (at == NULL) return RKNN_ERR_CTX_INVALID;
  if (info == NULL) return RKNN_ERR_PARAM_INVALID;
  if (command == RKNN_QUERY_IN_OUT_NUM && size == sizeof(rknn_input_output_num)) {
    *(rknn_input_output_num *)info = (rknn_input_output_num){(uint32_t)graph_inputs(at->graph), (uint32_t)graph_outputs(at->graph)};
    return RKNN_SUCC;
  }
  if (command == RKNN_QUERY_SDK_VERSION && size == sizeof(rknn_sdk_version)) {
    rknn_sdk_version *version = info;
    memset(version, 0, sizeof *version);
    strcpy(version->api_version, VERSION);
    strcpy(version->drv_version, "0.9.8 (stand-in)");
    return RKNN_SUCC;
  }
  const int is_attr = command == RKNN_QUERY_INPUT_ATTR || command == RKNN_QUERY_OUTPUT_ATTR;
  if (is_attr && size == sizeof(rknn_tensor_attr)) return query_attr(at, command == RKNN_QUERY_INPUT_ATTR, info);
  return RKNN_ERR_PARAM_INVALID;
}

EXPORT rknn_tensor_mem *rknn_create_mem(rknn_context id, uint32_t size) {
  context *at = find(id);
  if (fault("rknn_create_mem") || at == NULL || size == 0) return NULL;
  memory *made = calloc(1, sizeof *made);
  const size_t rounded = ((size_t)size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  made->mem = (rknn_tensor_mem){.virt_addr = aligned_alloc(ALIGNMENT, rounded), .fd = -1, .size = size};
  memset(made->mem.virt_addr, 0xA5, rounded); // not zero, as memory from the system is not
  made->next = at->memory;
  at->memory = made;
  pthread_mutex_lock(&lock);
  live++;
  pthread_mutex_unlock(&lock);
  return &made->mem;
}

static memory **link_to(context *at, const rknn_tensor_mem *mem) {
  memory **link = &at->memory;
  while (*link != NULL && &(*link)->mem != mem) link = &(*link)->next;
  return link;
}

EXPORT int rknn_destroy_mem(rknn_context id, rknn_tensor_mem *mem) {
  context *at = find(id);
  if (at == NULL) return RKNN_ERR_CTX_INVALID;
  memory **link = link_to(at, mem);
  memory *gone = *link;
  if (gone == NULL) return RKNN_ERR_PARAM_INVALID; // another context's, or destroyed before
  *link = gone->next;
  for (int i = 0; i < GRAPH_MAX_TENSORS; i++) {
    if (at->inputs[i] == mem) at->inputs[i] = NULL;
    if (at->outputs[i] == mem) at->outputs[i] = NULL;
  }
  free(gone->mem.virt_addr);
  free(gone);
  pthread_mutex_lock(&lock);
  live--;
  pthread_mutex_unlock(&lock);
  return RKNN_SUCC;
}

static int is_tensor(const graph_tensor *tensor, const rknn_tensor_attr *attr) {
  return strncmp(tensor->name, attr->name, sizeof attr->name) == 0 && attr->n_elems == tensor->elements &&
         attr->n_dims == (uint32_t)tensor->rank;
}

EXPORT int rknn_set_io_mem(rknn_context id, rknn_tensor_mem *mem, rknn_tensor_attr *attr) {
  const int failed = fault("rknn_set_io_mem");
  if (failed) return failed;
  context *at = find(id);
  if (at == NULL) return RKNN_ERR_CTX_INVALID;
  if (mem == NULL || attr == NULL || *link_to(at, mem) == NULL) return RKNN_ERR_PARAM_INVALID;
  // What the CPU side has: f32, converted by the runtime, without gaps.
  const uint32_t bytes = attr->n_elems * (uint32_t)sizeof(float);
  if (attr->type != RKNN_TENSOR_FLOAT32 || attr->pass_through != 0 || attr->size_with_stride != bytes || mem->size < bytes) {
    return RKNN_ERR_PARAM_INVALID;
  }
  const uint32_t index = attr->index;
  if (index < (uint32_t)graph_inputs(at->graph) && is_tensor(graph_input(at->graph, (int)index), attr)) {
    at->inputs[index] = mem;
  } else if (index < (uint32_t)graph_outputs(at->graph) && is_tensor(graph_output(at->graph, (int)index), attr)) {
    at->outputs[index] = mem;
  } else {
    return RKNN_ERR_PARAM_INVALID;
  }
  return RKNN_SUCC;
}

EXPORT int rknn_run(rknn_context id, void *extend) {
  context *at = find(id);
  if (at == NULL) return RKNN_ERR_CTX_INVALID;
  const int64_t asked = standin_fault("rknn_run");
  if (asked == STANDIN_GONE) return RKNN_ERR_DEVICE_UNAVAILABLE;
  if (asked != 0 && asked != STANDIN_GARBAGE) return (int)asked;
  if (extend != NULL) return RKNN_ERR_PARAM_INVALID;
  const float *inputs[GRAPH_MAX_TENSORS];
  float *outputs[GRAPH_MAX_TENSORS];
  for (int i = 0; i < graph_inputs(at->graph); i++) {
    if (at->inputs[i] == NULL) return RKNN_ERR_INPUT_INVALID;
    inputs[i] = at->inputs[i]->virt_addr;
  }
  for (int i = 0; i < graph_outputs(at->graph); i++) {
    if (at->outputs[i] == NULL) return RKNN_ERR_OUTPUT_INVALID;
    outputs[i] = at->outputs[i]->virt_addr;
  }
  if (graph_run(at->graph, inputs, outputs) != 0) return RKNN_ERR_FAIL;
  for (int i = 0; asked == STANDIN_GARBAGE && i < graph_outputs(at->graph); i++) memset(outputs[i], 0x5A, at->outputs[i]->size);
  return RKNN_SUCC;
}

// Stands for librknnrt.so in tests and demonstrations: the same functions and the same checks, over a graph that ONNX Runtime computes in f32
// (a real NPU computes such models in float16). Never found by accident: only a path given by hand leads to it, and its version says what it is.
// As strict as it can be: what a real runtime may let pass or crash on is an error here.

#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "rknn-abi.h"
#include "standin-graph.h"

#define VERSION "2.3.2 (stand-in)"

// Real libraries hold such a text, which tells their version without a device.
__attribute__((used)) static const char version_text[] = "librknnrt version: " VERSION;

enum { VENDOR = 1, RUNTIME_VERSION = 20302, PLATFORM = 3588, LAST_FLAG = 0x10000, ALIGNMENT = 64, ROW_UNIT = 8 };

typedef struct memory {
  struct memory *next;
  rknn_tensor_mem mem;
} memory;

// Memory of a tensor, and the type that the CPU side has there.
typedef struct {
  rknn_tensor_mem *mem;
  int32_t type;
} binding;

typedef struct context {
  struct context *next;
  rknn_context id;
  graph *graph;
  int cores;
  memory *memory;
  binding inputs[GRAPH_MAX_TENSORS], outputs[GRAPH_MAX_TENSORS];
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

static int64_t twins = 0;

static rknn_context add_context(graph *opened) {
  context *made = calloc(1, sizeof *made);
  made->graph = opened;
  pthread_mutex_lock(&lock);
  const rknn_context id = made->id = next_id++;
  made->next = contexts;
  contexts = made;
  live++;
  pthread_mutex_unlock(&lock);
  return id;
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
  *out = add_context(opened);
  return RKNN_SUCC;
}

EXPORT int rknn_dup_context(rknn_context *in, rknn_context *out) {
  const int failed = fault("rknn_dup_context");
  if (failed) return failed;
  if (in == NULL || out == NULL) return RKNN_ERR_PARAM_INVALID;
  const context *first = find(*in);
  if (first == NULL) return RKNN_ERR_CTX_INVALID;
  graph *twin = graph_twin(first->graph);
  if (twin == NULL) return RKNN_ERR_FAIL;
  *out = add_context(twin);
  twins++;
  return RKNN_SUCC;
}

// Contexts that were made from others, in all.
EXPORT int64_t standin_twins(void) { return twins; }

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

static uint32_t width_of(const graph_tensor *tensor) { return (uint32_t)tensor->shape[tensor->rank - 1]; }

// Elements from the start of a row to that of the next one.
static uint32_t stride_of(const graph *graph, const graph_tensor *tensor) {
  const uint32_t width = width_of(tensor);
  return graph_has_padded_rows(graph) ? (width + ROW_UNIT - 1) / ROW_UNIT * ROW_UNIT : width;
}

static uint32_t elements_with_stride(const graph *graph, const graph_tensor *tensor) {
  return (uint32_t)tensor->elements / width_of(tensor) * stride_of(graph, tensor);
}

static void fill_attr(rknn_tensor_attr *attr, const graph *graph, const graph_tensor *tensor, int is_input) {
  const bool quantised = graph_is_quantised(graph);
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
  attr->size = attr->n_elems * (quantised ? 1 : 2);
  attr->size_with_stride = elements_with_stride(graph, tensor) * (quantised ? 1 : 2);
  if (graph_has_padded_rows(graph)) attr->w_stride = stride_of(graph, tensor);
}

static int query_attr(const context *at, int is_input, rknn_tensor_attr *attr) {
  const int count = is_input ? graph_inputs(at->graph) : graph_outputs(at->graph);
  if (attr->index >= (uint32_t)count) return RKNN_ERR_PARAM_INVALID;
  const int index = (int)attr->index;
  fill_attr(attr, at->graph, is_input ? graph_input(at->graph, index) : graph_output(at->graph, index), is_input);
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
    if (at->inputs[i].mem == mem) at->inputs[i].mem = NULL;
    if (at->outputs[i].mem == mem) at->outputs[i].mem = NULL;
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
  // What the CPU side has: f32, which the runtime converts, or the model's own f16.
  if ((attr->type != RKNN_TENSOR_FLOAT32 && attr->type != RKNN_TENSOR_FLOAT16) || attr->pass_through != 0) return RKNN_ERR_PARAM_INVALID;
  const uint32_t index = attr->index;
  const graph_tensor *tensor;
  binding *bound;
  if (index < (uint32_t)graph_inputs(at->graph) && is_tensor(graph_input(at->graph, (int)index), attr)) {
    tensor = graph_input(at->graph, (int)index);
    bound = &at->inputs[index];
  } else if (index < (uint32_t)graph_outputs(at->graph) && is_tensor(graph_output(at->graph, (int)index), attr)) {
    tensor = graph_output(at->graph, (int)index);
    bound = &at->outputs[index];
  } else {
    return RKNN_ERR_PARAM_INVALID;
  }
  const uint32_t bytes = elements_with_stride(at->graph, tensor) * (attr->type == RKNN_TENSOR_FLOAT32 ? 4 : 2);
  if (attr->size_with_stride != bytes || mem->size < bytes) return RKNN_ERR_PARAM_INVALID;
  *bound = (binding){mem, attr->type};
  return RKNN_SUCC;
}

static float f32_from(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const float size = exponent == 31 ? (fraction ? NAN : INFINITY)
                     : exponent     ? ldexpf((float)(1024 + fraction), exponent - 25)
                                    : ldexpf((float)fraction, -24);
  return half >> 15 ? -size : size;
}

// To the nearest, and to the even one of two.
static uint16_t f16_from(float value) {
  const uint16_t sign = signbit(value) ? 0x8000 : 0;
  const float size = fabsf(value);
  if (isnan(value)) return sign | 0x7E00;
  if (size >= 65520) return sign | 0x7C00;
  const int exponent = size < 0x1p-14f ? -14 : ilogbf(size);
  const int fraction = (int)lrintf(ldexpf(size, 10 - exponent)); // 1024 to 2048, or less where it is subnormal
  return (uint16_t)(sign | (((exponent + 14) << 10) + fraction));
}

// Between memory as it was bound and the graph's dense f32, row by row.
static void copy_rows(const graph *graph, const graph_tensor *tensor, binding bound, float *dense, bool is_input) {
  const uint32_t width = width_of(tensor), stride = stride_of(graph, tensor);
  for (size_t row = 0; row < tensor->elements / width; row++) {
    for (size_t i = 0; i < width; i++) {
      float *value = &dense[row * width + i];
      const size_t at = row * stride + i;
      float *f32 = (float *)bound.mem->virt_addr + at;
      uint16_t *f16 = (uint16_t *)bound.mem->virt_addr + at;
      if (bound.type == RKNN_TENSOR_FLOAT32 && is_input) *value = *f32;
      else if (bound.type == RKNN_TENSOR_FLOAT32) *f32 = *value;
      else if (is_input) *value = f32_from(*f16);
      else *f16 = f16_from(*value);
    }
  }
}

EXPORT int rknn_set_core_mask(rknn_context id, int mask) {
  const int failed = fault("rknn_set_core_mask");
  if (failed) return failed;
  context *at = find(id);
  if (at == NULL) return RKNN_ERR_CTX_INVALID;
  // Automatic, a single core, or the first two or three.
  if (mask != 0 && mask != 1 && mask != 2 && mask != 4 && mask != 3 && mask != 7) return RKNN_ERR_PARAM_INVALID;
  at->cores = mask;
  return RKNN_SUCC;
}

static int64_t runs = 0;

// Runs that have begun, on any thread.
EXPORT int64_t standin_runs(void) {
  pthread_mutex_lock(&lock);
  const int64_t count = runs;
  pthread_mutex_unlock(&lock);
  return count;
}

// The masks of all contexts that live, the newest first, as digits.
EXPORT int64_t standin_core_masks(void) {
  int64_t masks = 0;
  pthread_mutex_lock(&lock);
  for (const context *at = contexts; at != NULL; at = at->next) masks = 10 * masks + at->cores;
  pthread_mutex_unlock(&lock);
  return masks;
}

EXPORT int rknn_run(rknn_context id, void *extend) {
  context *at = find(id);
  if (at == NULL) return RKNN_ERR_CTX_INVALID;
  const int64_t asked = standin_fault("rknn_run");
  if (asked == STANDIN_GONE) return RKNN_ERR_DEVICE_UNAVAILABLE;
  if (asked != 0 && asked != STANDIN_GARBAGE) return (int)asked;
  if (extend != NULL) return RKNN_ERR_PARAM_INVALID;
  pthread_mutex_lock(&lock);
  runs++;
  pthread_mutex_unlock(&lock);
  for (int i = 0; i < graph_inputs(at->graph); i++)
    if (at->inputs[i].mem == NULL) return RKNN_ERR_INPUT_INVALID;
  for (int i = 0; i < graph_outputs(at->graph); i++)
    if (at->outputs[i].mem == NULL) return RKNN_ERR_OUTPUT_INVALID;
  float *inputs[GRAPH_MAX_TENSORS], *outputs[GRAPH_MAX_TENSORS];
  for (int i = 0; i < graph_inputs(at->graph); i++) {
    inputs[i] = malloc(graph_input(at->graph, i)->elements * sizeof(float));
    copy_rows(at->graph, graph_input(at->graph, i), at->inputs[i], inputs[i], true);
  }
  for (int i = 0; i < graph_outputs(at->graph); i++) outputs[i] = malloc(graph_output(at->graph, i)->elements * sizeof(float));
  const int failed = graph_run(at->graph, (const float *const *)inputs, outputs);
  for (int i = 0; i < graph_inputs(at->graph); i++) free(inputs[i]);
  for (int i = 0; i < graph_outputs(at->graph); i++) {
    if (failed == 0) copy_rows(at->graph, graph_output(at->graph, i), at->outputs[i], outputs[i], false);
    if (asked == STANDIN_GARBAGE) memset(at->outputs[i].mem->virt_addr, 0x5A, at->outputs[i].mem->size);
    free(outputs[i]);
  }
  return failed == 0 ? RKNN_SUCC : RKNN_ERR_FAIL;
}

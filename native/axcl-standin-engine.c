// The engine of AXCL's stand-in: models, what they say of their tensors, and runs. See axcl-standin.c.

#define _GNU_SOURCE
#include "axcl-standin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { VENDOR = 2, PLATFORM = 650, COMPILER = 50000 };

EXPORT axclError axclrtEngineInit(int32_t kind) {
  const axclError failed = axcl_enter("axclrtEngineInit");
  if (failed != 0) return failed;
  if (kind != 0) return axcl_leave(ERROR(ENGINE_ILLEGAL));
  if (axcl_engine_is_up) {
    axcl_log("request api(0) return fail", AX_ERROR(CARD_NOT_MADE));
    return axcl_leave(ERROR(ENGINE_FAILED));
  }
  axcl_engine_is_up = true;
  return axcl_leave(0);
}

EXPORT axclError axclrtEngineGetVNpuKind(int32_t *kind) {
  const axclError failed = axcl_enter("axclrtEngineGetVNpuKind");
  if (failed != 0) return failed;
  *kind = 0;
  return axcl_leave(axcl_engine_is_up ? 0 : ERROR(ENGINE_FAILED));
}

/** Whether this container is for this card, so that `made` becomes its model. */
static bool build(object *made, const uint8_t *data, size_t bytes) {
  made->graph = graph_open(data, bytes, VENDOR);
  if (made->graph == NULL) return false;
  const uint32_t toolkit = graph_toolkit(made->graph);
  snprintf(made->compiler, sizeof made->compiler, "%u.%u (stand-in)", toolkit / 10000, toolkit / 100 % 100);
  return toolkit <= COMPILER && graph_platform(made->graph) == PLATFORM;
}

/** The copy of the file on the card goes when the model is made: for a moment there are two. Under the lock. */
static axclError load(const uint8_t *data, size_t bytes, uint64_t *model) {
  if (!axcl_engine_is_up) return ERROR(ENGINE_FAILED);
  if (!axcl_take_memory(2 * (uint64_t)bytes)) return ERROR(MEMORY_FAILED);
  axcl_give_memory(bytes);
  object *made = axcl_make(MODEL);
  made->bytes = bytes;
  if (!build(made, data, bytes)) {
    axcl_destroy(made);
    axcl_log("request api(4) return fail", AX_ERROR(CARD_NOT_MADE));
    return ERROR(ENGINE_FAILED);
  }
  *model = made->id;
  return 0;
}

EXPORT axclError axclrtEngineLoadFromFile(const char *path, uint64_t *model) {
  if (path == NULL || model == NULL) return ERROR(ENGINE_NULL);
  const int64_t asked = standin_fault("axclrtEngineLoadFromFile");
  if (asked == STANDIN_GONE) return axcl_gone();
  if (asked != 0 && asked != STANDIN_GARBAGE) return (axclError)asked;
  const axclError failed = axcl_enter("");
  if (failed != 0) return failed;
  FILE *file = asked == STANDIN_GARBAGE ? NULL : fopen(path, "rb");
  if (file == NULL) return axcl_leave(0); // as the vendor's: no error, no id
  fseek(file, 0, SEEK_END);
  const long bytes = ftell(file);
  void *data = bytes <= 0 ? MAP_FAILED : mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, fileno(file), 0);
  fclose(file);
  if (data == MAP_FAILED) return axcl_leave(0);
  const axclError result = load(data, (size_t)bytes, model);
  munmap(data, (size_t)bytes);
  return axcl_leave(result);
}

EXPORT axclError axclrtEngineUnload(uint64_t model) {
  const axclError failed = axcl_enter("axclrtEngineUnload");
  if (failed != 0) return failed;
  object *found = axcl_find(MODEL, model);
  if (found == NULL) return axcl_leave(ERROR(ENGINE_ILLEGAL));
  for (const object *at = axcl_objects(); at != NULL; at = at->next)
    if (at->model == model) return axcl_leave(ERROR(ENGINE_ILLEGAL)); // its IOs and infos go first
  axcl_destroy(found);
  return axcl_leave(0);
}

EXPORT const char *axclrtEngineGetModelCompilerVersion(uint64_t model) {
  if (axcl_enter("axclrtEngineGetModelCompilerVersion") != 0) return NULL;
  const object *found = axcl_find(MODEL, model);
  axcl_leave(0);
  return found == NULL ? NULL : found->compiler;
}

EXPORT axclError axclrtEngineCreateContext(uint64_t model, uint64_t *context) {
  const axclError failed = axcl_enter("axclrtEngineCreateContext");
  if (failed != 0) return failed;
  object *found = axcl_find(MODEL, model);
  if (found == NULL || found->run_context != 0) return axcl_leave(ERROR(ENGINE_ILLEGAL)); // one is enough, and each takes memory
  *context = found->run_context = axcl_new_handle();
  return axcl_leave(0);
}

EXPORT axclError axclrtEngineGetIOInfo(uint64_t model, axclrtEngineIOInfo *info) {
  const axclError failed = axcl_enter("axclrtEngineGetIOInfo");
  if (failed != 0) return failed;
  if (axcl_find(MODEL, model) == NULL) return axcl_leave(ERROR(ENGINE_ILLEGAL));
  object *made = axcl_make(INFO);
  made->model = model;
  *info = (void *)(uintptr_t)made->id;
  return axcl_leave(0);
}

EXPORT axclError axclrtEngineDestroyIOInfo(axclrtEngineIOInfo info) {
  axcl_lock();
  object *found = axcl_find_handle(INFO, info);
  if (found == NULL) return axcl_leave(ERROR(ENGINE_NULL));
  axcl_destroy(found);
  return axcl_leave(0);
}

/** The model that an info describes; NULL for no info. Infos live on the host: they need no context. */
static const object *told_by(axclrtEngineIOInfo info) {
  axcl_lock();
  const object *found = axcl_find_handle(INFO, info);
  if (found != NULL) found = axcl_find(MODEL, found->model);
  axcl_leave(0);
  return found;
}

EXPORT axclError axclrtEngineGetShapeGroupsCount(axclrtEngineIOInfo info, int32_t *count) {
  if (told_by(info) == NULL) return ERROR(ENGINE_NULL);
  *count = 1;
  return axcl_fault("axclrtEngineGetShapeGroupsCount");
}

EXPORT uint32_t axclrtEngineGetNumInputs(axclrtEngineIOInfo info) {
  const object *model = told_by(info);
  return model == NULL ? (uint32_t)ERROR(ENGINE_NULL) : (uint32_t)graph_inputs(model->graph);
}

EXPORT uint32_t axclrtEngineGetNumOutputs(axclrtEngineIOInfo info) {
  const object *model = told_by(info);
  return model == NULL ? (uint32_t)ERROR(ENGINE_NULL) : (uint32_t)graph_outputs(model->graph);
}

static const graph_tensor *tensor_of(const object *model, bool input, uint32_t index) {
  if (model == NULL || index >= (uint32_t)(input ? graph_inputs(model->graph) : graph_outputs(model->graph))) return NULL;
  return input ? graph_input(model->graph, (int)index) : graph_output(model->graph, (int)index);
}

static uint64_t size_of(axclrtEngineIOInfo info, bool input, uint32_t group, uint32_t index) {
  const object *model = told_by(info);
  const graph_tensor *tensor = tensor_of(model, input, index);
  if (model == NULL) return (uint64_t)(int64_t)ERROR(ENGINE_NULL); // the sign goes along, as the vendor's does
  if (tensor == NULL || group != 0) return (uint64_t)(int64_t)ERROR(ENGINE_ILLEGAL);
  return tensor->elements * (graph_is_quantised(model->graph) ? sizeof(uint16_t) : sizeof(float));
}

EXPORT uint64_t axclrtEngineGetInputSizeByIndex(axclrtEngineIOInfo info, uint32_t group, uint32_t index) {
  const axclError failed = axcl_fault("axclrtEngineGetInputSizeByIndex");
  return failed != 0 ? (uint64_t)(int64_t)failed : size_of(info, true, group, index);
}

EXPORT uint64_t axclrtEngineGetOutputSizeByIndex(axclrtEngineIOInfo info, uint32_t group, uint32_t index) {
  const axclError failed = axcl_fault("axclrtEngineGetOutputSizeByIndex");
  return failed != 0 ? (uint64_t)(int64_t)failed : size_of(info, false, group, index);
}

static const char *name_of(axclrtEngineIOInfo info, bool input, uint32_t index) {
  const graph_tensor *tensor = tensor_of(told_by(info), input, index);
  return tensor == NULL ? NULL : tensor->name;
}

EXPORT const char *axclrtEngineGetInputNameByIndex(axclrtEngineIOInfo info, uint32_t index) { return name_of(info, true, index); }
EXPORT const char *axclrtEngineGetOutputNameByIndex(axclrtEngineIOInfo info, uint32_t index) { return name_of(info, false, index); }

static int32_t index_of(axclrtEngineIOInfo info, bool input, const char *name) {
  const char *known = "";
  for (uint32_t index = 0; (known = name_of(info, input, index)) != NULL; index++)
    if (strcmp(known, name) == 0) return (int32_t)index;
  return ERROR(ENGINE_ILLEGAL);
}

EXPORT int32_t axclrtEngineGetInputIndexByName(axclrtEngineIOInfo info, const char *name) { return index_of(info, true, name); }
EXPORT int32_t axclrtEngineGetOutputIndexByName(axclrtEngineIOInfo info, const char *name) { return index_of(info, false, name); }

static axclError dims_of(axclrtEngineIOInfo info, bool input, uint32_t group, uint32_t index, axclrtEngineIODims *dims) {
  const graph_tensor *tensor = tensor_of(told_by(info), input, index);
  if (tensor == NULL || group != 0) return ERROR(ENGINE_ILLEGAL);
  dims->dimCount = tensor->rank;
  for (int axis = 0; axis < tensor->rank; axis++) dims->dims[axis] = (int32_t)tensor->shape[axis];
  return 0;
}

EXPORT axclError axclrtEngineGetInputDims(axclrtEngineIOInfo info, uint32_t group, uint32_t index, axclrtEngineIODims *dims) {
  return dims_of(info, true, group, index, dims);
}

EXPORT axclError axclrtEngineGetOutputDims(axclrtEngineIOInfo info, uint32_t group, uint32_t index, axclrtEngineIODims *dims) {
  return dims_of(info, false, group, index, dims);
}

static axclError type_of(axclrtEngineIOInfo info, bool input, uint32_t index, int32_t *type) {
  const object *model = told_by(info);
  if (tensor_of(model, input, index) == NULL) return ERROR(ENGINE_ILLEGAL);
  *type = graph_is_quantised(model->graph) ? AXCL_TYPE_UINT16 : AXCL_TYPE_FP32;
  return 0;
}

EXPORT axclError axclrtEngineGetInputDataType(axclrtEngineIOInfo info, uint32_t index, int32_t *type) {
  return type_of(info, true, index, type);
}

EXPORT axclError axclrtEngineGetOutputDataType(axclrtEngineIOInfo info, uint32_t index, int32_t *type) {
  return type_of(info, false, index, type);
}

EXPORT axclError axclrtEngineCreateIO(axclrtEngineIOInfo info, axclrtEngineIO *io) {
  const object *model = told_by(info);
  if (model == NULL) return ERROR(ENGINE_NULL);
  axcl_lock();
  object *made = axcl_make(IO);
  made->model = model->id;
  made->inputs = calloc((size_t)graph_inputs(model->graph) + 1, sizeof(buffer));
  made->outputs = calloc((size_t)graph_outputs(model->graph) + 1, sizeof(buffer));
  *io = (void *)(uintptr_t)made->id;
  return axcl_leave(0);
}

EXPORT axclError axclrtEngineDestroyIO(axclrtEngineIO io) {
  axcl_lock();
  object *found = axcl_find_handle(IO, io);
  if (found == NULL) return axcl_leave(ERROR(ENGINE_NULL));
  axcl_destroy(found);
  return axcl_leave(0);
}

/** The place of a buffer in an IO; NULL for no IO or no such index. Under the lock. */
static buffer *place_of(axclrtEngineIO io, bool input, uint32_t index) {
  const object *found = axcl_find_handle(IO, io);
  if (found == NULL || tensor_of(axcl_find(MODEL, found->model), input, index) == NULL) return NULL;
  return input ? &found->inputs[index] : &found->outputs[index];
}

static axclError set_buffer(axclrtEngineIO io, bool input, uint32_t index, const void *pointer, uint64_t size) {
  if (pointer == NULL) return ERROR(ENGINE_NULL);
  axcl_lock();
  buffer *place = place_of(io, input, index);
  if (place == NULL || size == 0) return axcl_leave(ERROR(ENGINE_ILLEGAL));
  *place = (buffer){(uint64_t)(uintptr_t)pointer, size};
  return axcl_leave(0);
}

EXPORT axclError axclrtEngineSetInputBufferByIndex(axclrtEngineIO io, uint32_t index, const void *pointer, uint64_t size) {
  return set_buffer(io, true, index, pointer, size);
}

EXPORT axclError axclrtEngineSetOutputBufferByIndex(axclrtEngineIO io, uint32_t index, const void *pointer, uint64_t size) {
  return set_buffer(io, false, index, pointer, size);
}

EXPORT axclError axclrtEngineGetInputBufferByIndex(axclrtEngineIO io, uint32_t index, void **pointer, uint64_t *size) {
  axcl_lock();
  const buffer *place = place_of(io, true, index);
  if (place == NULL) return axcl_leave(ERROR(ENGINE_ILLEGAL));
  *pointer = (void *)(uintptr_t)place->address;
  *size = place->size;
  return axcl_leave(0);
}

// The vendor's functions compare the name with itself, so any name means the first tensor.
EXPORT axclError axclrtEngineSetInputBufferByName(axclrtEngineIO io, const char *name, const void *pointer, uint64_t size) {
  return name == NULL ? ERROR(ENGINE_NULL) : set_buffer(io, true, 0, pointer, size);
}

EXPORT axclError axclrtEngineSetOutputBufferByName(axclrtEngineIO io, const char *name, const void *pointer, uint64_t size) {
  return name == NULL ? ERROR(ENGINE_NULL) : set_buffer(io, false, 0, pointer, size);
}

/** The memory of one side's buffers; false when one is not the card's or has another size than its tensor. */
static bool gather(const object *model, const buffer *buffers, bool input, void **memory) {
  for (uint32_t i = 0; tensor_of(model, input, i) != NULL; i++) {
    if (buffers[i].size != tensor_of(model, input, i)->elements * sizeof(float)) return false;
    memory[i] = axcl_on_card(buffers[i].address, buffers[i].size);
    if (memory[i] == NULL) return false;
  }
  return true;
}

static axclError card_failed(void) {
  axcl_log("request api(9) return fail", AX_ERROR(CARD_RUN_FAILED));
  return ERROR(ENGINE_FAILED);
}

EXPORT axclError axclrtEngineExecute(uint64_t model, uint64_t context, uint32_t group, axclrtEngineIO io) {
  const int64_t asked = standin_fault("axclrtEngineExecute");
  if (asked == STANDIN_GONE) return axcl_gone();
  if (asked != 0 && asked != STANDIN_GARBAGE) return (axclError)asked;
  const axclError failed = axcl_enter("");
  if (failed != 0) return failed;
  const object *found = axcl_find(MODEL, model), *buffers = axcl_find_handle(IO, io);
  if (buffers == NULL) return axcl_leave(ERROR(ENGINE_NULL));
  if (found == NULL || context == 0 || found->run_context != context || group != 0 || buffers->model != model || graph_is_quantised(found->graph))
    return axcl_leave(ERROR(ENGINE_ILLEGAL));
  void *inputs[GRAPH_MAX_TENSORS], *outputs[GRAPH_MAX_TENSORS];
  if (!gather(found, buffers->inputs, true, inputs) || !gather(found, buffers->outputs, false, outputs)) return axcl_leave(card_failed());
  // Under the lock, as all engine calls of a process go through one in the card's worker.
  if (graph_run(found->graph, (const float *const *)inputs, (float *const *)outputs) != 0) return axcl_leave(card_failed());
  for (uint32_t i = 0; asked == STANDIN_GARBAGE && i < (uint32_t)graph_outputs(found->graph); i++)
    memset(outputs[i], 0x3C, buffers->outputs[i].size); // 0.0115, again and again
  return axcl_leave(0);
}

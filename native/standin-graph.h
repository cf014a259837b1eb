// What the stand-ins for NPU libraries share: a fixed-shape graph from a container file, run by ONNX Runtime on the CPU, and faults on demand.
// Knows no vendor. The stand-ins are for tests and demonstrations only.
//
// The container, little endian: u8[8] "TTSNPU\r\n", u32 vendor (1 rknn, 2 ax), u32 toolkit version (20302 is 2.3.2), u32 platform (3588, 650),
// u32 flags (bit 0: to be described as quantised, bit 1: with rows that are padded), u64 bytes of ONNX, then the ONNX model, its weights inside. Nothing may follow.

#ifndef STANDIN_GRAPH_H
#define STANDIN_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

enum { GRAPH_MAX_RANK = 8, GRAPH_MAX_TENSORS = 256 };

typedef struct graph graph;
typedef struct {
  const char *name;
  int rank;
  int64_t shape[GRAPH_MAX_RANK];
  size_t elements;
} graph_tensor;

/**
 * A graph whose inputs and outputs are f32 and of fixed shape. At most GRAPH_MAX_TENSORS of each. NULL on failure. data may be released afterwards.
 * vendor: what the container must say.
 */
graph *graph_open(const void *data, size_t bytes, uint32_t vendor);
/** Another one of the same model, for another thread. NULL on failure. */
graph *graph_twin(const graph *);
uint32_t graph_toolkit(const graph *);
uint32_t graph_platform(const graph *);
/** Whether a library is to describe its inputs and outputs as integers. */
bool graph_is_quantised(const graph *);
/** Whether a library is to want its tensors' rows padded to a length of their own. */
bool graph_has_padded_rows(const graph *);
int graph_inputs(const graph *);
int graph_outputs(const graph *);
/** Belong to the graph. */
const graph_tensor *graph_input(const graph *, int);
const graph_tensor *graph_output(const graph *, int);
/** 0 = ok. Works in the memory given, in the order of the tensors. Not for two threads at once on one graph. */
int graph_run(graph *, const float *const *inputs, float *const *outputs);
void graph_close(graph *);

/** What standin_fault returns for "gone" and "garbage": no vendor's code. */
#define STANDIN_GONE INT64_MIN
#define STANDIN_GARBAGE (INT64_MIN + 1)

/**
 * Faults asked for by the environment TTS_NPU_FAULT="function:what:after[,...]": call number `after` (from 1, the default) of that function
 * and all later ones do `what`: a number (decimal or 0x), "hang" (never returns), "gone" (the device vanished: from then on every function
 * that asks gets STANDIN_GONE) or "garbage". Read at the first call.
 * Returns the code to return, STANDIN_GONE, STANDIN_GARBAGE, or 0.
 */
int64_t standin_fault(const char *function);

#endif

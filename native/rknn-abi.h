// The C interface of Rockchip's NPU runtime, 1.6 to 2.3.2, as far as this program uses it. Written from its documentation; the sizes asserted
// are those of the runtime.

#ifndef RKNN_ABI_H
#define RKNN_ABI_H

#include <stdint.h>

typedef uint64_t rknn_context; // on 64-bit systems

enum { RKNN_QUERY_IN_OUT_NUM = 0, RKNN_QUERY_INPUT_ATTR = 1, RKNN_QUERY_OUTPUT_ATTR = 2, RKNN_QUERY_SDK_VERSION = 5 };
enum { RKNN_TENSOR_FLOAT32 = 0, RKNN_TENSOR_FLOAT16 = 1, RKNN_TENSOR_INT8 = 2 };
enum { RKNN_TENSOR_NCHW = 0, RKNN_TENSOR_NHWC = 1, RKNN_TENSOR_UNDEFINED = 3 };
enum { RKNN_TENSOR_QNT_AFFINE_ASYMMETRIC = 2 };
enum {
  RKNN_SUCC = 0,
  RKNN_ERR_FAIL = -1,
  RKNN_ERR_DEVICE_UNAVAILABLE = -3,
  RKNN_ERR_PARAM_INVALID = -5,
  RKNN_ERR_MODEL_INVALID = -6,
  RKNN_ERR_CTX_INVALID = -7,
  RKNN_ERR_INPUT_INVALID = -8,
  RKNN_ERR_OUTPUT_INVALID = -9,
  RKNN_ERR_TARGET_PLATFORM_UNMATCH = -13,
};

typedef struct {
  uint32_t n_input, n_output;
} rknn_input_output_num;

typedef struct {
  uint32_t index;
  uint32_t n_dims;
  uint32_t dims[16];
  char name[256];
  uint32_t n_elems;
  uint32_t size; // bytes in the tensor's own type
  int32_t fmt, type, qnt_type;
  int8_t fl;
  int32_t zp;
  float scale;
  uint32_t w_stride;
  uint32_t size_with_stride;
  uint8_t pass_through;
  uint32_t h_stride;
} rknn_tensor_attr;

typedef struct {
  char api_version[256];
  char drv_version[256];
} rknn_sdk_version;

typedef struct {
  void *virt_addr;
  uint64_t phys_addr;
  int32_t fd;
  int32_t offset;
  uint32_t size;
  uint32_t flags;
  void *priv_data;
} rknn_tensor_mem;

_Static_assert(sizeof(rknn_input_output_num) == 8, "rknn_input_output_num");
_Static_assert(sizeof(rknn_tensor_attr) == 376, "rknn_tensor_attr");
_Static_assert(sizeof(rknn_sdk_version) == 512, "rknn_sdk_version");
_Static_assert(sizeof(rknn_tensor_mem) == 40, "rknn_tensor_mem");

#endif

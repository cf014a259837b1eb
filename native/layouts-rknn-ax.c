// The structs that ffi/npu/_rknn-abi.ts and ffi/npu/_ax-engine-abi.ts describe. Prints what the C compiler makes of them: one line per field, "struct
// field offset type", one per array, "struct field offset bytes N", and one per struct, "struct sizeof bytes". Compared by tests of ffi/.

#include <stddef.h>
#include <stdio.h>

#include "ax-engine-abi.h"
#include "rknn-abi.h"

#define TYPE(x) _Generic((x), int32_t: "i32", uint32_t: "u32", float: "f32", uint8_t: "u8", default: sizeof(x) == 8 ? "u64" : "other")
#define FIELD(s, f) printf(#s " " #f " %zu %s\n", offsetof(s, f), TYPE(((s *)0)->f))
#define ARRAY(s, f) printf(#s " " #f " %zu bytes %zu\n", offsetof(s, f), sizeof(((s *)0)->f))
#define SIZE(s) printf(#s " sizeof %zu\n", sizeof(s))

static void rknn(void) {
  SIZE(rknn_input_output_num);
  FIELD(rknn_input_output_num, n_input);
  FIELD(rknn_input_output_num, n_output);
  SIZE(rknn_tensor_attr);
  FIELD(rknn_tensor_attr, index);
  FIELD(rknn_tensor_attr, n_dims);
  ARRAY(rknn_tensor_attr, dims);
  ARRAY(rknn_tensor_attr, name);
  FIELD(rknn_tensor_attr, n_elems);
  FIELD(rknn_tensor_attr, size);
  FIELD(rknn_tensor_attr, type);
  FIELD(rknn_tensor_attr, w_stride);
  FIELD(rknn_tensor_attr, size_with_stride);
  FIELD(rknn_tensor_attr, pass_through);
  SIZE(rknn_sdk_version);
  ARRAY(rknn_sdk_version, api_version);
  ARRAY(rknn_sdk_version, drv_version);
  SIZE(rknn_tensor_mem);
  FIELD(rknn_tensor_mem, virt_addr);
  FIELD(rknn_tensor_mem, size);
}

static void ax_engine(void) {
  SIZE(AX_ENGINE_NPU_ATTR_T);
  FIELD(AX_ENGINE_NPU_ATTR_T, eHardMode);
  SIZE(AX_ENGINE_IOMETA_T);
  FIELD(AX_ENGINE_IOMETA_T, pName);
  FIELD(AX_ENGINE_IOMETA_T, pShape);
  FIELD(AX_ENGINE_IOMETA_T, nShapeSize);
  FIELD(AX_ENGINE_IOMETA_T, eDataType);
  FIELD(AX_ENGINE_IOMETA_T, nSize);
  SIZE(AX_ENGINE_IO_INFO_T);
  FIELD(AX_ENGINE_IO_INFO_T, pInputs);
  FIELD(AX_ENGINE_IO_INFO_T, nInputSize);
  FIELD(AX_ENGINE_IO_INFO_T, pOutputs);
  FIELD(AX_ENGINE_IO_INFO_T, nOutputSize);
  SIZE(AX_ENGINE_IO_BUFFER_T);
  FIELD(AX_ENGINE_IO_BUFFER_T, phyAddr);
  FIELD(AX_ENGINE_IO_BUFFER_T, pVirAddr);
  FIELD(AX_ENGINE_IO_BUFFER_T, nSize);
  SIZE(AX_ENGINE_IO_T);
  FIELD(AX_ENGINE_IO_T, pInputs);
  FIELD(AX_ENGINE_IO_T, nInputSize);
  FIELD(AX_ENGINE_IO_T, pOutputs);
  FIELD(AX_ENGINE_IO_T, nOutputSize);
}

int main(void) {
  rknn();
  ax_engine();
  return 0;
}

// The structs that ffi/npu/_axcl-abi.ts describes. Prints what the C compiler makes of them: one line per field, "struct field offset type", one per
// array, "struct field offset bytes N", and one per struct, "struct sizeof bytes". test/ffi/npu/axcl.test.ts compares them.

#include <stdio.h>

#include "axcl-abi.h"

#define TYPE(x) _Generic((x), int32_t: "i32", uint32_t: "u32", default: sizeof(x) == 8 ? "u64" : "other")
#define FIELD(s, f) printf(#s " " #f " %zu %s\n", offsetof(s, f), TYPE(((s *)0)->f))
#define ARRAY(s, f) printf(#s " " #f " %zu bytes %zu\n", offsetof(s, f), sizeof(((s *)0)->f))
#define SIZE(s) printf(#s " sizeof %zu\n", sizeof(s))

int main(void) {
  SIZE(axclrtDeviceList);
  FIELD(axclrtDeviceList, num);
  ARRAY(axclrtDeviceList, devices);
  SIZE(axclrtDeviceProperties);
  ARRAY(axclrtDeviceProperties, swVersion);
  FIELD(axclrtDeviceProperties, pciDomain);
  FIELD(axclrtDeviceProperties, pciBusID);
  FIELD(axclrtDeviceProperties, pciDeviceID);
  FIELD(axclrtDeviceProperties, temperature);
  FIELD(axclrtDeviceProperties, totalCmmSize);
  FIELD(axclrtDeviceProperties, freeCmmSize);
  FIELD(axclrtDeviceProperties, cpuLoading);
  FIELD(axclrtDeviceProperties, npuLoading);
  SIZE(axclrtEngineIODims);
  FIELD(axclrtEngineIODims, dimCount);
  ARRAY(axclrtEngineIODims, dims);
  return 0;
}

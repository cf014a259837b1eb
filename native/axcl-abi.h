// The part of AXCL (libaxcl_rt.so V3.10.2) that ffi/npu/_axcl-abi.ts describes, and what only its stand-in offers. Written from its documents.
// Device pointers are addresses of the card: void * here as in C, never to be dereferenced.

#ifndef AXCL_ABI_H
#define AXCL_ABI_H

#include <stddef.h>
#include <stdint.h>

typedef int32_t axclError;
typedef void *axclrtContext;
typedef void *axclrtEngineIOInfo;
typedef void *axclrtEngineIO;

typedef struct {
  uint32_t num;
  int32_t devices[256];
} axclrtDeviceList;

typedef struct {
  char swVersion[64];
  uint64_t uid;
  uint32_t pciDomain, pciBusID, pciDeviceID;
  int32_t temperature; // thousandths of a degree
  uint32_t totalMemSize, freeMemSize, totalCmmSize, freeCmmSize; // KB
  uint32_t cpuLoading, npuLoading; // hundredths of a percent
  uint32_t reserved[32];
} axclrtDeviceProperties;

typedef struct {
  int32_t dimCount;
  int32_t dims[32];
} axclrtEngineIODims;

enum { AXCL_HOST_TO_HOST, AXCL_HOST_TO_DEVICE, AXCL_DEVICE_TO_HOST, AXCL_DEVICE_TO_DEVICE };
enum { AXCL_TYPE_UINT16 = 6, AXCL_TYPE_FP32 = 15 };

axclError axclInit(const char *config);
axclError axclFinalize(void);
const char *axclrtGetFullVersion(void);
axclError axclrtGetDeviceList(axclrtDeviceList *list);
axclError axclrtSetDevice(int32_t device);
axclError axclrtResetDevice(int32_t device);
axclError axclrtGetDeviceProperties(int32_t device, axclrtDeviceProperties *properties);
axclError axclrtCreateContext(axclrtContext *context, int32_t device);
axclError axclrtDestroyContext(axclrtContext context);
axclError axclrtSetCurrentContext(axclrtContext context);
axclError axclrtMalloc(void **pointer, size_t size, int32_t policy);
axclError axclrtFree(void *pointer);
axclError axclrtMemset(void *pointer, uint8_t value, size_t size);
axclError axclrtMemcpy(void *to, const void *from, size_t size, int32_t kind);
axclError axclrtEngineInit(int32_t kind);
axclError axclrtEngineGetVNpuKind(int32_t *kind);
axclError axclrtEngineLoadFromFile(const char *path, uint64_t *model);
axclError axclrtEngineUnload(uint64_t model);
const char *axclrtEngineGetModelCompilerVersion(uint64_t model);
axclError axclrtEngineCreateContext(uint64_t model, uint64_t *context);
axclError axclrtEngineGetIOInfo(uint64_t model, axclrtEngineIOInfo *info);
axclError axclrtEngineDestroyIOInfo(axclrtEngineIOInfo info);
axclError axclrtEngineGetShapeGroupsCount(axclrtEngineIOInfo info, int32_t *count);
uint32_t axclrtEngineGetNumInputs(axclrtEngineIOInfo info);
uint32_t axclrtEngineGetNumOutputs(axclrtEngineIOInfo info);
uint64_t axclrtEngineGetInputSizeByIndex(axclrtEngineIOInfo info, uint32_t group, uint32_t index);
uint64_t axclrtEngineGetOutputSizeByIndex(axclrtEngineIOInfo info, uint32_t group, uint32_t index);
const char *axclrtEngineGetInputNameByIndex(axclrtEngineIOInfo info, uint32_t index);
const char *axclrtEngineGetOutputNameByIndex(axclrtEngineIOInfo info, uint32_t index);
int32_t axclrtEngineGetInputIndexByName(axclrtEngineIOInfo info, const char *name);
int32_t axclrtEngineGetOutputIndexByName(axclrtEngineIOInfo info, const char *name);
axclError axclrtEngineGetInputDims(axclrtEngineIOInfo info, uint32_t group, uint32_t index, axclrtEngineIODims *dims);
axclError axclrtEngineGetOutputDims(axclrtEngineIOInfo info, uint32_t group, uint32_t index, axclrtEngineIODims *dims);
axclError axclrtEngineGetInputDataType(axclrtEngineIOInfo info, uint32_t index, int32_t *type);
axclError axclrtEngineGetOutputDataType(axclrtEngineIOInfo info, uint32_t index, int32_t *type);
axclError axclrtEngineCreateIO(axclrtEngineIOInfo info, axclrtEngineIO *io);
axclError axclrtEngineDestroyIO(axclrtEngineIO io);
axclError axclrtEngineSetInputBufferByIndex(axclrtEngineIO io, uint32_t index, const void *pointer, uint64_t size);
axclError axclrtEngineSetOutputBufferByIndex(axclrtEngineIO io, uint32_t index, const void *pointer, uint64_t size);
axclError axclrtEngineGetInputBufferByIndex(axclrtEngineIO io, uint32_t index, void **pointer, uint64_t *size);
axclError axclrtEngineSetInputBufferByName(axclrtEngineIO io, const char *name, const void *pointer, uint64_t size);
axclError axclrtEngineSetOutputBufferByName(axclrtEngineIO io, const char *name, const void *pointer, uint64_t size);
axclError axclrtEngineExecute(uint64_t model, uint64_t context, uint32_t group, axclrtEngineIO io);

#endif

// The C interface of AXERA's engine on the chip (libax_engine.so and libax_sys.so of BSP 1.45) as far as this program uses it. Written from
// what is known of it; the sizes asserted are those of the chip's own compiler.

#ifndef AX_ENGINE_ABI_H
#define AX_ENGINE_ABI_H

#include <stdint.h>

enum { AX_ENGINE_DT_UINT16 = 2, AX_ENGINE_DT_FLOAT32 = 3 };
enum { AX_ENGINE_TENSOR_LAYOUT_NCHW = 2 };

typedef struct {
  int32_t eHardMode;
  uint32_t reserve[8];
} AX_ENGINE_NPU_ATTR_T;

typedef struct {
  char *pName;
  int32_t *pShape;
  uint8_t nShapeSize;
  int32_t eLayout, eMemoryType, eDataType;
  void *pExtraMeta;
  uint32_t nSize;
  uint32_t nQuantizationValue;
  int32_t *pStride;
  uint64_t reserved[9];
} AX_ENGINE_IOMETA_T;

typedef struct {
  AX_ENGINE_IOMETA_T *pInputs;
  uint32_t nInputSize;
  AX_ENGINE_IOMETA_T *pOutputs;
  uint32_t nOutputSize;
  uint32_t nMaxBatchSize;
  int32_t bDynamicBatchSize;
  uint64_t reserved[11];
} AX_ENGINE_IO_INFO_T;

typedef struct {
  uint64_t phyAddr;
  void *pVirAddr;
  uint32_t nSize;
  int32_t *pStride;
  uint8_t nStrideSize;
  uint64_t reserved[11];
} AX_ENGINE_IO_BUFFER_T;

typedef struct {
  AX_ENGINE_IO_BUFFER_T *pInputs;
  uint32_t nInputSize;
  AX_ENGINE_IO_BUFFER_T *pOutputs;
  uint32_t nOutputSize;
  uint32_t nBatchSize;
  void *pIoSetting;
  uint32_t nParallelRun;
  uint64_t reserved[10];
} AX_ENGINE_IO_T;

_Static_assert(sizeof(AX_ENGINE_NPU_ATTR_T) == 36, "AX_ENGINE_NPU_ATTR_T");
_Static_assert(sizeof(AX_ENGINE_IOMETA_T) == 128, "AX_ENGINE_IOMETA_T");
_Static_assert(sizeof(AX_ENGINE_IO_INFO_T) == 128, "AX_ENGINE_IO_INFO_T");
_Static_assert(sizeof(AX_ENGINE_IO_BUFFER_T) == 128, "AX_ENGINE_IO_BUFFER_T");
_Static_assert(sizeof(AX_ENGINE_IO_T) == 128, "AX_ENGINE_IO_T");

// The stand-in for libax_sys.so offers these to the stand-in for libax_engine.so. standin_sys_memory returns the NPU's copy of the block
// with these two addresses and at least `bytes` bytes, or NULL.
void *standin_sys_memory(uint64_t physical, const void *at, uint32_t bytes);
int standin_sys_is_up(void);

#endif

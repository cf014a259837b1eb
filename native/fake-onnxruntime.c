// Stands for an ONNX Runtime of the version given as FAKE_VERSION that has no table of functions. Used by test/ffi/layouts.test.ts.

#include <stddef.h>
#include <stdint.h>

static const void *get_api(uint32_t version) {
  (void)version;
  return NULL;
}

static const char *get_version(void) { return FAKE_VERSION; }

static const struct {
  const void *(*get_api)(uint32_t);
  const char *(*get_version)(void);
} base = {get_api, get_version};

const void *OrtGetApiBase(void) { return &base; }

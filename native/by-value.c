// Functions that take a struct by value, of the sizes that libllama's and ggml's have. Each writes what arrived to `seen`, where it has one,
// then spoils its copy, which is its own, and returns a checksum. test/ffi/layouts.test.ts calls them as ffi/ calls the libraries.

#include <stdint.h>
#include <string.h>

static uint64_t take(uint64_t *words, int count) {
  uint64_t sum = 0;
  for (int i = 0; i < count; i++) sum = sum * 31 + words[i];
  for (int i = 0; i < count; i++) ((volatile uint64_t *)words)[i] = ~0ull;
  return sum;
}

#define STRUCT(bytes)          \
  struct struct_##bytes {      \
    uint64_t words[bytes / 8]; \
  };

#define TAKES(bytes)                                                   \
  STRUCT(bytes)                                                        \
  uint64_t take_##bytes(uint64_t *seen, struct struct_##bytes value) { \
    memcpy(seen, &value, bytes);                                       \
    return take(value.words, bytes / 8);                               \
  }

#define TAKES_ONLY(bytes)                                   \
  STRUCT(bytes)                                             \
  uint64_t take_only_##bytes(struct struct_##bytes value) { \
    return take(value.words, bytes / 8);                    \
  }

TAKES(56)  // llama_batch
TAKES(80)  // llama_model_params
TAKES(160) // llama_context_params
TAKES_ONLY(24) // ggml_init_params

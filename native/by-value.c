// Functions that take a pointer and a struct by value, of the sizes that libllama's have. Each writes what arrived to `seen`, then spoils its
// copy, which is its own, and returns a checksum. test/ffi/layouts.test.ts calls them as ffi/llama.ts calls libllama.

#include <stdint.h>
#include <string.h>

#define TAKES(bytes)                                                                        \
  struct struct_##bytes {                                                                   \
    uint64_t words[bytes / 8];                                                              \
  };                                                                                        \
  uint64_t take_##bytes(uint64_t *seen, struct struct_##bytes value) {                      \
    uint64_t sum = 0;                                                                       \
    memcpy(seen, &value, bytes);                                                            \
    for (int i = 0; i < bytes / 8; i++) sum = sum * 31 + value.words[i];                    \
    for (int i = 0; i < bytes / 8; i++) ((volatile uint64_t *)value.words)[i] = ~0ull;     \
    return sum;                                                                             \
  }

TAKES(56)  // llama_batch
TAKES(80)  // llama_model_params
TAKES(160) // llama_context_params

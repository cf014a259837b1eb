// What the two files of AXCL's stand-in share: axcl-standin.c is the card, axcl-standin-engine.c the engine on it.

#ifndef AXCL_STANDIN_H
#define AXCL_STANDIN_H

#include <pthread.h>
#include <stdbool.h>

#include "axcl-abi.h"
#include "standin-graph.h"

#define ERROR(low) ((axclError)(0x80300000u | (low)))
#define AX_ERROR(low) ((int32_t)(0x80000000u | (low)))

enum {
  NO_CARD = 0x181,
  NOT_ACTIVE = 0x183,
  BAD_DEVICE = 0x184,
  BAD_CONTEXT = 0x282,
  NO_CONTEXT = 0x284,
  TASK_FAILED = 0x40c,
  MEMORY_NULL = 0x502,
  MEMORY_ILLEGAL = 0x503,
  MEMORY_FAILED = 0x50c,
  NOT_DEVICE_MEMORY = 0x581,
  ENGINE_NULL = 0x702,
  ENGINE_ILLEGAL = 0x703,
  ENGINE_FAILED = 0x70c,
};
enum { CARD_NOT_MADE = 0x60087, CARD_RUN_FAILED = 0x60082, CARD_NO_MEMORY = 0xB0018 };

enum kind { CONTEXT, MEMORY, MODEL, INFO, IO };
typedef struct {
  uint64_t address, size;
} buffer;
/** Anything that is made and must be destroyed. */
typedef struct object {
  struct object *next;
  enum kind kind;
  uint64_t id; // the handle; for memory, its address on the card
  uint64_t bytes; // on the card
  void *host; // of memory: what it holds
  graph *graph; // of a model
  uint64_t run_context;
  char compiler[32];
  uint64_t model; // of an info or an IO
  buffer *inputs, *outputs; // of an IO
} object;

extern bool axcl_engine_is_up;

/** What a fault asks this call to return; STANDIN_GARBAGE is for the code that computes. */
axclError axcl_fault(const char *function);
/** The code that a vanished card gives. */
axclError axcl_gone(void);
/** Begins a call that reaches the card: takes the lock and returns 0, or returns the code of a fault or of a thread without context. */
axclError axcl_enter(const char *function);
void axcl_lock(void);
/** Releases the lock and returns the result. */
axclError axcl_leave(axclError result);
void axcl_log(const char *line, int32_t status);

// The rest is called under the lock.

object *axcl_find(enum kind kind, uint64_t id);
object *axcl_find_handle(enum kind kind, const void *handle);
/** The first of all objects; the others follow by `next`. */
const object *axcl_objects(void);
object *axcl_make(enum kind kind);
void axcl_destroy(object *gone);
uint64_t axcl_new_handle(void);
/** Takes memory of the card; says in the log when there is none. */
bool axcl_take_memory(uint64_t bytes);
void axcl_give_memory(uint64_t bytes);
/** What lies behind a range of the card's addresses; NULL when it is not inside one piece of its memory. */
void *axcl_on_card(uint64_t address, uint64_t size);

#endif

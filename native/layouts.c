// The structs of libllama and ggml that ffi/_llama-abi.ts and ffi/_ggml-abi.ts describe, as llama.cpp v0.5.0 declares them. Prints what the
// C compiler makes of them: one line per field, "struct field offset type", and one per struct, "struct sizeof bytes".
// test/ffi/layouts.test.ts compares both.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef int32_t c_enum; // every enum here has int's size and may hold -1

struct llama_model_params {
  void *devices;
  const void *tensor_buft_overrides;
  int32_t n_gpu_layers;
  c_enum split_mode, load_mode, lazy_mode;
  int32_t main_gpu;
  const float *tensor_split;
  bool (*progress_callback)(float, void *);
  void *progress_callback_user_data;
  const void *kv_overrides;
  bool vocab_only, check_tensors, use_extra_bufts, no_host, no_alloc, load_mtp;
};

struct llama_context_params {
  uint32_t n_ctx, n_batch, n_ubatch, n_seq_max, n_rs_seq, n_outputs_max, n_outputs_max_per_seq;
  int32_t n_threads, n_threads_batch;
  c_enum ctx_type, rope_scaling_type, pooling_type, attention_type, flash_attn_type;
  float rope_freq_base, rope_freq_scale, yarn_ext_factor, yarn_attn_factor, yarn_beta_fast, yarn_beta_slow;
  uint32_t yarn_orig_ctx;
  float defrag_thold;
  bool (*cb_eval)(void *, bool, void *);
  void *cb_eval_user_data;
  c_enum type_k, type_v;
  bool (*abort_callback)(void *);
  void *abort_callback_data;
  bool embeddings, offload_kqv, no_perf, op_offload, swa_full, kv_unified;
  void *samplers;
  size_t n_samplers;
  void *ctx_other;
};

struct llama_model_quantize_params {
  int32_t nthread;
  c_enum ftype, output_tensor_type, token_embedding_type;
  bool allow_requantize, quantize_output_tensor, only_copy, pure, keep_split, dry_run;
  const void *imatrix, *kv_overrides, *tt_overrides, *prune_layers;
  size_t max_buf_size;
};

struct llama_batch {
  int32_t n_tokens;
  int32_t *token;
  float *embd;
  int32_t *pos;
  int32_t *n_seq_id;
  int32_t **seq_id;
  int8_t *logits;
};

struct ggml_init_params {
  size_t mem_size;
  void *mem_buffer;
  bool no_alloc;
};

struct ggml_threadpool_params {
  bool cpumask[512];
  int32_t n_threads;
  c_enum prio;
  uint32_t poll;
  bool strict_cpu, paused;
};

struct ggml_tensor {
  c_enum type;
  void *buffer;
  int64_t ne[4];
  size_t nb[4];
  c_enum op;
  int32_t op_params[16], flags;
  struct ggml_tensor *src[10], *view_src;
  size_t view_offs;
  void *data;
  char name[64];
  void *extra;
  char padding[8];
};

#define TYPE(x) _Generic((x), int32_t: "i32", uint32_t: "u32", float: "f32", bool: "u8", char *: "u8", default: sizeof(x) == 8 ? "u64" : "other")
#define FIELD(s, f) printf(#s " " #f " %zu %s\n", offsetof(struct s, f), TYPE(((struct s *)0)->f))
#define SIZE(s) printf(#s " sizeof %zu\n", sizeof(struct s))

static void model(void) {
  SIZE(llama_model_params);
  FIELD(llama_model_params, n_gpu_layers);
  FIELD(llama_model_params, split_mode);
  FIELD(llama_model_params, load_mode);
  FIELD(llama_model_params, lazy_mode);
  FIELD(llama_model_params, use_extra_bufts);
}

static void context(void) {
  SIZE(llama_context_params);
  FIELD(llama_context_params, n_ctx);
  FIELD(llama_context_params, n_batch);
  FIELD(llama_context_params, n_ubatch);
  FIELD(llama_context_params, n_seq_max);
  FIELD(llama_context_params, n_outputs_max_per_seq);
  FIELD(llama_context_params, n_threads);
  FIELD(llama_context_params, n_threads_batch);
  FIELD(llama_context_params, rope_scaling_type);
  FIELD(llama_context_params, pooling_type);
  FIELD(llama_context_params, attention_type);
  FIELD(llama_context_params, flash_attn_type);
  FIELD(llama_context_params, yarn_ext_factor);
  FIELD(llama_context_params, yarn_attn_factor);
  FIELD(llama_context_params, yarn_beta_fast);
  FIELD(llama_context_params, yarn_beta_slow);
  FIELD(llama_context_params, defrag_thold);
  FIELD(llama_context_params, cb_eval);
  FIELD(llama_context_params, type_k);
  FIELD(llama_context_params, type_v);
  FIELD(llama_context_params, embeddings);
  FIELD(llama_context_params, offload_kqv);
  FIELD(llama_context_params, no_perf);
  FIELD(llama_context_params, op_offload);
  FIELD(llama_context_params, swa_full);
}

static void quantize(void) {
  SIZE(llama_model_quantize_params);
  FIELD(llama_model_quantize_params, nthread);
  FIELD(llama_model_quantize_params, ftype);
  FIELD(llama_model_quantize_params, output_tensor_type);
  FIELD(llama_model_quantize_params, token_embedding_type);
  FIELD(llama_model_quantize_params, quantize_output_tensor);
  FIELD(llama_model_quantize_params, max_buf_size);
}

static void batch(void) {
  SIZE(llama_batch);
  FIELD(llama_batch, n_tokens);
  FIELD(llama_batch, token);
  FIELD(llama_batch, embd);
  FIELD(llama_batch, pos);
  FIELD(llama_batch, n_seq_id);
  FIELD(llama_batch, seq_id);
  FIELD(llama_batch, logits);
}

static void ggml(void) {
  SIZE(ggml_init_params);
  FIELD(ggml_init_params, mem_size);
  FIELD(ggml_init_params, mem_buffer);
  FIELD(ggml_init_params, no_alloc);
  SIZE(ggml_threadpool_params);
  FIELD(ggml_threadpool_params, n_threads);
  FIELD(ggml_threadpool_params, poll);
  FIELD(ggml_threadpool_params, strict_cpu);
  SIZE(ggml_tensor);
  FIELD(ggml_tensor, buffer);
  FIELD(ggml_tensor, ne[0]);
  FIELD(ggml_tensor, ne[1]);
  FIELD(ggml_tensor, data);
  FIELD(ggml_tensor, name);
  FIELD(ggml_tensor, extra);
}

int main(void) {
  model();
  context();
  quantize();
  batch();
  ggml();
  return 0;
}

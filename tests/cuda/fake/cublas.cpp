// cuBLAS's entry points, over the fake's device: matrix products in float, in plain loops.
#include <cublas_v2.h>

#include <algorithm>

#include "tests/cuda/fake/library.h"

struct cublasContext {
  cudaStream_t stream = nullptr;
  cublasMath_t math = CUBLAS_DEFAULT_MATH;
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;
};

using namespace fission::cuda_fake;

namespace {

Handles<cublasContext>& handles() {
  static auto& h = *new Handles<cublasContext>;
  return h;
}

#define ENTRY(name)                                                      \
  Call call(#name);                                                      \
  if (call.status != cudaSuccess) return CUBLAS_STATUS_EXECUTION_FAILED; \
  [[maybe_unused]] cublasContext& context = handles().check(handle)

struct Matrix {  // column-major: what lies at row i and column j of op(M)
  const char* name;
  const float* at;
  bool transposed;
  int rows, columns, leading;  // rows, columns: of op(M)
  std::size_t offset(int i, int j) const {
    return transposed ? std::size_t(i) * leading + j : std::size_t(j) * leading + i;
  }
  Use use() const {
    int stored = transposed ? columns : rows;
    if (leading < std::max(1, stored))
      misuse_of("the leading dimension of ", name, " is ", leading, ", and it has ", stored,
                " rows");
    std::size_t elements = rows && columns ? offset(rows - 1, columns - 1) + 1 : 0;
    return {at, 4 * elements, name};
  }
  std::vector<float> packed(bool tf32, bool row_major) const {
    std::vector<float> v(std::size_t(rows) * columns);
    for (int i = 0; i < rows; i++)
      for (int j = 0; j < columns; j++)
        v[row_major ? std::size_t(i) * columns + j : std::size_t(j) * rows + i] =
            read(at + offset(i, j), tf32, name, offset(i, j));
    return v;
  }
};

bool overlap(const Use& a, const Use& b) {
  auto *p = static_cast<const char*>(a.at), *q = static_cast<const char*>(b.at);
  return p < q + b.bytes && q < p + a.bytes;
}

void enqueue(cublasContext& context, const char* name, Matrix a, Matrix b, Matrix c, float alpha,
             float beta) {
  Device& device = Device::get();
  std::vector<Use> uses = {a.use(), b.use(), c.use()};
  for (const Use& u : uses) device.check(u);
  uses[2].written = true;
  if (overlap(uses[2], uses[0]) || overlap(uses[2], uses[1])) misuse("C overlaps A or B");
  if (context.workspace)
    uses.push_back({context.workspace, context.workspace_bytes, "the workspace", true});
  bool tf32 = context.math == CUBLAS_TF32_TENSOR_OP_MATH;
  device.enqueue(
      context.stream,
      {name, uses,
       [=, workspace = static_cast<char*>(context.workspace), bytes = context.workspace_bytes] {
         if (workspace)
           std::memset(workspace, 0xff, std::min<std::size_t>(bytes, 4096));  // it may be used
         std::vector<float> left = a.packed(tf32, false), right = b.packed(tf32, true), sum(c.rows);
         float* out = const_cast<float*>(c.at);
         for (int j = 0; j < c.columns; j++) {
           std::fill(sum.begin(), sum.end(), 0.f);
           for (int l = 0; l < a.columns; l++) {
             const float* column = left.data() + std::size_t(l) * a.rows;
             float factor = right[std::size_t(l) * b.columns + j];
             for (int i = 0; i < c.rows; i++) sum[i] += column[i] * factor;
           }
           for (int i = 0; i < c.rows; i++) {
             float* to = out + c.offset(i, j);
             *to = alpha * sum[i] + (beta == 0 ? 0 : beta * read(to, false, "C", c.offset(i, j)));
           }
         }
       }});
}

}  // namespace

extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  Call call("cublasCreate");
  *handle = nullptr;
  if (call.status != cudaSuccess || Device::get().situation.problem == "no_cublas")
    return CUBLAS_STATUS_NOT_INITIALIZED;
  *handle = handles().create();
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  ENTRY(cublasDestroy);
  handles().destroy(handle);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream_v2(
    cublasHandle_t handle,
    cudaStream_t stream) {  // which also takes away a workspace that was given
  ENTRY(cublasSetStream);
  Device::get().check_stream(stream);
  context.stream = stream;
  context.workspace = nullptr;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  ENTRY(cublasSetMathMode);
  if (mode != CUBLAS_DEFAULT_MATH && mode != CUBLAS_TF32_TENSOR_OP_MATH)
    misuse("a math mode that the fake does not know");
  context.math = mode;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void* workspace, size_t bytes) {
  ENTRY(cublasSetWorkspace);
  Device::get().check({workspace, bytes, "the workspace"});
  if (reinterpret_cast<std::uintptr_t>(workspace) % 256)
    misuse("the workspace is not aligned to 256 bytes");
  context.workspace = workspace;
  context.workspace_bytes = bytes;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t ta, cublasOperation_t tb,
                              int m, int n, int k, const float* alpha, const float* A, int lda,
                              const float* B, int ldb, const float* beta, float* C, int ldc) {
  ENTRY(cublasSgemm);
  if (m < 0 || n < 0 || k < 0) misuse("a negative dimension");
  if (!alpha || !beta || Device::get().in_arena(alpha) || Device::get().in_arena(beta))
    misuse("alpha and beta are expected on the host");
  if (!context.stream) misuse("the null stream: the handle was given none");
  enqueue(context, "cublasSgemm", {"A", A, ta != CUBLAS_OP_N, m, k, lda},
          {"B", B, tb != CUBLAS_OP_N, k, n, ldb}, {"C", C, false, m, n, ldc}, *alpha, *beta);
  return CUBLAS_STATUS_SUCCESS;
}

const char* cublasGetStatusName(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
    default: return "another cuBLAS status";
  }
}
const char* cublasGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS: return "success";
    case CUBLAS_STATUS_NOT_INITIALIZED: return "the library was not initialized";
    case CUBLAS_STATUS_EXECUTION_FAILED: return "the function failed to launch on the GPU";
    default: return "another cuBLAS status";
  }
}

}  // extern "C"

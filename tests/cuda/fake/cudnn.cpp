// cuDNN's entry points that take a handle, over the fake's device: convolutions in plain loops.
// Descriptors are the real library's, which makes them, checks them and reads them back without a
// GPU. Its algorithms want different workspaces, the first choice of each ranking more than any GPU
// has; those that the real ones call not deterministic differ in the last bit from run to run.
#include <cudnn.h>

#include <algorithm>

#include "tests/cuda/fake/library.h"

struct cudnnContext {
  cudaStream_t stream = nullptr;
};

using namespace fission::cuda_fake;

namespace {

Handles<cudnnContext>& handles() {
  static auto& h = *new Handles<cudnnContext>;
  return h;
}

#define ENTRY(name)                                                     \
  Call call(#name);                                                     \
  if (call.status != cudaSuccess) return CUDNN_STATUS_EXECUTION_FAILED; \
  [[maybe_unused]] cudnnContext& context = handles().check(handle)

void real(cudnnStatus_t status, const char* what) {
  if (status != CUDNN_STATUS_SUCCESS) misuse_of(what, ": ", cudnnGetErrorString(status));
}

// A tensor as its descriptor tells it, in the order N,H,W,C
struct Tensor {
  const char* name;
  int dims[4] = {};
  long strides[4] = {};
  std::size_t numel() const { return std::size_t(dims[0]) * dims[1] * dims[2] * dims[3]; }
  template <class Visit>
  void for_each(const Visit& visit) const {  // visit(offset, number in packed NHWC)
    std::size_t i = 0;
    for (int n = 0; n < dims[0]; n++)
      for (int h = 0; h < dims[1]; h++)
        for (int w = 0; w < dims[2]; w++)
          for (int c = 0; c < dims[3]; c++)
            visit(n * strides[0] + h * strides[1] + w * strides[2] + c * strides[3], i++);
  }
  Use use(const void* p) const {
    long last = 0;
    for (int d = 0; d < 4; d++) last += (dims[d] - 1) * strides[d];
    return {p, 4 * (std::size_t(last) + 1), name};
  }
  std::vector<float> packed(const float* p, bool tf32) const {
    std::vector<float> v(numel());
    for_each([&](long offset, std::size_t i) { v[i] = read(p + offset, tf32, name, i); });
    return v;
  }
};

Tensor tensor_of(const char* name, cudnnTensorDescriptor_t descriptor) {
  Tensor t{name};
  cudnnDataType_t type;
  int n, c, h, w, sn, sc, sh, sw;
  real(cudnnGetTensor4dDescriptor(descriptor, &type, &n, &c, &h, &w, &sn, &sc, &sh, &sw),
       "cudnnGetTensor4dDescriptor");
  if (type != CUDNN_DATA_FLOAT) misuse_of(name, " is not of floats");
  int dims[] = {n, h, w, c}, strides[] = {sn, sh, sw, sc};
  for (int d = 0; d < 4; d++) t.dims[d] = dims[d], t.strides[d] = strides[d];
  return t;
}
Tensor filter_of(const char* name, cudnnFilterDescriptor_t descriptor) {  // K,R,S,C/groups
  Tensor t{name};
  cudnnDataType_t type;
  cudnnTensorFormat_t format;
  int k, c, r, s;
  real(cudnnGetFilter4dDescriptor(descriptor, &type, &format, &k, &c, &r, &s),
       "cudnnGetFilter4dDescriptor");
  if (type != CUDNN_DATA_FLOAT) misuse_of(name, " is not of floats");
  if (format != CUDNN_TENSOR_NHWC) misuse_of(name, " is not in NHWC");
  int dims[] = {k, r, s, c};
  long stride = 1;
  for (int d = 3; d >= 0; d--) t.dims[d] = dims[d], t.strides[d] = stride, stride *= dims[d];
  return t;
}

enum Kind { forward, backward_data, backward_filter };
struct Convolution {
  Kind kind;
  Tensor x, w, y;
  int pad[2], stride[2], groups;
  cudnnMathType_t math;

  Convolution(Kind k, cudnnTensorDescriptor_t xd, cudnnFilterDescriptor_t wd,
              cudnnConvolutionDescriptor_t cd, cudnnTensorDescriptor_t yd)
      : kind(k) {
    x = tensor_of(k == backward_data ? "dx" : "x", xd);
    w = filter_of(k == backward_filter ? "dw" : "w", wd);
    y = tensor_of(k == forward ? "y" : "dy", yd);
    int dilation[2];
    cudnnConvolutionMode_t mode;
    cudnnDataType_t type;
    real(cudnnGetConvolution2dDescriptor(cd, &pad[0], &pad[1], &stride[0], &stride[1], &dilation[0],
                                         &dilation[1], &mode, &type),
         "cudnnGetConvolution2dDescriptor");
    real(cudnnGetConvolutionGroupCount(cd, &groups), "cudnnGetConvolutionGroupCount");
    real(cudnnGetConvolutionMathType(cd, &math), "cudnnGetConvolutionMathType");
    if (mode != CUDNN_CROSS_CORRELATION) misuse("a true convolution, which flips its filters");
    if (type != CUDNN_DATA_FLOAT || dilation[0] != 1 || dilation[1] != 1)
      misuse("a data type or dilation that the fake does not know");
    if (x.dims[3] != groups * w.dims[3] || w.dims[0] % groups)
      misuse_of(groups, " groups of ", w.dims[3], " channels, an input of ", x.dims[3],
                " channels, and ", w.dims[0], " filters");
    int out[4] = {x.dims[0], out_of(0), out_of(1), w.dims[0]};
    for (int d = 0; d < 4; d++)
      if (y.dims[d] != out[d])
        misuse_of("dimension ", "NHWC"[d], " of ", y.name, " is ", y.dims[d],
                  ", the convolution gives ", out[d]);
  }
  int out_of(int d) const { return (x.dims[1 + d] + 2 * pad[d] - w.dims[1 + d]) / stride[d] + 1; }
  Tensor& output() { return kind == forward ? y : kind == backward_data ? x : w; }
  Tensor& input() { return kind == backward_data ? w : x; }
  Tensor& other() { return kind == forward ? w : y; }

  // Σ over the whole convolution of visit(element of x, element of w, element of y)
  template <class Visit>
  void for_each(const Visit& visit) const {
    int c_group = w.dims[3], k_group = w.dims[0] / groups;
    for (int n = 0; n < y.dims[0]; n++)
      for (int p = 0; p < y.dims[1]; p++)
        for (int q = 0; q < y.dims[2]; q++)
          for (int r = 0; r < w.dims[1]; r++)
            for (int s = 0; s < w.dims[2]; s++) {
              int h = p * stride[0] - pad[0] + r, v = q * stride[1] - pad[1] + s;
              if (h < 0 || v < 0 || h >= x.dims[1] || v >= x.dims[2]) continue;
              std::size_t place = ((std::size_t(n) * x.dims[1] + h) * x.dims[2] + v) * x.dims[3];
              std::size_t out = ((std::size_t(n) * y.dims[1] + p) * y.dims[2] + q) * y.dims[3];
              for (int k = 0; k < w.dims[0]; k++)
                visit(place + std::size_t(k / k_group) * c_group,
                      ((std::size_t(k) * w.dims[1] + r) * w.dims[2] + s) * c_group, out + k,
                      c_group);
            }
  }
};

struct Choice {
  int algorithm;
  cudnnStatus_t status;
  std::size_t memory;
  bool deterministic;
};
// Best first, as the library would say. No algorithm's real need of memory: they are different, and
// one is beyond all reason.
std::vector<Choice> ranking(const Convolution& c) {
  std::size_t columns = 4 * std::size_t(c.y.dims[1]) * c.y.dims[2] * c.w.dims[1] * c.w.dims[2] *
                        c.w.dims[3],
              filters = 4 * c.w.numel();
  const std::size_t beyond = std::size_t(40) << 30;
  switch (c.kind) {
    case forward:
      return {{CUDNN_CONVOLUTION_FWD_ALGO_WINOGRAD, CUDNN_STATUS_NOT_SUPPORTED, 0, true},
              {CUDNN_CONVOLUTION_FWD_ALGO_FFT, CUDNN_STATUS_SUCCESS, beyond, true},
              {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM, CUDNN_STATUS_SUCCESS,
               filters + 1024, true},
              {CUDNN_CONVOLUTION_FWD_ALGO_GEMM, CUDNN_STATUS_SUCCESS, columns, true},
              {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, CUDNN_STATUS_SUCCESS, 0, true}};
    case backward_data:
      return {{CUDNN_CONVOLUTION_BWD_DATA_ALGO_FFT, CUDNN_STATUS_SUCCESS, beyond, true},
              {CUDNN_CONVOLUTION_BWD_DATA_ALGO_0, CUDNN_STATUS_SUCCESS, 0, false},
              {CUDNN_CONVOLUTION_BWD_DATA_ALGO_1, CUDNN_STATUS_SUCCESS, filters + 512, true}};
    case backward_filter:
      return {{CUDNN_CONVOLUTION_BWD_FILTER_ALGO_FFT, CUDNN_STATUS_SUCCESS, beyond, true},
              {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_3, CUDNN_STATUS_SUCCESS, filters, false},
              {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_0, CUDNN_STATUS_SUCCESS, 0, false},
              {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1, CUDNN_STATUS_SUCCESS, filters + 256, true}};
  }
  return {};
}
Choice choice_of(const Convolution& c, int algorithm) {
  for (const Choice& choice : ranking(c))
    if (choice.algorithm == algorithm && choice.status == CUDNN_STATUS_SUCCESS) return choice;
  misuse_of("algorithm ", algorithm, " does not serve this convolution");
  return {};
}

cudnnStatus_t run(cudnnContext& context, const char* name, Convolution c, int algorithm,
                  const void* alpha, const void* input, const void* other, void* workspace,
                  std::size_t workspace_bytes, const void* beta, void* output) {
  Device& device = Device::get();
  Choice choice = choice_of(c, algorithm);
  if (workspace_bytes < choice.memory)
    misuse_of("a workspace of ", workspace_bytes, " bytes, where algorithm ", algorithm, " needs ",
              choice.memory);
  if (!alpha || !beta || device.in_arena(alpha) || device.in_arena(beta))
    misuse("alpha and beta are expected on the host");
  std::vector<Use> uses = {c.input().use(input), c.other().use(other), c.output().use(output)};
  uses[2].written = true;
  if (choice.memory) uses.push_back({workspace, choice.memory, "the workspace", true});
  for (const Use& u : uses) {
    device.check(u);
    if (reinterpret_cast<std::uintptr_t>(u.at) % 16)
      misuse_of(u.what, " is not aligned to 16 bytes");
  }
  static int runs = 0;
  float scale = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta);
  if (!choice.deterministic && ++runs % 2) scale *= 1 + std::ldexp(1.f, -23);
  bool tf32 = c.math != CUDNN_FMA_MATH;  // which its default allows for floats
  auto work = [=]() mutable {
    if (choice.memory) std::memset(workspace, 0xff, choice.memory);
    std::vector<float> in = c.input().packed(static_cast<const float*>(input), tf32),
                       by = c.other().packed(static_cast<const float*>(other), tf32);
    std::vector<double> sum(c.output().numel());
    switch (c.kind) {
      case forward:
        c.for_each([&](std::size_t x, std::size_t w, std::size_t y, int n) {
          for (int i = 0; i < n; i++) sum[y] += double(in[x + i]) * by[w + i];
        });
        break;
      case backward_data:
        c.for_each([&](std::size_t x, std::size_t w, std::size_t y, int n) {
          for (int i = 0; i < n; i++) sum[x + i] += double(in[w + i]) * by[y];
        });
        break;
      case backward_filter:
        c.for_each([&](std::size_t x, std::size_t w, std::size_t y, int n) {
          for (int i = 0; i < n; i++) sum[w + i] += double(in[x + i]) * by[y];
        });
        break;
    }
    const Tensor& out = c.output();
    out.for_each([&](long offset, std::size_t i) {
      float* to = static_cast<float*>(output) + offset;
      *to = scale * float(sum[i]) + (keep == 0 ? 0 : keep * read(to, false, out.name, i));
    });
  };
  device.enqueue(context.stream, {name, uses, work});
  return CUDNN_STATUS_SUCCESS;
}

template <class Result>
cudnnStatus_t rank(const Convolution& c, int wanted, int* returned, Result* results) {
  *returned = 0;
  for (const Choice& choice : ranking(c)) {
    if (*returned == wanted) break;
    Result& r = results[(*returned)++];
    r = Result();
    r.algo = decltype(r.algo)(choice.algorithm);
    r.status = choice.status;
    r.time = choice.status == CUDNN_STATUS_SUCCESS ? float(*returned) : -1;
    r.memory = choice.memory;
    r.determinism = choice.deterministic ? CUDNN_DETERMINISTIC : CUDNN_NON_DETERMINISTIC;
    r.mathType = CUDNN_DEFAULT_MATH;  // the algorithm's own, whatever the descriptor's is
  }
  return CUDNN_STATUS_SUCCESS;
}

// Times them all, in earnest: what lies in the output is lost, results that do not fit the
// workspace fail, and the descriptor is left with another math type.
template <class Result>
cudnnStatus_t find(cudnnContext& context, Convolution c, cudnnConvolutionDescriptor_t descriptor,
                   const void* input, const void* other, void* output, int wanted, int* returned,
                   Result* results, void* workspace, std::size_t bytes) {
  Device& device = Device::get();
  std::vector<Use> uses = {c.input().use(input), c.other().use(other), c.output().use(output)};
  uses[2].written = true;
  if (bytes) uses.push_back({workspace, bytes, "the workspace", true});
  for (const Use& u : uses) device.check(u);
  device.enqueue(context.stream,
                 {"cudnnFind", uses, [=] { std::memset(output, 0xff, uses[2].bytes); }});
  device.finish(context.stream, nullptr);
  rank(c, wanted, returned, results);
  for (int i = 0; i < *returned; i++)
    if (results[i].memory > bytes)
      results[i].status = CUDNN_STATUS_ALLOC_FAILED, results[i].time = -1;
  std::stable_sort(results, results + *returned,
                   [](const Result& a, const Result& b) { return (a.time < 0) < (b.time < 0); });
  return cudnnSetConvolutionMathType(descriptor, CUDNN_TENSOR_OP_MATH);
}

}  // namespace

extern "C" {

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  Call call("cudnnCreate");
  *handle = nullptr;
  if (call.status != cudaSuccess || Device::get().situation.problem == "no_cudnn")
    return CUDNN_STATUS_NOT_INITIALIZED;
  *handle = handles().create();
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  ENTRY(cudnnDestroy);
  handles().destroy(handle);
  return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  ENTRY(cudnnSetStream);
  Device::get().check_stream(stream);
  context.stream = stream;
  return CUDNN_STATUS_SUCCESS;
}
size_t cudnnGetVersion(void) { return CUDNN_VERSION; }
const char* cudnnGetErrorString(cudnnStatus_t status) {
  switch (status) {
    case CUDNN_STATUS_SUCCESS: return "CUDNN_STATUS_SUCCESS";
    case CUDNN_STATUS_NOT_INITIALIZED: return "CUDNN_STATUS_NOT_INITIALIZED";
    case CUDNN_STATUS_BAD_PARAM: return "CUDNN_STATUS_BAD_PARAM";
    case CUDNN_STATUS_NOT_SUPPORTED: return "CUDNN_STATUS_NOT_SUPPORTED";
    case CUDNN_STATUS_EXECUTION_FAILED: return "CUDNN_STATUS_EXECUTION_FAILED";
    default: return "another cuDNN status";
  }
}
#if CUDNN_VERSION >= 90000
void cudnnGetLastErrorString(char* message, size_t size) {
  if (size) message[0] = 0;
}
#endif

// The four of each kind. A, B, C: what describes a and b, which are read, and c, which is written
#define KIND(kind, Name, Short, A, a, B, b, C, c)                                                 \
  cudnnStatus_t cudnnConvolution##Name(                                                           \
      cudnnHandle_t handle, const void* alpha, const A a##d, const void* a, const B b##d,         \
      const void* b, const cudnnConvolutionDescriptor_t cd, cudnnConvolution##Short##Algo_t algo, \
      void* workspace, size_t bytes, const void* beta, const C c##d, void* c) {                   \
    ENTRY(cudnnConvolution##Name);                                                                \
    return run(context, "cudnnConvolution" #Name, {kind, xd, wd, cd, yd}, algo, alpha, a, b,      \
               workspace, bytes, beta, c);                                                        \
  }                                                                                               \
  cudnnStatus_t cudnnGetConvolution##Name##Algorithm_v7(                                          \
      cudnnHandle_t handle, const A a##d, const B b##d, const cudnnConvolutionDescriptor_t cd,    \
      const C c##d, const int wanted, int* returned,                                              \
      cudnnConvolution##Short##AlgoPerf_t* results) {                                             \
    ENTRY(cudnnGetConvolution##Name##Algorithm_v7);                                               \
    return rank(Convolution(kind, xd, wd, cd, yd), wanted, returned, results);                    \
  }                                                                                               \
  cudnnStatus_t cudnnFindConvolution##Name##AlgorithmEx(                                          \
      cudnnHandle_t handle, const A a##d, const void* a, const B b##d, const void* b,             \
      const cudnnConvolutionDescriptor_t cd, const C c##d, void* c, const int wanted,             \
      int* returned, cudnnConvolution##Short##AlgoPerf_t* results, void* workspace,               \
      size_t bytes) {                                                                             \
    ENTRY(cudnnFindConvolution##Name##AlgorithmEx);                                               \
    return find(context, {kind, xd, wd, cd, yd}, cd, a, b, c, wanted, returned, results,          \
                workspace, bytes);                                                                \
  }                                                                                               \
  cudnnStatus_t cudnnGetConvolution##Name##WorkspaceSize(                                         \
      cudnnHandle_t handle, const A a##d, const B b##d, const cudnnConvolutionDescriptor_t cd,    \
      const C c##d, cudnnConvolution##Short##Algo_t algo, size_t* bytes) {                        \
    ENTRY(cudnnGetConvolution##Name##WorkspaceSize);                                              \
    *bytes = choice_of({kind, xd, wd, cd, yd}, algo).memory;                                      \
    return CUDNN_STATUS_SUCCESS;                                                                  \
  }
KIND(forward, Forward, Fwd, cudnnTensorDescriptor_t, x, cudnnFilterDescriptor_t, w,
     cudnnTensorDescriptor_t, y)
KIND(backward_data, BackwardData, BwdData, cudnnFilterDescriptor_t, w, cudnnTensorDescriptor_t, y,
     cudnnTensorDescriptor_t, x)
KIND(backward_filter, BackwardFilter, BwdFilter, cudnnTensorDescriptor_t, x,
     cudnnTensorDescriptor_t, y, cudnnFilterDescriptor_t, w)

}  // extern "C"

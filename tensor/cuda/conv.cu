// cuBLAS's and cuDNN's share of CudaBackend. Layouts: NHWC images; cuDNN's "NHWC" filters lie as
// (O,K,K,I/groups), which for dense ones is ours.
#include "tensor/cuda/conv.h"

#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdio>

#include "tensor/cuda/cuda_backend.h"
#include "tensor/cuda/launch.h"

namespace fission::cuda {
namespace {

constexpr std::size_t blas_workspace =
    std::size_t(32)
    << 20;  // what cuBLAS asks for on sm_90; its own would be allocated behind our back
constexpr float one = 1, zero = 0;

const char* name_of(ConvKind kind) {
  return kind == ConvKind::forward         ? "forward"
         : kind == ConvKind::backward_data ? "backward_data"
                                           : "backward_filter";
}

int as_int(Index n) {
  FISSION_CHECK(n <= INT_MAX, "[cuda] a dimension of ", n, ": the libraries count in 32 bits");
  return int(n);
}

// out (columns,rows) = in (rows,columns): a depthwise filter (K,K,C) to cuDNN's (C,K,K) and back
__global__ void transpose(const float* __restrict__ in, int rows, int columns,
                          float* __restrict__ out) {
  int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < rows * columns) out[(i % columns) * rows + i / columns] = in[i];
}

// What the three operations of cuDNN are called, so that choosing among algorithms is written once.
struct Forward {
  using Result = cudnnConvolutionFwdAlgoPerf_t;
  static constexpr auto heuristic = cudnnGetConvolutionForwardAlgorithm_v7;
  static constexpr auto workspace = cudnnGetConvolutionForwardWorkspaceSize;
  static constexpr auto find = cudnnFindConvolutionForwardAlgorithmEx;
  static constexpr int most = CUDNN_CONVOLUTION_FWD_ALGO_COUNT;
};
struct BackwardData {
  using Result = cudnnConvolutionBwdDataAlgoPerf_t;
  static constexpr auto heuristic = cudnnGetConvolutionBackwardDataAlgorithm_v7;
  static constexpr auto workspace = cudnnGetConvolutionBackwardDataWorkspaceSize;
  static constexpr auto find = cudnnFindConvolutionBackwardDataAlgorithmEx;
  static constexpr int most = CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT;
};
struct BackwardFilter {
  using Result = cudnnConvolutionBwdFilterAlgoPerf_t;
  static constexpr auto heuristic = cudnnGetConvolutionBackwardFilterAlgorithm_v7;
  static constexpr auto workspace = cudnnGetConvolutionBackwardFilterWorkspaceSize;
  static constexpr auto find = cudnnFindConvolutionBackwardFilterAlgorithmEx;
  static constexpr int most = CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT;
};

}  // namespace

struct Convolutions::Plan {
  Plan() {
    FISSION_CUDA(cudnnCreateTensorDescriptor(&x));
    FISSION_CUDA(cudnnCreateTensorDescriptor(&y));
    FISSION_CUDA(cudnnCreateFilterDescriptor(&w));
    FISSION_CUDA(cudnnCreateConvolutionDescriptor(&convolution));
  }
  ~Plan() {
    cudnnDestroyTensorDescriptor(x);
    cudnnDestroyTensorDescriptor(y);
    cudnnDestroyFilterDescriptor(w);
    cudnnDestroyConvolutionDescriptor(convolution);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  cudnnTensorDescriptor_t x = nullptr, y = nullptr;
  cudnnFilterDescriptor_t w = nullptr;
  cudnnConvolutionDescriptor_t convolution = nullptr;
  int algorithm = -1;
  std::size_t workspace = 0;
};

Convolutions::Convolutions(Arena& memory, cudaStream_t stream, const DeviceSettings& settings)
    : memory_(memory), stream_(stream), settings_(settings) {
  FISSION_CUDA(cublasCreate(&blas_));
  FISSION_CUDA(cublasSetStream(blas_, stream));
  FISSION_CUDA(
      cublasSetMathMode(blas_, settings.tf32 ? CUBLAS_TF32_TENSOR_OP_MATH : CUBLAS_DEFAULT_MATH));
  FISSION_CUDA(cudnnCreate(&dnn_));
  FISSION_CUDA(cudnnSetStream(dnn_, stream));
}

Convolutions::~Convolutions() {
  cudaStreamSynchronize(stream_);
  plans_.clear();
  if (dnn_) cudnnDestroy(dnn_);
  if (blas_) cublasDestroy(blas_);
  memory_.free(blas_workspace_);
}

// ---- pointwise: row-major products, written as cuBLAS's column-major ones of the transposes
// -------------------------

void Convolutions::product(ConvKind kind, View x, View w, View y) {
  if (!blas_workspace_) {
    blas_workspace_ = memory_.allocate(blas_workspace);
    FISSION_CUDA(cublasSetWorkspace(blas_, blas_workspace_, blas_workspace));
  }
  int rows = as_int(x.numel() / x.shape[3]), in = as_int(w.shape[3]), out = as_int(w.shape[0]);
  float *px = x.as<float>(), *pw = w.as<float>(), *py = y.as<float>();
  switch (kind) {
    case ConvKind::forward:  // y (M,O) = x (M,I) · wᵀ (I,O)
      FISSION_CUDA(cublasSgemm(blas_, CUBLAS_OP_T, CUBLAS_OP_N, out, rows, in, &one, pw, in, px, in,
                               &zero, py, out));
      break;
    case ConvKind::backward_data:  // dx (M,I) = dy (M,O) · w (O,I)
      FISSION_CUDA(cublasSgemm(blas_, CUBLAS_OP_N, CUBLAS_OP_N, in, rows, out, &one, pw, in, py,
                               out, &zero, px, in));
      break;
    case ConvKind::backward_filter:  // dw (O,I) = dyᵀ (O,M) · x (M,I)
      FISSION_CUDA(cublasSgemm(blas_, CUBLAS_OP_N, CUBLAS_OP_T, in, out, rows, &one, px, in, py,
                               out, &zero, pw, in));
      break;
  }
}

void Convolutions::dense(ConvKind kind, View x, View w, View y, const Conv2dGeometry& g) {
  bool pointwise = g == Conv2dGeometry{1, 1, 0};
  if (pointwise && settings_.convolution != "cudnn") return product(kind, x, w, y);
  if (reinterpret_cast<std::uintptr_t>(w.data) % 16 == 0) return run(kind, x, w, y, g, 1);
  Scratch scratch(memory_);  // cuDNN reads and writes 16 bytes at once; a filter may lie anywhere
                             // among its network's parameters
  View aligned{scratch.take<float>(w.numel()), w.dtype, w.shape};
  const std::size_t bytes = std::size_t(w.numel()) * sizeof(float);
  if (kind != ConvKind::backward_filter)
    FISSION_CUDA(cudaMemcpyAsync(aligned.data, w.data, bytes, cudaMemcpyDeviceToDevice, stream_));
  run(kind, x, aligned, y, g, 1);
  if (kind == ConvKind::backward_filter)
    FISSION_CUDA(cudaMemcpyAsync(w.data, aligned.data, bytes, cudaMemcpyDeviceToDevice, stream_));
}

// ---- all others: cuDNN
// ----------------------------------------------------------------------------------------------

void Convolutions::depthwise(ConvKind kind, View x, View w, View y, const Conv2dGeometry& g) {
  Scratch scratch(memory_);
  int taps = int(w.shape[0] * w.shape[1]), channels = int(w.shape[2]);
  View filter{scratch.take<float>(w.numel()), w.dtype, {w.shape[2], w.shape[0], w.shape[1], 1}};
  dim3 grid(unsigned(blocks_for(w.numel(), 256)));
  if (kind != ConvKind::backward_filter)
    launch_flat(transpose, grid, 256, stream_, w.as<float>(), taps, channels, filter.as<float>());
  run(kind, x, filter, y, g, w.shape[2]);
  if (kind == ConvKind::backward_filter)
    launch_flat(transpose, grid, 256, stream_, filter.as<float>(), channels, taps, w.as<float>());
}

Convolutions::Plan& Convolutions::plan(ConvKind kind, View x, View w, View y,
                                       const Conv2dGeometry& g, Index groups) {
  Key key = {Index(kind), x.shape[0], x.shape[1], x.shape[2], x.shape[3],
             w.shape[0],  g.kernel,   g.stride,   g.padding,  groups};
  std::unique_ptr<Plan>& held = plans_[key];
  if (held) return *held;
  auto p = std::make_unique<Plan>();
  auto describe = [](cudnnTensorDescriptor_t d, const Shape& s) {
    FISSION_CUDA(cudnnSetTensor4dDescriptor(d, CUDNN_TENSOR_NHWC, CUDNN_DATA_FLOAT, as_int(s[0]),
                                            as_int(s[3]), as_int(s[1]), as_int(s[2])));
  };
  describe(p->x, x.shape);
  describe(p->y, y.shape);
  int kernel = int(g.kernel), padding = int(g.padding), stride = int(g.stride);
  FISSION_CUDA(cudnnSetFilter4dDescriptor(p->w, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NHWC,
                                          as_int(w.shape[0]), as_int(w.shape[3]), kernel, kernel));
  FISSION_CUDA(cudnnSetConvolution2dDescriptor(p->convolution, padding, padding, stride, stride, 1,
                                               1, CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT));
  FISSION_CUDA(cudnnSetConvolutionGroupCount(p->convolution, as_int(groups)));
  // cuDNN's default lets f32 be rounded to TF32, cuBLAS's does not
  FISSION_CUDA(cudnnSetConvolutionMathType(p->convolution,
                                           settings_.tf32 ? CUDNN_DEFAULT_MATH : CUDNN_FMA_MATH));
  choose(*p, kind, x, w, y);
  held = std::move(p);
  return *held;
}

// The best of the ranking that may be taken and stays within the limit; where none does, the one
// that wants least.
template <class Result>
const Result* Convolutions::best(const Result* results, int found) const {
  const Result* least = nullptr;
  for (const Result* r = results; r < results + found; r++) {
    const bool bits = !settings_.deterministic || r->determinism == CUDNN_DETERMINISTIC;
    const bool exact =
        settings_.tf32 || r->mathType == CUDNN_FMA_MATH || r->mathType == CUDNN_DEFAULT_MATH;
    if (r->status != CUDNN_STATUS_SUCCESS || !bits || !exact) continue;
    if (r->memory <= settings_.workspace_limit) return r;
    if (!least || r->memory < least->memory) least = r;
  }
  return least;
}

void Convolutions::choose(Plan& p, ConvKind kind, View x, View w, View y) {
  Scratch scratch(memory_);
  void* space = settings_.autotune ? scratch.take<char>(Index(settings_.workspace_limit)) : nullptr;
  auto choose_of = [&](auto operation, auto a, const void* pa, auto b, const void* pb, auto out,
                       void* p_out) {
    using Operation = decltype(operation);
    typename Operation::Result results[Operation::most];
    int found = 0;
    if (settings_.autotune) {
      FISSION_CUDA(Operation::find(dnn_, a, pa, b, pb, p.convolution, out, p_out, Operation::most,
                                   &found, results, space, settings_.workspace_limit));
      cudaGetLastError();  // what an algorithm that was tried and failed may have left behind
    } else {
      FISSION_CUDA(
          Operation::heuristic(dnn_, a, b, p.convolution, out, Operation::most, &found, results));
    }
    const auto* chosen = best(results, found);
    FISSION_CHECK(chosen, "[cudnn] ", name_of(kind), " convolution, input ", x.shape, ", filter ",
                  w.shape, ": none of ", found, " algorithms computes it",
                  settings_.deterministic ? " with the same bits in each run" : "");
    // timing may have tried other math types than the descriptor's: the one that belongs to this
    // result, TF32 only where allowed; and then its workspace
    FISSION_CUDA(cudnnSetConvolutionMathType(p.convolution,
                                             settings_.tf32 ? chosen->mathType : CUDNN_FMA_MATH));
    p.algorithm = int(chosen->algo);
    FISSION_CUDA(Operation::workspace(dnn_, a, b, p.convolution, out, chosen->algo, &p.workspace));
  };
  switch (kind) {
    case ConvKind::forward: choose_of(Forward{}, p.x, x.data, p.w, w.data, p.y, y.data); break;
    case ConvKind::backward_data:
      choose_of(BackwardData{}, p.w, w.data, p.y, y.data, p.x, x.data);
      break;
    case ConvKind::backward_filter:
      choose_of(BackwardFilter{}, p.x, x.data, p.y, y.data, p.w, w.data);
      break;
  }
  if (settings_.autotune || p.workspace > settings_.workspace_limit)
    std::fprintf(stderr, "cudnn: %s, input %s, filter %s: algorithm %d, workspace %zu bytes\n",
                 name_of(kind), x.shape.str().c_str(), w.shape.str().c_str(), p.algorithm,
                 p.workspace);
}

void Convolutions::run(ConvKind kind, View x, View w, View y, const Conv2dGeometry& g,
                       Index groups) {
  Plan& p = plan(kind, x, w, y, g, groups);
  Scratch scratch(memory_);
  void* space = p.workspace ? scratch.take<char>(Index(p.workspace)) : nullptr;
  switch (kind) {
    case ConvKind::forward:
      FISSION_CUDA(cudnnConvolutionForward(dnn_, &one, p.x, x.data, p.w, w.data, p.convolution,
                                           cudnnConvolutionFwdAlgo_t(p.algorithm), space,
                                           p.workspace, &zero, p.y, y.data));
      break;
    case ConvKind::backward_data:
      FISSION_CUDA(cudnnConvolutionBackwardData(dnn_, &one, p.w, w.data, p.y, y.data, p.convolution,
                                                cudnnConvolutionBwdDataAlgo_t(p.algorithm), space,
                                                p.workspace, &zero, p.x, x.data));
      break;
    case ConvKind::backward_filter:
      FISSION_CUDA(cudnnConvolutionBackwardFilter(
          dnn_, &one, p.x, x.data, p.y, y.data, p.convolution,
          cudnnConvolutionBwdFilterAlgo_t(p.algorithm), space, p.workspace, &zero, p.w, w.data));
      break;
  }
}

// ---- own kernels or the library
// ---------------------------------------------------------------------------------------

float Convolutions::milliseconds(const std::function<void()>& work) {
  CudaEvent before(cudaEventDefault), after(cudaEventDefault);
  work();  // plans are made, clocks rise
  FISSION_CUDA(cudaEventRecord(before.event, stream_));
  for (int i = 0; i < 3; i++) work();
  FISSION_CUDA(cudaEventRecord(after.event, stream_));
  FISSION_CUDA(cudaEventSynchronize(after.event));
  float total = 0;
  FISSION_CUDA(cudaEventElapsedTime(&total, before.event, after.event));
  return total / 3;
}

bool Convolutions::prefers_library(const char* name, const Shape& x, const Conv2dGeometry& g,
                                   const std::function<void()>& own,
                                   const std::function<void()>& library) {
  if (settings_.convolution != "auto") return settings_.convolution == "cudnn";
  if (!settings_.autotune) return false;
  std::pair<std::string, Key> key{name, {x[0], x[1], x[2], x[3], g.kernel, g.stride, g.padding}};
  auto known = library_was_faster_.find(key);
  if (known != library_was_faster_.end()) return known->second;
  const float ours = milliseconds(own);
  float theirs = INFINITY;
  std::string said;
  try {
    theirs = milliseconds(library);
    said = text(theirs, " ms");
  } catch (const std::exception& e) {  // it has no algorithm, or no memory for one: own kernels
                                       // have, unless the device itself is lost
    if (cudaStreamSynchronize(stream_) != cudaSuccess) throw;
    said = e.what();
  }
  std::fprintf(stderr, "%s over %s, kernel %ld, stride %ld: own %.3f ms, cudnn %s\n", name,
               x.str().c_str(), long(g.kernel), long(g.stride), double(ours), said.c_str());
  return library_was_faster_[key] = theirs < ours;
}

// ---- the operations
// ------------------------------------------------------------------------------------------------------

void CudaBackend::conv2d(View x, View w, const Conv2dGeometry& g, View y) {
  convolutions_->dense(ConvKind::forward, x, w, y, g);
}
void CudaBackend::conv2d_backward_data(View dy, View w, const Conv2dGeometry& g, View dx) {
  convolutions_->dense(ConvKind::backward_data, dx, w, dy, g);
}
void CudaBackend::conv2d_backward_filter(View x, View dy, const Conv2dGeometry& g, View dw) {
  convolutions_->dense(ConvKind::backward_filter, x, dw, dy, g);
}

}  // namespace fission::cuda

// Convolutions by libraries: pointwise ones are matrix products (cuBLAS), all others cuDNN's,
// through plans keyed by operation, shapes and geometry. A plan is the first algorithm of cuDNN's
// own ranking (or, autotuned, of its timings) that fits the workspace limit (where none does, the
// least) and, where asked for, promises the same bits in each run. A step whose shapes were seen
// before creates nothing.
#pragma once
#include <array>
#include <map>
#include <memory>

#include "tensor/cuda/runtime.h"

namespace fission::cuda {

enum class ConvKind { forward, backward_data, backward_filter };

class Convolutions {
 public:
  Convolutions(Arena& memory, cudaStream_t stream, const DeviceSettings& settings);
  ~Convolutions();
  // x (N,H,W,I), w (O,K,K,I), y (N,H',W',O): the one that `kind` computes is written
  void dense(ConvKind kind, View x, View w, View y, const Conv2dGeometry& g);
  // x (N,H,W,C), w (K,K,C), y (N,H',W',C), by cuDNN
  void depthwise(ConvKind kind, View x, View w, View y, const Conv2dGeometry& g);

  // Runs the one that --conv names; "auto" is own, or, autotuned, the one that was faster when
  // operation `name` first met these shapes.
  template <class Own, class Library>
  void own_or_library(const char* name, const Shape& x, const Conv2dGeometry& g, Own own,
                      Library library) {
    if (prefers_library(name, x, g, own, library)) library();
    else own();
  }

 private:
  struct Plan;
  using Key = std::array<Index, 10>;
  Plan& plan(ConvKind kind, View x, View w, View y, const Conv2dGeometry& g, Index groups);
  template <class Result>
  const Result* best(const Result* results, int found) const;
  void choose(Plan& p, ConvKind kind, View x, View w, View y);
  void run(ConvKind kind, View x, View w, View y, const Conv2dGeometry& g, Index groups);
  void product(ConvKind kind, View x, View w, View y);
  bool prefers_library(const char* name, const Shape& x, const Conv2dGeometry& g,
                       const std::function<void()>& own, const std::function<void()>& library);
  float milliseconds(const std::function<void()>& work);

  Arena& memory_;
  cudaStream_t stream_;
  DeviceSettings settings_;
  cublasHandle_t blas_ = nullptr;
  cudnnHandle_t dnn_ = nullptr;
  void* blas_workspace_ = nullptr;
  std::map<Key, std::unique_ptr<Plan>> plans_;
  std::map<std::pair<std::string, Key>, bool> library_was_faster_;
};

}  // namespace fission::cuda

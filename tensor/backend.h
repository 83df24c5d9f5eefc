// Backend: the only seam between fission and a device. Every operation of the engine, pure virtual,
// over plain Views (pointer, type, shape), so that a backend can be a module that needs no symbol
// of the program. ops.h checks shapes before it calls; a backend may rely on them. Shapes: legend
// in tensor.h. What changes from step to step (learning rate, counters) comes in a device tensor,
// never by value. Outputs with a null view are not wanted. Operations run in order on the compute
// queue; see copy() and Event.
#pragma once
#include <memory>
#include <string>

#include "tensor/allocator.h"
#include "tensor/geometry.h"
#include "tensor/tensor.h"

namespace fission {

class Comm;  // tensor/comm.h

enum class Activation { none, swish, relu };

// Batch norm with given statistics, then an activation (E5): z = c y + b, c = γ/√(var + eps), b = β
// − c·mean; a = φ(z). mean, var (G,C): the batch falls into G equal groups of images; gamma, beta
// (C). Evaluation mode: the running ones, G = 1.
struct Norm {
  View mean, var, gamma, beta;
  double eps = 1e-5;
  Activation activation = Activation::none;
};

// φ'' as E6 uses it: swish's own; for ReLU softplus's with sharpness relu_beta (a surrogate);
// for none the constant `linear` (the truth is 0; the authors' heuristic is 1).
struct Curvature {
  double relu_beta = 3;
  double linear = 0;
};

enum class Queue { compute, transfer };
enum class Memory {
  device,
  host
};  // host: page-locked where the device likes that (staging buffers); one arena for both: they are
    // the same
struct Event {
  virtual ~Event() = default;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;  // "cpu", "reference", "check(cpu)"
  virtual bool supports(DType type) const = 0;

  // Memory: cached by an arena allocator, so that a steady-state step asks the system for nothing.
  void* allocate(std::size_t bytes, Memory kind = Memory::device) {
    return arena(kind).allocate(bytes);
  }
  void free(void* p, Memory kind = Memory::device) { arena(kind).free(p); }
  virtual Arena& arena(Memory kind) = 0;
  enum class Direction { host_to_device, device_to_host, device_to_device };
  // May return early, but not while it still needs host memory that is not of Memory::host: that is
  // read, or filled, on return.
  virtual void copy(void* to, const void* from, std::size_t bytes, Direction direction,
                    Queue queue) = 0;
  virtual std::unique_ptr<Event> record(
      Queue queue) = 0;  // reached when all before it on `queue` is done
  virtual void wait(Queue queue, const Event& event) = 0;  // `queue` goes on only after `event`
  virtual void wait_on_host(const Event& event) = 0;
  virtual void synchronize() = 0;

  // x ← Σ over the processes of weight · x (each its own weight and x; 0: x is not read), f32 or
  // f64, the same bits on all. A device may have a way of its own (NCCL); where memory is the
  // host's, fission::sum_over_processes does it.
  virtual void sum_over_processes(View x, double weight, Comm& comm) = 0;

  // Elementwise
  virtual void fill(View out, double value) = 0;
  virtual void add(View out, View a, View b) = 0;               // out = a + b; out may be a or b
  virtual void add_scaled(View out, View x, double alpha) = 0;  // out += alpha x
  virtual void normalise_images(View out, View images, View mean,
                                View std) = 0;  // (N,H,W,C) u8 → (p/255 − mean)/std; mean, std (C)

  // Dense convolutions, no bias. x (N,H,W,I), w (O,K,K,I), y (N,H',W',O). Zero padding.
  virtual void conv2d(View x, View w, const Conv2dGeometry& g, View y) = 0;
  virtual void conv2d_backward_data(View dy, View w, const Conv2dGeometry& g, View dx) = 0;
  virtual void conv2d_backward_filter(View x, View dy, const Conv2dGeometry& g, View dw) = 0;
  virtual void add_bias(View y, View b) = 0;    // y (…,C) += b (C)
  virtual void sum_rows(View y, View out) = 0;  // out (C) = Σ over all but the last dimension

  // Depthwise convolutions over φ(norm(y)), which is never written to memory; norm null: over y
  // itself. y (N,H,W,C), w (K,K,C), out (N,H',W',C).
  virtual void depthwise(View y, const Norm* norm, View w, const Conv2dGeometry& g, View out) = 0;
  // E6c: the same over φ'(z) ⊙ c ⊙ u, the derivative of φ(norm(y)) along u, which is never written
  // to memory either. u like y
  virtual void depthwise_tangent(View y, const Norm& norm, View u, View w, const Conv2dGeometry& g,
                                 View out) = 0;
  // da = ∂L/∂φ(norm(y)) (not yet through norm), dw = ∂L/∂w; either may be null
  virtual void depthwise_backward(View y, const Norm* norm, View w, View dout,
                                  const Conv2dGeometry& g, View da, View dw) = 0;

  // depthwise_backward, then norm_act_backward of its da, which is never written to memory: dy =
  // ∂L/∂y. Every output is wanted.
  virtual void depthwise_norm_backward(View y, const Norm& norm, bool training, View w, View dout,
                                       const Conv2dGeometry& g, View dy, View dgamma, View dbeta,
                                       View dw) = 0;

  // Batch norm + activation
  virtual void moments(View y, View mean, View var) = 0;  // mean, var (G,C), var biased
  virtual void update_running(View running_mean, View running_var, View mean, View var,
                              double momentum, Index count) = 0;
  //    running (C) = (1−m) running + m·(mean over groups); variance unbiased: × count/(count−1),
  //   count = values a group and channel
  virtual void norm_act(View y, const Norm& norm, View a) = 0;
  // training: the statistics are those of y itself, and the gradient goes through them; else dy =
  // φ'(z) ⊙ c ⊙ da. dy may be da.
  virtual void norm_act_backward(View da, View y, const Norm& norm, bool training, View dy,
                                 View dgamma, View dbeta) = 0;
  // E6, E9: what the probe does at an activation, in one pass: out = δ ⊙ φ''(z) ⊙ c² ⊙ u (+ φ'(z) ⊙
  // c ⊙ h where h is given), and the gradient goes on, dy = φ'(z) ⊙ c ⊙ δ (where wanted). out may
  // be u, dy may be delta.
  virtual void probe_activation(View delta, View y, const Norm& norm, const Curvature& k, View u,
                                View h, View out, View dy) = 0;

  virtual void average_pool(View x, const PoolGeometry& g, View y) = 0;
  virtual void average_pool_backward(View dy, const PoolGeometry& g, View dx) = 0;

  // Mean cross-entropy over N, targets (1−s)·onehot + s/classes. logits (N,C), labels (N) i32, loss
  // (1); dlogits already holds 1/N.
  virtual void softmax_cross_entropy(View logits, View labels, double smoothing, View loss,
                                     View dlogits) = 0;
  virtual void count_hits(
      View logits, View labels,
      View hits) = 0;  // hits (2) i32 += top-1 and top-5 hits (ties count against)

  // Optimisers over flat buffers (P); lr (1). The first `decayed` parameters take weight decay.
  virtual void sgd(View p, View g, View momentum_buffer, View lr, double momentum, double decay,
                   Index decayed, bool nesterov) = 0;
  //   g += wd·p; b = μ b + g; p −= lr·b, nesterov: p −= lr (g + μ b)
  virtual void rmsprop(View p, View g, View s, View b, View lr, double alpha, double momentum,
                       double eps) = 0;
  //   s = α s + (1−α) g²; b = μ b + g/(√s + eps); p −= lr·b

  // Rows (neurons) inside flat buffers (P): rows (R,2) i32 holds first element and length of each.
  virtual void rayleigh(View v, View s_v, View rows, View quotient,
                        View gradient) = 0;            // E10 quotient (R), E11 gradient (P)
  virtual void normalise_rows(View v, View rows) = 0;  // v ← v/‖v‖, each row

  // Surgery: out[r,k,c] = row_scale[r] · column_scale[c] · in[row[r], k, column[c]]; in (R,K,C),
  // out (R',K,C'), row (R') i32, column (C') i32
  virtual void gather(View in, View row, View row_scale, View column, View column_scale,
                      View out) = 0;
};

// How a GPU is to be used; backends on the CPU have no such choices.
struct DeviceSettings {
  std::string convolution = "auto";  // "own": depthwise by own kernels; "cudnn": every convolution
                                     // by cuDNN; "auto": the faster one, see autotune
  bool autotune = false;  // algorithms and "auto" by timing on the device, rather than by cuDNN's
                          // heuristics and "own"
  bool deterministic = true;  // the same bits in each run: only algorithms that promise it
  bool tf32 = false;          // matrix products and convolutions may round their inputs to 10 bits
  int process = 0;  // which of this machine's processes this is: "cuda" is the GPU of that number,
                    // or they share them in turn
  std::size_t memory_limit = 0;  // bytes of the device's memory; 0: all of it
  std::size_t workspace_limit = std::size_t(64) << 20;  // bytes a convolution may take for itself
};

const std::vector<std::string>& convolution_list();  // what DeviceSettings::convolution may be

// "cpu" | "reference" | "cuda" | "cuda:K" | "check" (cpu beside reference) | "check:cuda" | "auto"
// (the best there is); one line if it can't be had. Each is made once, by the settings of the first
// call.
Backend& open_backend(const std::string& device, const DeviceSettings& settings = {});
std::string device_list();  // "auto, cpu, cuda, cuda:K, reference, check, check:cuda"

}  // namespace fission
